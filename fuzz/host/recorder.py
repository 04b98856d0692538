"""Watches host and guest talk, and knows by the schema and a few rules who breaks the protocol.

It shares nothing with what it judges: it reads frames by `microvm_proto.frame`, which goes by the
schema, and not by the generated codec, and keeps its own account of nonces, ids and credits.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import click

from microvm.wire import codec
from microvm_proto.explain import BrokenStream, explain
from microvm_proto.frame import Incomplete, Malformed, Value, message_of, read
from microvm_proto.resolve import read_schema
from microvm_proto.schema import ByteList, Schema

from ..frames import HEADER

SCHEMA = read_schema(Path(__file__).resolve().parents[2] / "protocol" / "sandboxd.toml")
_NEVER_MORE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that is right by itself."""

    kind: str
    id: int
    values: dict[str, Value]

    def number(self, name: str) -> int:
        """An integer field."""
        value = self.values[name]
        assert isinstance(value, int)
        return value

    def octets(self, name: str) -> bytes:
        """A field of bytes."""
        value = self.values[name]
        assert isinstance(value, bytes)
        return value


@dataclass(frozen=True, slots=True)
class Lie:
    """Why a host must finish this guest."""

    why: str
    version: bool = False


@dataclass
class Run:
    """One command, as both sides have told it.

    :ivar credit: what may come of each stream; `window` at most.
    :ivar outputs: moment, stream and bytes of each output.
    :ivar ending: its moment and its frame.
    :ivar fed: what the host has fed to it.
    :ivar takes_input: whether the host feeds it, and it has not said that it takes no more.
    """

    id: int
    started: float
    credit: dict[int, int]
    window: dict[int, int]
    outputs: list[tuple[float, int, bytes]] = field(default_factory=list)
    ending: tuple[float, Frame] | None = None
    kills: list[float] = field(default_factory=list)
    fed: bytearray = field(default_factory=bytearray)
    fed_end: bool = False
    input_credit: int = 0
    takes_input: bool = False

    def written(self, stream: int) -> bytes:
        """All of a stream."""
        return b"".join(data for _, of, data in self.outputs if of == stream)


class Witness:
    """The account of one conversation.

    :ivar lie: the guest's first one.
    :ivar faults: what the host has done wrong.
    :ivar frames: how many of the guest's have been judged.
    """

    def __init__(self) -> None:
        self.greeted = False
        self.lie: Lie | None = None
        self.lied_at = 0.0
        self.runs: list[Run] = []
        self.pings: dict[int, float] = {}
        self.statuses: list[float] = []
        self.answers: list[Frame] = []
        self.last_pong = 0.0
        self.frames = 0
        self.faults: list[str] = []
        self.ended_at: float | None = None
        self.closed_at: float | None = None
        self._goodbye = False
        self._nonce = -1
        self._bytes = bytearray()
        self._recent: deque[bytes] = deque(maxlen=5)
        self._schema = SCHEMA

    # -- The host --------------------------------------------------------------------------------

    def said(self, data: bytes, now: float) -> None:
        """The host writes whole frames."""
        if self.lie:
            self.faults.append("the host goes on talking to a guest that has lied")
        while data:
            size = codec.HEADER_SIZE + HEADER.unpack_from(data)[0]
            try:
                self._note(_frame(self._schema, data[:size], "host"), now)
            except (Malformed, Incomplete) as error:
                self.faults.append(f"the host sends a malformed frame: {error}")
            data = data[size:]

    def _note(self, frame: Frame, now: float) -> None:
        run = self.runs[-1] if self.runs else None
        if frame.kind not in ("hello", "exec_request") and not self.greeted:
            self.faults.append(f"the host says {frame.kind} before it is answered")
        match frame.kind:
            case "hello":
                self._nonce = frame.number("nonce")
            case "ping":
                self.pings[frame.number("token")] = now
            case "status_request":
                self.statuses.append(now)
            case "exec_request":
                if frame.id != len(self.runs) + 1 or (run and not run.ending):
                    self.faults.append("the host asks for a command out of turn")
                credit = {1: frame.number("stdout_credit"), 2: frame.number("stderr_credit")}
                fed = frame.number("stdin_from") == codec.StdinKind.HOST or frame.number("rows") > 0
                run = Run(frame.id, now, credit, dict(credit), takes_input=fed)
                self.runs.append(run)
            case _ if frame.id:
                if run is None or run.id != frame.id or run.ending:
                    self.faults.append(f"the host says {frame.kind} of no command that runs")
                else:
                    self._note_of(run, frame, now)

    def _note_of(self, run: Run, frame: Frame, now: float) -> None:
        match frame.kind:
            case "exec_credit":
                stream = frame.number("stream")
                run.credit[stream] += frame.number("amount")
                if run.credit[stream] > run.window[stream]:
                    self.faults.append("the host gives credit for what it has not taken")
            case "exec_kill":
                run.kills.append(now)
            case "exec_stdin":
                data = frame.octets("data")
                run.input_credit -= len(data)
                if run.input_credit < 0 or run.fed_end:
                    self.faults.append("the host feeds what was not asked for")
                run.fed += data
                run.fed_end = not data

    # -- The guest -------------------------------------------------------------------------------

    def heard(self, data: bytes) -> None:
        """The guest's bytes reach the host."""
        self._bytes += data

    @property
    def partial(self) -> int:
        """Bytes that are no whole frame yet, once `advance` has nothing more."""
        return len(self._bytes)

    def transcript(self) -> str:
        """The last of the guest's frames, one below the other."""
        data = b"".join(self._recent) + bytes(self._bytes[:100])
        lines: list[str] = []
        with suppress(BrokenStream):
            lines += map(click.unstyle, explain(self._schema, data, "guest"))
        return "\n".join(lines)

    def advance(self, now: float) -> Frame | None:
        """Return the next frame that means something; None: a lie, or nothing yet."""
        while self.lie is None:
            if len(self._bytes) < codec.HEADER_SIZE:
                return None
            size = codec.HEADER_SIZE + HEADER.unpack_from(self._bytes)[0]
            try:
                frame = _frame(self._schema, bytes(self._bytes[: min(size, 1 << 18)]), "guest")
            except Incomplete:
                return None
            except Malformed as error:
                self._catch(now, f"malformed: {error}")
                return None
            self._recent.append(bytes(self._bytes[:size]))
            del self._bytes[:size]
            self.frames += 1
            if not self.greeted:
                if frame.kind != "ready" or frame.number("nonce") != self._nonce:
                    continue  # of an older life
                self._greet(frame, now)
            else:
                self._judge(frame, now)
            return None if self.lie else frame
        return None

    def _catch(self, now: float, why: str, *, version: bool = False) -> None:
        self.lie = Lie(why, version)
        self.lied_at = now

    def _greet(self, frame: Frame, now: float) -> None:
        version, digest = frame.number("version"), frame.number("digest")
        if version <= codec.VERSION and codec.DIGESTS.get(version) != digest:
            self._catch(now, "another schema", version=True)
        elif version < codec.VERSION:
            self._schema = SCHEMA.at(version)
        self.greeted = True

    def _judge(self, frame: Frame, now: float) -> None:
        run = self.runs[-1] if self.runs and not self.runs[-1].ending else None
        if self._goodbye:
            self._catch(now, f"{frame.kind} after goodbye")
        elif frame.kind.startswith("exec_"):
            if run is None or run.id != frame.id:
                self._catch(now, f"{frame.kind} of no command that runs")
            else:
                self._judge_of(run, frame, now)
        elif frame.kind == "pong":
            if self.pings.pop(frame.number("token"), None) is None:
                self._catch(now, "an answer to no ping")
            self.last_pong = now
        elif frame.kind == "status":
            if not self.statuses:
                self._catch(now, "a status that nobody asked for")
            else:
                self.statuses.pop(0)
                self.answers.append(frame)
        elif frame.kind == "goodbye":
            self._goodbye = True
        else:
            self._catch(now, f"{frame.kind} where it must not be")

    def _judge_of(self, run: Run, frame: Frame, now: float) -> None:
        match frame.kind:
            case "exec_output":
                stream, data = frame.number("stream"), frame.octets("data")
                if not 0 < len(data) <= run.credit[stream]:
                    self._catch(now, f"{len(data)} bytes of output for {run.credit[stream]} paid")
                    return
                run.credit[stream] -= len(data)
                run.outputs.append((now, stream, data))
            case "exec_stdin_credit":
                amount = frame.number("amount")
                if not run.takes_input or not amount:
                    self._catch(now, f"credit of {amount} for input")
                    return
                run.input_credit = min(run.input_credit + amount, _NEVER_MORE)
            case "exec_stdin_closed":
                if not run.takes_input:
                    self._catch(now, "the end of what is not fed")
                    return
                run.input_credit, run.takes_input = 0, False
            case "exec_response":
                ending = frame.number("ending")
                if ending != codec.Ending.EXITED and frame.number("status") not in range(1, 65):
                    self._catch(now, "the end by a signal that there is not")
                    return
                if ending == codec.Ending.OUT_OF_MEMORY:  # no script limits any
                    self._catch(now, "the end for want of memory that is not limited")
                    return
                run.ending = now, frame
            case _:
                run.ending = now, frame


def _frame(schema: Schema, data: bytes, sender: str) -> Frame:
    values = _values(schema, data, sender)
    _, number, _, id_ = HEADER.unpack_from(data)
    message = message_of(schema, number)
    assert message is not None
    return Frame(message.name, id_, values)


def _values(schema: Schema, data: bytes, sender: str) -> dict[str, Value]:
    """The fields of a frame by name, without those that are constants."""
    values: dict[str, Value] = {}
    items: dict[str, list[bytes]] = {}
    for part in read(schema, data, sender):
        if part.field is None or part.field.equals is not None:
            continue
        if isinstance(part.value, bytes) and part.item is not None:
            items[part.name].append(part.value)
            continue
        values[part.name] = part.value
        if isinstance(part.field.type, ByteList):
            items[part.name] = []
    return values | {name: tuple(them) for name, them in items.items()}
