"""A recorder of a conversation knows, by the schema and a few rules, who breaks the protocol.

It shares nothing with the host: it reads frames by `microvm_proto.frame`, which goes by the schema,
and not by the generated codec, and keeps its own account of nonces, ids and credits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from microvm.wire import codec
from microvm_proto.frame import Incomplete, Malformed, message_of, read
from microvm_proto.schema import Schema

from ..frames import HEADER
from ..report import explained, schema

_MAX_CREDIT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that is right by itself, with its fields by name."""

    kind: str
    id: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Breach:
    """A breach of the protocol by the guest, for which a host must finish it at once."""

    at: float
    why: str
    version: bool = False


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
    takes_input: bool
    credit: dict[int, int] = field(default_factory=dict)
    outputs: list[tuple[float, int, bytes]] = field(default_factory=list)
    ending: tuple[float, Frame] | None = None
    kills: list[float] = field(default_factory=list)
    fed: bytearray = field(default_factory=bytearray)
    fed_end: bool = False
    input_credit: int = 0


class Recorder:
    """The recorder of one conversation.

    :ivar greeted: whether the guest has answered.
    :ivar breach: the guest's first one.
    :ivar faults: what the host has done wrong.
    :ivar pings: when each was sent that is not answered.
    :ivar statuses: those that the guest has told.
    :ivar frames: how many of the guest's have been read.
    :ivar ended_at: when the port ended.
    """

    def __init__(self) -> None:
        self.greeted = False
        self.breach: Breach | None = None
        self.faults: list[str] = []
        self.commands: list[Command] = []
        self.pings: dict[int, float] = {}
        self.last_pong = 0.0
        self.statuses: list[Frame] = []
        self.frames = 0
        self.ended_at: float | None = None
        self._asked = 0
        self._goodbye = False
        self._nonce = -1
        self._received = bytearray()
        self._recent: deque[bytes] = deque(maxlen=5)
        self._schema = schema()

    def transcript(self) -> str:
        """Explain the last of the guest's frames."""
        return explained(b"".join(self._recent) + bytes(self._received[:100]), "guest")

    def sent(self, data: bytes, now: float) -> None:
        """Record whole frames that the host sends."""
        while data:
            size = codec.HEADER_SIZE + HEADER.unpack_from(data)[0]
            try:
                self._record(_frame(self._schema, data[:size], "host"), now)
            except (Malformed, Incomplete) as error:
                self.faults.append(f"the host sends a malformed frame: {error}")
            data = data[size:]

    def _record(self, frame: Frame, now: float) -> None:
        command = self.commands[-1] if self.commands else None
        values = frame.values
        if frame.kind not in ("hello", "exec_request") and not self.greeted:
            self.faults.append(f"the host says {frame.kind} before it is answered")
        match frame.kind:
            case "hello":
                self._nonce = values["nonce"]
            case "ping":
                self.pings[values["token"]] = now
            case "status_request":
                self._asked += 1
            case "exec_request":
                if frame.id != len(self.commands) + 1 or (command and not command.ending):
                    self.faults.append("the host asks for a command out of turn")
                window = {1: values["stdout_credit"], 2: values["stderr_credit"]}
                fed = values["stdin_from"] == codec.StdinKind.HOST or values["rows"] > 0
                self.commands.append(Command(frame.id, now, window, fed, dict(window)))
            case _ if frame.id:
                if command is None or command.id != frame.id or command.ending:
                    self.faults.append(f"the host says {frame.kind} of no command that runs")
                else:
                    self._record_of(command, frame, now)

    def _record_of(self, command: Command, frame: Frame, now: float) -> None:
        match frame.kind:
            case "exec_credit":
                stream = frame.values["stream"]
                command.credit[stream] += frame.values["amount"]
                if command.credit[stream] > command.window[stream]:
                    self.faults.append("the host gives credit for what it has not taken")
            case "exec_kill":
                command.kills.append(now)
            case "exec_stdin":
                data = frame.values["data"]
                command.input_credit -= len(data)
                if command.input_credit < 0 or command.fed_end:
                    self.faults.append("the host feeds what was not asked for")
                command.fed += data
                command.fed_end = not data

    def received(self, data: bytes) -> None:
        """Record bytes of the guest that reach the host."""
        self._received += data

    def advance(self, now: float) -> Frame | None:
        """Return the guest's next frame that means something; None: a breach, or nothing yet."""
        while self.breach is None:
            if len(self._received) < codec.HEADER_SIZE:
                return None
            size = codec.HEADER_SIZE + HEADER.unpack_from(self._received)[0]
            try:
                frame = _frame(self._schema, bytes(self._received[: min(size, 1 << 18)]), "guest")
            except Incomplete:
                return None
            except Malformed as error:
                self.breach = Breach(now, f"malformed: {error}")
                return None
            self._recent.append(bytes(self._received[:size]))
            del self._received[:size]
            self.frames += 1
            if self.greeted:
                wrong = self._check(frame, now)
                if wrong:
                    self.breach = Breach(now, wrong)
            elif frame.kind != "ready" or frame.values["nonce"] != self._nonce:
                continue  # it answers an earlier hello
            else:
                self._greet(frame, now)
            return None if self.breach else frame
        return None

    def _greet(self, frame: Frame, now: float) -> None:
        version, digest = frame.values["version"], frame.values["digest"]
        if version <= codec.VERSION and codec.DIGESTS.get(version) != digest:
            self.breach = Breach(now, "another schema", version=True)
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
        command = self.commands[-1] if self.commands else None
        if command is None or command.ending or command.id != frame.id:
            return f"{frame.kind} of no command that runs"
        return self._check_command(command, frame, now)

    def _check_command(self, command: Command, frame: Frame, now: float) -> str:
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


def _frame(schema: Schema, data: bytes, sender: str) -> Frame:
    """Read a frame; of its fields, those that are no constants, and of lists their lengths."""
    values = {
        part.name: part.value
        for part in read(schema, data, sender)
        if part.field is not None and part.field.equals is None and part.item is None
    }
    _, number, _, id_ = HEADER.unpack_from(data)
    message = message_of(schema, number)
    assert message is not None
    return Frame(message.name, id_, values)
