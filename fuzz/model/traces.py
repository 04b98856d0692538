"""Finds out whether recorded conversations are runs of the model of sandboxd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from tests.support.recording import Recording

from microvm.wire import codec
from microvm_proto.conversation_rules import SentMessage
from microvm_proto.schema import Schema

from .events import FILLER
from .spin import Spin

_MOST_CREDIT = 1 << 30
"""The maximum of each counter in the model of recorded conversations."""

_NONCES = 255
"""Number of nonces that this model tells apart."""

_BATCH = 100_000
"""Number of events after which a search begins with the next recordings, to need less memory."""


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """A message that the host has sent or received, as the model knows it.

    :ivar numbers: The numbers by which the model knows the message: type, id, condition that its
        contents satisfy, amount, and nonce.
    :ivar message: The recorded message.
    """

    numbers: tuple[int, int, int, int, int]
    message: SentMessage

    @property
    def nonce(self) -> object:
        """The recorded nonce; None unless the message is a `hello` or a `ready`."""
        return self.message.fields.get("nonce")

    @property
    def is_hello(self) -> bool:
        return self.message.name == "hello"

    def __str__(self) -> str:
        verb = "sends" if self.message.sender == "host" else "receives"
        fields = {name: str(value) for name, value in self.message.fields.items()}
        return f"the host {verb} {self.message.name} of id {self.message.id} {fields}"


@dataclass(frozen=True, slots=True)
class Trace:
    """A part of a recording that begins with a `hello`."""

    recording: Recording
    events: Sequence[TraceEvent]

    def after(self, at: int) -> Iterator[Trace]:
        """Yield the trace from the first `hello` with a new nonce at this index or later, if any.

        The guest's messages before the answer to this `hello` are left out, because they can belong
        to an earlier conversation.
        """
        old = {each.nonce for each in self.events[:at] if each.is_hello}
        events: list[TraceEvent] = []
        new = set[object]()
        is_answered = False
        for each in self.events[at:]:
            if each.is_hello and (new or each.nonce not in old):
                new.add(each.nonce)
            is_answered |= each.message.name == "ready" and each.nonce in new
            if is_answered or (new and each.message.sender == "host"):
                events.append(each)
        if events:
            yield Trace(self.recording, events)

    def lines(self, ends: Sequence[str]) -> Iterator[str]:
        """Yield the lines by which protocol/traces.pml reads the trace."""
        sent: dict[str, list[str]] = {end: [] for end in ends}
        for each in self.events:
            (others,) = (sent[end] for end in ends if end != each.message.sender)
            numbers = (*each.numbers, len(others))
            sent[each.message.sender].append(" ".join(map(str, numbers)))
        is_free = "guest" not in self.recording.real
        yield f"{is_free:d} {' '.join(str(len(sent[end])) for end in ends)}"
        for end in ends:
            yield from sent[end]


class _Abstraction:
    """The numbers that the model uses for the types, ids, nonces and amounts of a recording."""

    def __init__(self, schema: Schema, recording: Recording) -> None:
        ids = sorted({0, *(each.id for each in recording.messages)})
        self._ids = {id_: number for number, id_ in enumerate(ids)}
        self._types = {each.name: number for number, each in enumerate(schema.messages, 1)}
        conditions = (each.name for talk in schema.conversations for each in talk.conditions)
        self._conditions = {name: at for at, name in enumerate(dict.fromkeys(conditions), 1)}
        self._nonces: dict[object, int] = {}
        self._added: dict[tuple[int, str], int] = {}

    def events(self, message: SentMessage) -> Iterator[TraceEvent]:
        """Yield the event of a message, or two if it grants different credit to two streams."""
        name, fields = message.name, message.fields
        condition = _condition(message)
        if name == "hello":
            self._added.clear()
            self._nonces.setdefault(fields["nonce"], 1 + len(self._nonces) % _NONCES)
        if name == "exec_request":
            stdout, stderr = (
                self._add(message.id, stream, fields[f"{stream}_credit"])
                for stream in ("stdout", "stderr")
            )
            yield self._event(message, name, "", min(stdout, stderr))
            if stdout != stderr:
                larger = "stdout" if stdout > stderr else "stderr"
                yield self._event(message, "exec_credit", larger, abs(stdout - stderr))
        elif "amount" in fields:
            stream = condition or "stdin"
            amount = self._add(message.id, stream, fields["amount"])
            yield self._event(message, name, condition, amount)
        else:
            yield self._event(message, name, condition, fields.get("data", 0))

    def _event(self, message: SentMessage, name: str, condition: str, amount: object) -> TraceEvent:
        assert isinstance(amount, int)
        numbers = (
            self._types[name] if name else FILLER,
            # An `error` about a malformed frame repeats its id, but is about no command.
            self._ids[0 if condition == "malformed" else message.id],
            self._conditions.get(condition, 0),
            amount,
            self._nonces.get(message.fields.get("nonce"), 0),
        )
        return TraceEvent(numbers, message)

    def _add(self, id_: int, stream: str, amount: object) -> int:
        """Return the amount that a message adds to a counter.

        The amounts are reduced so that their sum does not exceed the counter's maximum.
        """
        assert isinstance(amount, int)
        before = self._added.get((id_, stream), 0)
        after = self._added[id_, stream] = min(before + amount, _MOST_CREDIT)
        return after - before


def _condition(message: SentMessage) -> str:
    """Return the name of the condition that the contents of a message satisfy, if any."""
    code, stream = message.fields.get("code"), message.fields.get("stream")
    if isinstance(stream, int):
        return codec.Stream(stream).name.lower()
    if code in list(codec.Fault):
        return "malformed"
    if code == codec.ErrorCode.BUSY:
        return "busy"
    return "free" if message.name == "keep" else ""


@dataclass(frozen=True, slots=True)
class TraceResult:
    """The result of the search for recordings in the model.

    :ivar events: Number of events that are in runs of the model.
    :ivar rejected: Reasons why recordings are no runs of the model.
    """

    events: int
    rejected: tuple[str, ...]


class TraceModel:
    """The model of recorded conversations, and the program that Spin and gcc make from it."""

    def __init__(self, schema: Schema, folder: Path) -> None:
        """Write the model into the folder. The first search compiles it."""
        self._schema = schema
        self._spin = Spin(schema, folder)

    def search(self, recordings: Iterable[Recording]) -> TraceResult:
        """Search for runs of the model with the messages of the recordings.

        A side that a test plays may break the rules. The model cannot follow such a message, so the
        search continues at the next `hello`.
        """
        traces = [each for recording in recordings for each in self._traces(recording)]
        events, rejected = 0, list[str]()
        while traces:
            totals = accumulate(len(each.events) for each in traces)
            size = next((n for n, total in enumerate(totals, 1) if total > _BATCH), len(traces))
            batch, traces = traces[:size], traces[size:]
            for trace, at in zip(batch, self._found(batch), strict=True):
                events += at
                if at == len(trace.events):
                    continue
                if trace.events[at].message.sender in trace.recording.real:
                    rejected.append(_reason(trace, at))
                else:
                    traces += trace.after(max(at, 1))
        return TraceResult(events, tuple(rejected))

    def _traces(self, recording: Recording) -> Iterator[Trace]:
        known = _Abstraction(self._schema, recording)
        events = [each for message in recording.messages for each in known.events(message)]
        trace = Trace(recording, events)
        if recording.is_first:
            yield trace
        else:
            yield from trace.after(0)

    def _found(self, traces: Sequence[Trace]) -> list[int]:
        """Return, for each trace, how many of its events a run of the model can contain."""
        lines = (line for trace in traces for line in trace.lines(self._schema.ends))
        return self._spin.follow("\n".join([str(len(traces)), *lines, ""]))


def _reason(trace: Trace, at: int) -> str:
    before = (f"\n    {each}" for each in trace.events[max(0, at - 8) : at])
    return (
        f"{trace.recording.test}: no run of the model contains event {at}, {trace.events[at]}, "
        f"after{''.join(before)}"
    )
