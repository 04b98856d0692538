"""A recorder of a conversation knows, by the schema and a few rules, who breaks the protocol.

It shares nothing with the host: it reads frames by `microvm_proto.frame`, which goes by the schema,
and not by the generated codec, and keeps its own account of nonces, ids and credits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from microvm.errors import MachineError, ProtocolError, VersionMismatch
from microvm.wire import codec
from microvm_proto.frame import Incomplete, Malformed, message_of, read
from microvm_proto.schema import Schema

from ..disagreement import Disagreement
from ..frames import HEADER
from ..report import explained, schema
from .script import Call

_MAX_CREDIT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that is right by itself, with the fields of its body, but for constants, by name."""

    kind: str
    id: int
    values: dict[str, Any]

    @classmethod
    def read(cls, schema: Schema, data: bytes, sender: str) -> Frame:
        """Read it; of lists, the values are their lengths.

        :raises Malformed: it is not right.
        :raises Incomplete: it is not whole.
        """
        values = {
            part.name: part.value
            for part in read(schema, data, sender)
            if part.field is not None and part.field.equals is None and part.item is None
        }
        _, number, _, id_ = HEADER.unpack_from(data)
        message = message_of(schema, number)
        assert message is not None
        return cls(message.name, id_, values)

    def is_same(self, event: codec.Message) -> bool:
        """Tell whether this is what the codec has made of it."""
        told = {name: getattr(event, name, None) for name in self.values}
        kind = type(event).__name__.lower(), getattr(event, "id", 0)
        return kind == (self.kind.replace("_", ""), self.id) and told == self.values


@dataclass
class Command:
    """A command, as both sides have told it.

    :ivar credit: what may come of each stream; `window` at most.
    :ivar outputs: moment, stream and bytes of each output.
    :ivar ending: its moment and its frame.
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
    ending: tuple[float, Frame] | None = None
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
        self.statuses: list[Frame] = []
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

    def _running(self, frame: Frame) -> Command | None:
        """Return the command that a frame is about, if that runs."""
        last = self.commands[-1] if self.commands else None
        return last if last and last.id == frame.id and not last.ending else None

    def sent(self, data: bytes, now: float) -> None:
        """Record a frame that the host sends.

        :raises Malformed: it is none.
        """
        frame = Frame.read(self._schema, data, "host")
        values = frame.values
        greeted = self.greeted or frame.kind == "hello"
        self.expect(greeted, "the host speaks before it is answered", frame)
        match frame.kind:
            case "hello":
                self._nonce = values["nonce"]
            case "ping":
                self.pings[values["token"]] = now
            case "status_request":
                self._asked += 1
            case "exec_request":
                over = all(command.ending for command in self.commands)
                in_turn = over and frame.id == len(self.commands) + 1
                self.expect(in_turn, "the host asks for a command out of turn", frame)
                window = {1: values["stdout_credit"], 2: values["stderr_credit"]}
                fed = values["stdin_from"] == codec.StdinKind.HOST or values["rows"] > 0
                self.commands.append(Command(frame.id, now, window, dict(window), fed))
            case _ if frame.id:
                command = self._running(frame)
                self.expect(command is not None, "the host speaks of no command that runs", frame)
                if command:
                    self._sent_of(command, frame, now)

    def _sent_of(self, command: Command, frame: Frame, now: float) -> None:
        match frame.kind:
            case "exec_credit":
                stream = frame.values["stream"]
                command.credit[stream] += frame.values["amount"]
                taken = command.credit[stream] <= command.window[stream]
                self.expect(taken, "the host gives credit for what it has not taken", frame)
            case "exec_kill":
                command.kills.append(now)
            case "exec_stdin":
                data = frame.values["data"]
                command.input_credit -= len(data)
                asked = command.input_credit >= 0 and not command.fed_end
                self.expect(asked, "the host feeds what was not asked for", frame)
                command.fed += data
                command.fed_end = not data

    def received(self, data: bytes) -> None:
        """Record bytes of the guest that reach the host."""
        self._received += data

    def advance(self, now: float) -> Frame | None:
        """Return the guest's next frame that means something; None: a breach, or nothing yet."""
        while not self.breach:
            size = codec.HEADER_SIZE + int.from_bytes(self._received[:4], "little")
            data = bytes(self._received[: min(size, 1 << 18)])
            try:
                frame = Frame.read(self._schema, data, "guest")
            except Incomplete:
                return None
            except Malformed as error:
                self._break(now, f"malformed: {error}")
                return None
            self._recent.append(data)
            del self._received[:size]
            self.frames += 1
            if self.greeted:
                self._break(now, self._check(frame, now))
            elif frame.kind != "ready" or frame.values["nonce"] != self._nonce:
                continue  # it answers an earlier hello
            else:
                self._greet(frame, now)
            return None if self.breach else frame
        return None

    def _break(self, now: float, breach: str, reason: type[MachineError] = ProtocolError) -> None:
        if breach:
            self.breach, self.reason = breach, reason
            self.losses.append(now)

    def _greet(self, frame: Frame, now: float) -> None:
        version, digest = frame.values["version"], frame.values["digest"]
        if version <= codec.VERSION and codec.DIGESTS.get(version) != digest:
            self._break(now, "another schema", VersionMismatch)
        elif version < codec.VERSION:
            self._schema = schema().at(version)
        self.greeted = True

    def _check(self, frame: Frame, now: float) -> str:
        """Record a frame, and return what is wrong with it; empty if nothing is."""
        if self._goodbye:
            return f"{frame.kind} after goodbye"
        match frame.kind:
            case "pong":
                self.last_pong = now
                asked = self.pings.pop(frame.values["token"], None)
                return "an answer to no ping" if asked is None else ""
            case "status":
                self._asked -= 1
                self.statuses.append(frame)
                return "a status that nobody asked for" if self._asked < 0 else ""
            case "goodbye":
                self._goodbye = True
                return ""
        if not frame.kind.startswith("exec_"):
            return f"{frame.kind} where it must not be"
        command = self._running(frame)
        return self._check_of(command, frame, now) if command else f"{frame.kind} of no command"

    def _check_of(self, command: Command, frame: Frame, now: float) -> str:
        values = frame.values
        match frame.kind:
            case "exec_output":
                stream, data = values["stream"], values["data"]
                if not 0 < len(data) <= command.credit[stream]:
                    return f"{len(data)} bytes of output for {command.credit[stream]} paid"
                command.credit[stream] -= len(data)
                command.outputs.append((now, stream, data))
            case "exec_stdin_credit":
                amount = values["amount"]
                if not command.takes_input or not amount:
                    return f"credit of {amount} for input"
                command.input_credit = min(command.input_credit + amount, _MAX_CREDIT)
            case "exec_stdin_closed":
                if not command.takes_input:
                    return "the end of what is not fed"
                command.input_credit, command.takes_input = 0, False
            case _:
                signalled = values.get("ending", codec.Ending.EXITED) != codec.Ending.EXITED
                if signalled and values["status"] not in range(1, 65):
                    return "the end by a signal that there is not"
                if values.get("ending") == codec.Ending.OUT_OF_MEMORY:  # no script limits any
                    return "the end for want of memory that is not limited"
                command.ending = now, frame
        return ""
