"""A recorder of a conversation knows, by the schema and a few rules, who breaks the protocol.

It shares nothing with the host but the classes of messages: it reads frames by
`microvm_proto.frame`, which goes by the schema, and not by the generated codec, and keeps its own
account of nonces, ids and credits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tests.support.messages import made

from microvm.errors import MachineError, ProtocolError, VersionMismatch
from microvm.wire import codec
from microvm_proto.frame import Incomplete, Malformed, message_of, read
from microvm_proto.schema import Schema

from ..disagreement import Disagreement
from ..frames import HEADER
from ..report import explained, schema
from .script import Call

_MAX_CREDIT = 0xFFFFFFFF
_LAST_SIGNAL = 64


def _read(schema: Schema, data: bytes, sender: str) -> codec.Message:
    """Read a frame that is right by itself; of lists, the values are their lengths.

    :raises Malformed: it is not right.
    :raises Incomplete: it is not whole.
    """
    values = {
        part.name: part.value
        for part in read(schema, data, sender)
        if part.field is not None and part.field.equals is None and part.item is None
    }
    _, number, _, id_ = HEADER.unpack_from(data)
    kind = message_of(schema, number)
    assert kind is not None
    message: codec.Message = made(codec, kind, id_, values)
    return message


@dataclass
class Command:
    """A command, as both sides have told it.

    :ivar credit: what may come of each stream; `window` at most.
    :ivar outputs: moment, stream and bytes of each output.
    :ivar ending: its moment and its message.
    :ivar kills: moments.
    :ivar fed: what the host has fed to it.
    :ivar takes_input: whether the host feeds it, and it has not said that it takes no more.
    """

    id: int
    started: float
    window: dict[int, int]
    credit: dict[int, int]
    takes_input: bool
    outputs: list[tuple[float, int, bytes]] = field(default_factory=list)
    ending: tuple[float, codec.ExecResponse | codec.ExecFailed] | None = None
    kills: list[float] = field(default_factory=list)
    fed: bytearray = field(default_factory=bytearray)
    fed_end: bool = False
    input_credit: int = 0


@dataclass
class CallResult:
    """What came of a call of the host's.

    :ivar ended: when what was called had ended, however long its output was read.
    :ivar value: what it returned, or raised.
    :ivar memory: what it said that the command took.
    :ivar command: the command that it ran.
    :ivar out: what was read of each stream.
    :ivar left: when the caller had enough; else all was read.
    """

    call: Call
    began: float
    ended: float = float("inf")
    value: object = None
    memory: int | None = None
    command: Command | None = None
    out: dict[int, bytes] = field(default_factory=dict)
    left: float | None = None


class Recorder:
    """The recorder of one conversation, and of what came of it.

    :ivar calls: what came of each call, `ready` first.
    :ivar error: for what the host has given the guest up, before it was stopped.
    :ivar greeted: whether the guest has answered.
    :ivar breach: the guest's first, for which a host must finish it at once; empty without one.
    :ivar reason: the host's error for that.
    :ivar faults: what the host has done wrong.
    :ivar pings: when each was sent that is not answered.
    :ivar statuses: those that the guest has told.
    :ivar frames: how many of the guest's have been read.
    :ivar losses: the moments at which the guest must be known to be lost.
    :ivar left_at: when the host gave it up.
    """

    def __init__(self) -> None:
        self.calls: list[CallResult] = []
        self.error: MachineError | None = None
        self.greeted = False
        self.breach = ""
        self.reason: type[MachineError] = ProtocolError
        self.faults: list[Disagreement] = []
        self.commands: list[Command] = []
        self.pings: dict[int, float] = {}
        self.last_pong = 0.0
        self.statuses: list[codec.Message] = []
        self.frames = 0
        self.losses: list[float] = []
        self.left_at: float | None = None
        self._asked = 0
        self._goodbye = False
        self._nonce = -1
        self._received = bytearray()
        self._recent: deque[bytes] = deque(maxlen=5)
        self._schema = schema()

    def transcript(self) -> str:
        """Explain the last of the guest's frames."""
        return explained(b"".join(self._recent) + bytes(self._received[:100]), "guest")

    def expect(self, right: bool, what: str, detail: object = "") -> None:
        """Note a fault of the host, unless it is right."""
        if not right:
            self.faults.append(Disagreement(what, detail))

    def _running(self, id_: int) -> Command | None:
        """Return the command of this id, if it runs."""
        last = self.commands[-1] if self.commands else None
        return last if last and last.id == id_ and not last.ending else None

    def sent(self, data: bytes, now: float) -> None:
        """Record a frame that the host sends.

        :raises Malformed: it is none.
        """
        message = _read(self._schema, data, "host")
        greeted = self.greeted or isinstance(message, codec.Hello)
        self.expect(greeted, "the host speaks before it is answered", message)
        match message:
            case codec.Hello(nonce=nonce):
                self._nonce = nonce
            case codec.Ping(token=token):
                self.pings[token] = now
            case codec.StatusRequest():
                self._asked += 1
            case codec.ExecRequest(id=id_):
                over = all(command.ending for command in self.commands)
                in_turn = over and id_ == len(self.commands) + 1
                self.expect(in_turn, "the host asks for a command out of turn", message)
                window = {1: message.stdout_credit, 2: message.stderr_credit}
                fed = message.stdin_from is codec.StdinKind.HOST or message.rows > 0
                self.commands.append(Command(id_, now, window, dict(window), fed))
            case _ if id_ := getattr(message, "id", 0):
                command = self._running(id_)
                self.expect(command is not None, "the host speaks of no command that runs", message)
                if command:
                    self._sent_of(command, message, now)

    def _sent_of(self, command: Command, message: codec.Message, now: float) -> None:
        match message:
            case codec.ExecCredit(stream=stream, amount=amount):
                command.credit[stream] += amount
                taken = command.credit[stream] <= command.window[stream]
                self.expect(taken, "the host gives credit for what it has not taken", message)
            case codec.ExecKill():
                command.kills.append(now)
            case codec.ExecStdin(data=data):
                command.input_credit -= len(data)
                asked = command.input_credit >= 0 and not command.fed_end
                self.expect(asked, "the host feeds what was not asked for", message)
                command.fed += data
                command.fed_end = not data

    def received(self, data: bytes) -> None:
        """Record bytes of the guest that reach the host."""
        self._received += data

    def advance(self, now: float) -> codec.Message | None:
        """Return the guest's next message that means something; None: a breach, or nothing yet."""
        while not self.breach:
            size = codec.HEADER_SIZE + int.from_bytes(self._received[:4], "little")
            data = bytes(self._received[: min(size, 1 << 18)])
            try:
                message = _read(self._schema, data, "guest")
            except Incomplete:
                return None
            except Malformed as error:
                self._break(now, f"malformed: {error}")
                return None
            self._recent.append(data)
            del self._received[:size]
            self.frames += 1
            if self.greeted:
                self._break(now, self._check(message, now))
            elif not isinstance(message, codec.Ready) or message.nonce != self._nonce:
                continue  # it answers an earlier hello
            else:
                self._greet(message, now)
            return None if self.breach else message
        return None

    def _break(self, now: float, breach: str, reason: type[MachineError] = ProtocolError) -> None:
        if breach:
            self.breach, self.reason = breach, reason
            self.losses.append(now)

    def _greet(self, ready: codec.Ready, now: float) -> None:
        version = ready.version
        if version <= codec.VERSION and codec.DIGESTS.get(version) != ready.digest:
            self._break(now, "another schema", VersionMismatch)
        elif version < codec.VERSION:
            self._schema = schema().at(version)
        self.greeted = True

    def _check(self, message: codec.Message, now: float) -> str:
        """Record a message, and return what is wrong with it; empty if nothing is."""
        kind = type(message).__name__
        if self._goodbye:
            return f"{kind} after goodbye"
        match message:
            case codec.Pong(token=token):
                self.last_pong = now
                asked = self.pings.pop(token, None)
                return "an answer to no ping" if asked is None else ""
            case codec.Status():
                self._asked -= 1
                self.statuses.append(message)
                return "a status that nobody asked for" if self._asked < 0 else ""
            case codec.Goodbye():
                self._goodbye = True
                return ""
            case codec.Ready() | codec.Error():
                return f"{kind} where it must not be"
        command = self._running(getattr(message, "id", 0))
        return self._check_of(command, message, now) if command else f"{kind} of no command"

    def _check_of(self, command: Command, message: codec.Message, now: float) -> str:
        match message:
            case codec.ExecOutput(stream=stream, data=data):
                if not 0 < len(data) <= command.credit[stream]:
                    return f"{len(data)} bytes of output for {command.credit[stream]} paid"
                command.credit[stream] -= len(data)
                command.outputs.append((now, stream, bytes(data)))
            case codec.ExecStdinCredit(amount=amount):
                if not command.takes_input or not amount:
                    return f"credit of {amount} for input"
                command.input_credit = min(command.input_credit + amount, _MAX_CREDIT)
            case codec.ExecStdinClosed():
                if not command.takes_input:
                    return "the end of what is not fed"
                command.input_credit, command.takes_input = 0, False
            case codec.ExecResponse(ending=codec.Ending.OUT_OF_MEMORY):
                return "the end for want of memory that is not limited"  # by any script
            case codec.ExecResponse(ending=codec.Ending.SIGNALLED, status=status) if not (
                1 <= status <= _LAST_SIGNAL
            ):
                return "the end by a signal that there is not"
            case codec.ExecResponse() | codec.ExecFailed():
                command.ending = now, message
        return ""
