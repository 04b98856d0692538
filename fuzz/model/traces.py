"""Finds out whether recorded conversations are runs of the model of sandboxd."""

from __future__ import annotations

from collections import deque
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

_IDS = (8, 128)
"""Numbers of ids that a model can have: 8, or 128 for a recording that needs more.

A model with 128 ids uses much more memory. A recording needs twice as many ids as commands run at
once, because a finished command keeps its id until every message about it has arrived.
"""

_BATCH = 800_000
"""Maximum size of one search of Spin, which limits its memory.

The size of a recording is its number of events, times the number of ids of its model. Recordings
are added to a search until their sizes exceed this maximum. The other recordings are added to the
next search.
"""


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """A message that the host has sent or received, as the model knows it.

    :ivar numbers: The numbers that describe the message in the model: type, id in the recording,
        id in the model, condition that its contents satisfy, amount, and nonce.
    :ivar message: The recorded message.
    """

    numbers: tuple[int, int, int, int, int, int]
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
    """A part of a recording that begins with a `hello`.

    :ivar ids: Number of ids that the model needs for the whole recording.
    """

    recording: Recording
    events: Sequence[TraceEvent]
    ids: int

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
            yield Trace(self.recording, events, self.ids)

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
    """Translates recorded messages into the numbers by which the model describes messages.

    A message has numbers for its type, its id, its nonce and its amount of credit.

    :ivar ids: Number of ids that the model needs for the recording.
    """

    def __init__(self, schema: Schema, recording: Recording) -> None:
        ids = sorted({0, *(each.id for each in recording.messages)})
        self._ids = {id_: number for number, id_ in enumerate(ids)}
        self._types = {each.name: number for number, each in enumerate(schema.messages, 1)}
        conditions = (each.name for talk in schema.conversations for each in talk.conditions)
        self._conditions = {name: at for at, name in enumerate(dict.fromkeys(conditions), 1)}
        self._nonces = _Nonces()
        self.ids = _ids(recording.messages)
        self._slots = _Slots(self.ids)
        self._added: dict[tuple[int, str], int] = {}

    def events(self, message: SentMessage) -> Iterator[TraceEvent]:
        """Yield the event of a message, or two if it grants different credit to two streams."""
        name, fields = message.name, message.fields
        condition = _condition(message)
        self._slots.follow(message)
        if name == "hello":
            self._added.clear()
        if name == "exec_request":
            stdout, stderr = (
                self._add(message.id, stream, fields[f"{stream}_credit"])
                for stream in ("stdout", "stderr")
            )
            yield self._event(message, name, condition, min(stdout, stderr))
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
        # An `error` about a malformed frame contains the id of that frame, but is not about a
        # command.
        id_ = 0 if condition == "malformed" else message.id
        numbers = (
            self._types[name] if name else FILLER,
            self._ids[id_],
            self._slots.of(message.sender, id_),
            self._conditions.get(condition, 0),
            amount,
            self._nonces.of(message),
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


class _Nonces:
    """Gives each `hello` a nonce of its own in the model, and each `ready` that of its `hello`.

    A random host may repeat a nonce before the guest has answered. The guest answers each `hello`
    in their order.
    """

    def __init__(self) -> None:
        self._hellos = 0
        # The model's nonces of each unanswered `hello` and of the last `ready`, by recorded nonce.
        self._unanswered: dict[object, deque[int]] = {}
        self._answered: dict[object, int] = {}

    def of(self, message: SentMessage) -> int:
        """Return the model's nonce of a message; 0 if no `hello` before a `ready` has its nonce."""
        recorded = message.fields.get("nonce")
        unanswered = self._unanswered.setdefault(recorded, deque())
        if message.name == "hello":
            unanswered.append(1 + self._hellos % _NONCES)
            self._hellos += 1
            return unanswered[-1]
        if message.name == "ready" and unanswered:
            self._answered[recorded] = unanswered.popleft()
        return self._answered.get(recorded, 0)


class _Slots:
    """A table that translates the command ids of a recording into ids of the model.

    The model has fewer ids than a recording, so a new command gets the id of one that has ended.
    Commands that run at the same time have different ids.

    :ivar most: The largest number of commands that have run at the same time so far.
    """

    def __init__(self, number: int) -> None:
        self.most = 0
        self._of: dict[int, int] = {}
        self._requested = set[int]()
        self._open = set[int]()
        self._number = number
        self._last = 0

    def of(self, sender: str, id_: int) -> int:
        """Return the model's id for the id in a message; 0 if no request had the id of the message.

        A message of the host can only be about a request after the host's last `hello`. A message
        of the guest can also be about a request of an earlier session, until the guest has answered
        the last `hello`.
        """
        if sender == "host" and id_ not in self._requested:
            return 0
        return self._of.get(id_, 0)

    def follow(self, message: SentMessage) -> None:
        """Choose the model's id for a new request, or free the id of a command that has ended."""
        if message.name == "hello":
            self._open.clear()
            self._requested.clear()
        elif message.name == "exec_request":
            later = (1 + (self._last + n) % self._number for n in range(self._number))
            self._last = next((slot for slot in later if slot not in self._open), 1)
            self._of[message.id] = self._last
            self._requested.add(message.id)
            self._open.add(self._last)
            self.most = max(self.most, len(self._open))
        elif message.name in ("exec_response", "exec_failed") or _condition(message) == "busy":
            self._open.discard(self._of.get(message.id, 0))


def _ids(messages: Iterable[SentMessage]) -> int:
    """Return the number of ids, from `_IDS`, that the model needs for these messages."""
    slots = _Slots(_IDS[-1])
    for message in messages:
        slots.follow(message)
    return next((ids for ids in _IDS if 2 * slots.most <= ids), _IDS[-1])


def _condition(message: SentMessage) -> str:
    """Return the name of the condition that the contents of a message satisfy; empty if none.

    The schema has no condition for a request with the flag `beside`. The model needs one, so it
    uses the condition `own_nonce`, whose number is 1, and which no request has otherwise.
    """
    code, stream = message.fields.get("code"), message.fields.get("stream")
    if isinstance(stream, int):
        return codec.Stream(stream).name.lower()
    if code in list(codec.Fault):
        return "malformed"
    if code == codec.ErrorCode.BUSY:
        return "busy"
    if message.fields.get("beside"):
        return "own_nonce"
    return "free" if message.name == "keep" else ""


@dataclass(frozen=True, slots=True)
class TraceResult:
    """Tells which recorded messages the model allows.

    :ivar events: Number of events, sent messages, that runs of the model contain.
    :ivar rejected: Descriptions of recorded messages that the model does not allow.
    """

    events: int
    rejected: tuple[str, ...]


class TraceModel:
    """The model of recorded conversations, which Spin and gcc compile into a program."""

    def __init__(self, schema: Schema, folder: Path) -> None:
        """Write one model for each number of command ids that is supported.

        The first search with a model compiles it.
        """
        self._schema = schema
        self._spins = dict[int, Spin]()
        for ids in _IDS:
            (folder / str(ids)).mkdir()
            self._spins[ids] = Spin(schema, folder / str(ids))

    def search(self, recordings: Iterable[Recording]) -> TraceResult:
        """Search for runs of the model with the messages of the recordings.

        A side that a test plays may break the rules. The model cannot follow such a message, so the
        search continues at the next `hello`.
        """
        traces = [each for recording in recordings for each in self._traces(recording)]
        events, rejected = 0, list[str]()
        while traces:
            same = [each for each in traces if each.ids == traces[0].ids]
            totals = accumulate(len(each.events) * each.ids for each in same)
            size = next((n for n, total in enumerate(totals, 1) if total > _BATCH), len(same))
            batch = same[:size]
            traces = [*same[size:], *(each for each in traces if each.ids != traces[0].ids)]
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
        trace = Trace(recording, events, known.ids)
        if recording.is_first:
            yield trace
        else:
            yield from trace.after(0)

    def _found(self, traces: Sequence[Trace]) -> list[int]:
        """Return, for each trace, how many of its events a run of the model can contain."""
        lines = (line for trace in traces for line in trace.lines(self._schema.ends))
        ids = traces[0].ids
        return self._spins[ids].follow("\n".join([str(len(traces)), *lines, ""]), ids)


def _reason(trace: Trace, at: int) -> str:
    before = (f"\n    {each}" for each in trace.events[max(0, at - 8) : at])
    return (
        f"{trace.recording.test}: no run of the model contains event {at}, {trace.events[at]}, "
        f"after{''.join(before)}"
    )
