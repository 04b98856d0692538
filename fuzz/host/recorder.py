"""A recorder of a conversation, which knows the protocol's rules and notices who breaks them.

It shares only the classes of messages and the timeouts with the host. It decodes frames by
`microvm_proto.frame`, which interprets the schema, and follows the schema's conversations.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from tests.support.messages import made
from tests.support.recording import Recording
from tests.support.side_copy import SideCopy

from microvm.errors import MachineError, VersionMismatch
from microvm.guest.timeouts import TIMEOUTS
from microvm.wire import codec
from microvm.wire.session import WINDOW
from microvm_proto.conversation_rules import MessageOrder
from microvm_proto.frame import Incomplete, Malformed, message_of, read
from microvm_proto.schema import Schema

from ..daemon.running import LAST_SIGNAL
from ..report import Disagreement, agree, explained, schema
from .acts import HostCall


def _read(schema: Schema, data: bytes, sender: str) -> codec.Message:
    """Decode a frame. In place of a list, the message contains its length."""
    values: dict[str, Any] = {part.name: part.value for part in read(schema, data, sender)}
    kind = message_of(schema, values["type"])
    assert kind is not None
    message: codec.Message = made(codec, kind, values["id"], values)
    return message


@dataclass
class RecordedCommand:
    """A command, as recorded from the messages of both sides.

    :ivar outputs: Time, stream and bytes of each output.
    :ivar kills: Times at which the host sent `exec_kill`.
    :ivar takes_input: True if the host sends its input, and the guest has not closed it.
    """

    started: float
    credit: dict[int, int]
    takes_input: bool
    outputs: list[tuple[float, int, bytes]] = field(default_factory=list)
    ending: tuple[float, codec.ExecResponse | codec.ExecFailed] | None = None
    kills: list[float] = field(default_factory=list)
    fed: bytearray = field(default_factory=bytearray)
    fed_end: bool = False


@dataclass
class CallResult:
    """The result of a call of the host's API.

    :ivar ended: Time at which the call or its command ended, even if its output was read later.
    :ivar left: Time at which the caller left before the end; None if it read all output.
    """

    call: HostCall
    began: float
    ended: float = float("inf")
    value: object = None
    memory: int | None = None
    command: RecordedCommand | None = None
    out: dict[int, bytes] = field(default_factory=dict)
    left: float | None = None


CALL: ContextVar[CallResult] = ContextVar("CALL")
"""The result of the script's call that the current asyncio task makes."""


class Recorder:
    """The recorder of one conversation and its results.

    :ivar permitted: Maximum number of commands that the host runs at once.
    :ivar version: Version of the protocol that both sides use.
    :ivar error: Error for which the host gave up the guest; None if it did not.
    :ivar breach: First violation of the protocol by the guest, after which the host must give up.
    :ivar pings: Times of the pings that are not answered yet, by their tokens.
    :ivar received: Bytes that the host has received, but not processed.
    :ivar losses: Times from which the host must know that the guest is lost.
    :ivar left_at: Time at which the host gave up the guest; None if it did not.
    """

    def __init__(self, permitted: int) -> None:
        """Begin the recording of a host that may run up to `permitted` commands at once."""
        self.permitted = permitted
        self.calls: list[CallResult] = []
        self.error: MachineError | None = None
        self.greeted = False
        self.version = codec.VERSION
        self.breach: Exception | None = None
        self.faults: list[Disagreement] = []
        self.commands: list[RecordedCommand] = []
        self.pings: dict[int, float] = {}
        self.last_pong = 0.0
        self.statuses: list[codec.Message] = []
        self.received = bytearray()
        self.frames: list[bytes] = []
        self.losses: list[float] = []
        self.left_at: float | None = None
        self._copy = SideCopy("host")
        self._recording = Recording(frozenset({"host"}), is_first=True)
        self._schema = schema()

    def transcript(self) -> str:
        """Return an explanation of the last frames of the guest."""
        return explained(b"".join(self.frames[-5:]) + bytes(self.received[:100]), "guest")

    def expect(self, right: bool, what: str, detail: object = "") -> None:
        """Record a fault of the host, unless `right` is true."""
        if not right:
            self.faults.append(Disagreement(what, detail))

    def _running(self) -> list[RecordedCommand]:
        """Return the commands that have not ended."""
        return [command for command in self.commands if not command.ending]

    def sent(self, data: bytes, now: float) -> None:
        """Record a frame that the host sends."""
        message = _read(self._schema, data, "host")
        try:
            self._sent(message, now)
        except Disagreement as error:
            self.faults.append(error)

    def _sent(self, message: codec.Message, now: float) -> None:
        self._recording.add("host", message)
        verdict, why = self._copy.follow("host", message)
        agree(verdict is MessageOrder.IN_ORDER, "the host sends a message out of order", why)
        match message:
            case codec.Ping(token=token):
                self.pings[token] = now
            case codec.ExecRequest(id=id_):
                running = self._running()
                can_start = not running or (message.beside and len(running) < self.permitted)
                in_turn = can_start and id_ == len(self.commands) + 1
                agree(in_turn, "the host asks for a command out of turn", message)
                credit = {1: message.stdout_credit, 2: message.stderr_credit}
                fed = message.stdin_from is codec.StdinKind.HOST or message.rows > 0
                command = CALL.get().command = RecordedCommand(now, credit, fed)
                self.commands.append(command)
                self._check_credit(max(credit.values()), message)
            case codec.ExecCredit(id=id_, stream=stream, amount=amount):
                command = self.commands[id_ - 1]
                command.credit[stream] += amount
                self._check_credit(command.credit[stream], message)
            case codec.ExecKill(id=id_):
                self.commands[id_ - 1].kills.append(now)
            case codec.ExecStdin(id=id_, data=data):
                command = self.commands[id_ - 1]
                asked = (command.takes_input or not data) and not command.fed_end
                agree(asked, "the host feeds what was not asked for", message)
                command.fed += data
                command.fed_end = not data

    def _check_credit(self, credit: int, message: codec.Message) -> None:
        """Check that a message of the host has not given a command too much credit.

        When the host gives credit to a command while N commands run, the credit for each stream of
        this command may be at most `WINDOW` / N bytes, or `WINDOW` / 4 if N is larger than 4.
        """
        taken = credit <= WINDOW // min(len(self._running()), 4)
        agree(taken, "the host gives credit for what it has not taken", message)

    def advance(self, now: float) -> codec.Message | None:
        """Return the guest's next message to the host; None if there is none, or after a breach."""
        while not self.breach:
            size = codec.HEADER_SIZE + int.from_bytes(self.received[:4], "little")
            data = bytes(self.received[: min(size, 1 << 18)])
            try:
                message = _read(self._schema, data, "guest")
                self.frames.append(data)
                del self.received[:size]
                self._recording.add("guest", message)
                verdict, why = self._copy.follow("guest", message)
                agree(verdict is not MessageOrder.OUT_OF_ORDER, "a message out of order", why)
                if verdict is MessageOrder.IN_ORDER:
                    self._check(message, now)
                    return message
            except Incomplete:
                return None
            except (Malformed, Disagreement, VersionMismatch) as error:
                self.breach = error
                self.losses.append(now)
        return None

    def _greet(self, ready: codec.Ready) -> None:
        version, digest = ready.version, ready.digest
        if version <= codec.VERSION and codec.DIGESTS.get(version) != digest:
            raise VersionMismatch((codec.VERSION, codec.DIGEST), (version, digest))
        if version < codec.VERSION:
            self._schema = schema().at(version)
            self.version = version
        self.greeted = True

    def _check(self, message: codec.Message, now: float) -> None:
        """Record a message of the guest."""
        match message:
            case codec.Ready():
                self._greet(message)
            case codec.Pong(token=token):
                self.last_pong = now
                agree(
                    self.pings.pop(token, None) is not None,
                    "the guest answered a ping that the host did not send",
                    message,
                )
            case codec.Status():
                self.statuses.append(message)
            case codec.Goodbye():
                self.losses.append(now + TIMEOUTS.loss_grace)
            case codec.ExecOutput(id=id_, stream=stream, data=data):
                command = self.commands[id_ - 1]
                agree(len(data) > 0, "output without bytes", message)
                command.credit[stream] -= len(data)
                command.outputs.append((now, stream, bytes(data)))
            case codec.ExecStdinCredit(id=id_, amount=amount):
                fed = self.commands[id_ - 1].takes_input
                agree(fed and amount > 0, "credit for no input", message)
            case codec.ExecStdinClosed(id=id_):
                command = self.commands[id_ - 1]
                agree(command.takes_input, "the end of what is not fed", message)
                command.takes_input = False
            case codec.ExecResponse(id=id_, ending=end, status=status):
                # Scripts limit the memory of no command.
                agree(end is not codec.Ending.OUT_OF_MEMORY, "out of memory without a limit")
                signalled = end is codec.Ending.SIGNALLED
                known = not signalled or 1 <= status <= LAST_SIGNAL
                agree(known, "the end by an unknown signal", message)
                self.commands[id_ - 1].ending = now, message
            case codec.ExecFailed(id=id_):
                self.commands[id_ - 1].ending = now, message
