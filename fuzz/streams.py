"""Hypothesis strategies for the messages of streams, version 1.

Generated from streams.toml by `microvm-proto gen`.
Each message has a function that returns a strategy for it. Its arguments are the strategies of the
message's fields. A default strategy generates only valid values, often ones at a bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace as _replace
from typing import Any, NamedTuple, TypeAlias

from hypothesis import assume as _assume
from hypothesis import strategies as st

from microvm.wire import streams as codec

MAX_LENGTH = 4096
"""Maximum number of bytes or items in a generated value, even if its field allows more."""


def _integers(low: int, high: int) -> st.SearchStrategy[int]:
    edges = {low, low + 1, high - 1, high} | ({-1, 0, 1} if low < 0 else set())
    return st.sampled_from(sorted(edges)) | st.integers(low, high)


def _octets(maximum: int, *, nul: bool) -> st.SearchStrategy[bytes]:
    byte = st.integers(0 if nul else 1, 0xFF)
    short = st.lists(byte, max_size=min(maximum, 32)).map(bytes)
    if maximum > MAX_LENGTH:
        return short
    sizes = st.integers(maximum - 1, maximum)
    return short | st.tuples(sizes, byte).map(lambda run: bytes([run[1]]) * run[0])


_ID = _integers(1, 4294967295)
_U32 = _integers(0, 4294967295)
_U16 = _integers(0, 65535)
_BYTES_107_NO_NUL = _octets(107, nul=False)
_BYTES_65524 = _octets(65524, nul=True)


def connect(
    *,
    id_: st.SearchStrategy[int] = _ID,
    credit: st.SearchStrategy[int] = _U32,
    port: st.SearchStrategy[int] = _U16,
    path: st.SearchStrategy[bytes] = _BYTES_107_NO_NUL,
) -> st.SearchStrategy[codec.Connect]:
    return st.builds(codec.Connect, id=id_, credit=credit, port=port, path=path)


def connected(
    *, id_: st.SearchStrategy[int] = _ID, credit: st.SearchStrategy[int] = _U32
) -> st.SearchStrategy[codec.Connected]:
    return st.builds(codec.Connected, id=id_, credit=credit)


def refused(
    *, id_: st.SearchStrategy[int] = _ID, error_number: st.SearchStrategy[int] = _U32
) -> st.SearchStrategy[codec.Refused]:
    return st.builds(codec.Refused, id=id_, error_number=error_number)


def data(
    *, id_: st.SearchStrategy[int] = _ID, data: st.SearchStrategy[bytes | memoryview] = _BYTES_65524
) -> st.SearchStrategy[codec.Data]:
    return st.builds(codec.Data, id=id_, data=data)


def credit(
    *, id_: st.SearchStrategy[int] = _ID, amount: st.SearchStrategy[int] = _U32
) -> st.SearchStrategy[codec.Credit]:
    return st.builds(codec.Credit, id=id_, amount=amount)


def eof(*, id_: st.SearchStrategy[int] = _ID) -> st.SearchStrategy[codec.Eof]:
    return st.builds(codec.Eof, id=id_)


def reset(*, id_: st.SearchStrategy[int] = _ID) -> st.SearchStrategy[codec.Reset]:
    return st.builds(codec.Reset, id=id_)


MESSAGES: dict[str, st.SearchStrategy[codec.Message]] = {
    "host": st.one_of(connect(), data(), credit(), eof(), reset()),
    "guest": st.one_of(connected(), refused(), data(), credit(), eof(), reset()),
}
"""Strategies for the messages that each end may send, by the name of the end."""

FRAMES: dict[str, st.SearchStrategy[bytes]] = {
    end: messages.map(lambda message: message.encode()) for end, messages in MESSAGES.items()
}
"""Strategies for the encoded messages that each end may send, by the name of the end."""


class Sent(NamedTuple):
    """A message of a conversation.

    :ivar conditions: Names of the schema's conditions that hold for the message.
    :ivar state: State that follows in the conversation of the message. It is empty if the receiver
        ignores the message, and None if the message is out of order.
    """

    sender: str
    message: codec.Message
    conditions: frozenset[str]
    state: str | None


Holds: TypeAlias = Callable[[str, codec.Message, Sequence[Sent]], bool]
"""Function that tells whether the condition of this name holds for a message after others."""

Special: TypeAlias = Mapping[
    type[codec.Message], Callable[[Sequence[Sent]], st.SearchStrategy[codec.Message]]
]
"""Functions that return a strategy for the next message of a type, given the messages so far."""


class _Kind(NamedTuple):
    sender: str
    kind: type[codec.Message]
    id: str
    strategy: Callable[[], st.SearchStrategy[codec.Message]]


_Change: TypeAlias = tuple[type[codec.Message], str, str, str, str]
"""Type of a message, its sender, a condition, a counter, and the field that changes the counter.

The sender and the condition are empty if each sender or message changes the counter.
"""


class _Rules:
    """The rules of the conversation per connection, or of those per id."""

    def __init__(
        self,
        *,
        first: str,
        steps: Sequence[tuple[str, str, type[codec.Message], str, str]],
        ignored: Sequence[tuple[str, str, type[codec.Message]]],
        ids: Sequence[tuple[str, str]],
        adds: Sequence[_Change],
        takes: Sequence[_Change],
        ended: Sequence[tuple[str, str]],
        most: Sequence[tuple[str, int]],
    ) -> None:
        self.first, self.ignored, self.ids = first, {*ignored}, {*ids}
        self.adds, self.takes, self.ended, self.most = adds, takes, ended, dict(most)
        self.steps: dict[tuple[str, str, type[codec.Message]], list[tuple[str, str]]] = {}
        # A step without a condition is taken if no other step is, so it must be the last one.
        for state, sender, kind, condition, following in sorted(steps, key=lambda row: not row[3]):
            self.steps.setdefault((state, sender, kind), []).append((condition, following))
        conditions = {row[3] for row in steps} | {row[2] for row in (*adds, *takes)}
        self.conditions = conditions - {""}
        self.left = {row[0] for row in steps}


_NONE = _Rules(first="", steps=[], ignored=[], ids=[], adds=[], takes=[], ended=[], most=[])


_RULES = {
    "id": _Rules(
        first="new",
        steps=[
            ("new", "host", codec.Connect, "", "connecting"),
            ("connecting", "guest", codec.Connected, "", "open"),
            ("connecting", "guest", codec.Refused, "", "closed"),
            ("connecting", "host", codec.Reset, "", "closed"),
            ("open", "host", codec.Data, "", "open"),
            ("open", "guest", codec.Data, "", "open"),
            ("open", "host", codec.Credit, "", "open"),
            ("open", "guest", codec.Credit, "", "open"),
            ("open", "host", codec.Eof, "", "host_ended"),
            ("open", "guest", codec.Eof, "", "guest_ended"),
            ("open", "host", codec.Reset, "", "closed"),
            ("open", "guest", codec.Reset, "", "closed"),
            ("host_ended", "guest", codec.Data, "", "host_ended"),
            ("host_ended", "host", codec.Credit, "", "host_ended"),
            ("host_ended", "guest", codec.Eof, "", "closed"),
            ("host_ended", "host", codec.Reset, "", "closed"),
            ("host_ended", "guest", codec.Reset, "", "closed"),
            ("guest_ended", "host", codec.Data, "", "guest_ended"),
            ("guest_ended", "guest", codec.Credit, "", "guest_ended"),
            ("guest_ended", "host", codec.Eof, "", "closed"),
            ("guest_ended", "host", codec.Reset, "", "closed"),
            ("guest_ended", "guest", codec.Reset, "", "closed"),
        ],
        ignored=[
            ("host_ended", "guest", codec.Credit),
            ("guest_ended", "host", codec.Credit),
            ("closed", "guest", codec.Connected),
            ("closed", "guest", codec.Refused),
            ("closed", "host", codec.Data),
            ("closed", "guest", codec.Data),
            ("closed", "host", codec.Credit),
            ("closed", "guest", codec.Credit),
            ("closed", "host", codec.Eof),
            ("closed", "guest", codec.Eof),
            ("closed", "host", codec.Reset),
            ("closed", "guest", codec.Reset),
        ],
        ids=[],
        adds=[
            (codec.Connected, "", "", "host_credit", "credit"),
            (codec.Credit, "guest", "", "host_credit", "amount"),
            (codec.Connect, "", "", "guest_credit", "credit"),
            (codec.Credit, "host", "", "guest_credit", "amount"),
            (codec.Connect, "", "", "open connect", ""),
        ],
        takes=[
            (codec.Data, "host", "", "host_credit", "data"),
            (codec.Data, "guest", "", "guest_credit", "data"),
            (codec.Connected, "", "", "open connect", ""),
            (codec.Refused, "", "", "open connect", ""),
        ],
        ended=[
            ("closed", "open connect"),
        ],
        most=[
            ("host_credit", 4294967295),
            ("guest_credit", 4294967295),
        ],
    ),
}
_KINDS = [
    _Kind("host", codec.Connect, "required", connect),
    _Kind("host", codec.Data, "required", data),
    _Kind("host", codec.Credit, "required", credit),
    _Kind("host", codec.Eof, "required", eof),
    _Kind("host", codec.Reset, "required", reset),
    _Kind("guest", codec.Connected, "required", connected),
    _Kind("guest", codec.Refused, "required", refused),
    _Kind("guest", codec.Data, "required", data),
    _Kind("guest", codec.Credit, "required", credit),
    _Kind("guest", codec.Eof, "required", eof),
    _Kind("guest", codec.Reset, "required", reset),
]
_REFUSALS: Collection[type[codec.Message]] = []


class Conversations:
    """Strategies for conversations: the messages of both sides, in the order of one side."""

    def __init__(
        self,
        special: Special | None = None,
        holds: Holds = lambda *_: False,
        *,
        max_size: int = 20,
        max_ids: int = 3,
    ) -> None:
        """Choose the messages of the conversations.

        :param special: Strategies that replace the default ones. A message with an empty strategy
            is left out.
        :param holds: Function that checks the conditions. By default, none of them holds.
        :param max_size: Maximum number of messages.
        :param max_ids: Maximum number of ids whose conversations have begun and have not ended.
        """
        self.special, self.holds = special or {}, holds
        self.max_size, self.max_ids = max_size, max_ids

    def correct(self) -> st.SearchStrategy[list[Sent]]:
        """Return a strategy for conversations in which no message is out of order."""
        return _correct(self).map(lambda connection: connection.sent)

    def faulty(self) -> st.SearchStrategy[list[Sent]]:
        """Return a strategy for conversations in which only the last message is out of order."""
        return _faulty(self)


@st.composite
def _correct(draw: st.DrawFn, of: Conversations) -> _Connection:
    connection = _Connection(of)
    for _ in range(draw(st.integers(0, of.max_size))):
        choices = [*connection.choices()]
        expected = [choice for choice in choices if choice[2]]
        with_id = [choice for choice in expected if choice[1]]
        ignored = [choice for choice in choices if choice[2] is None]
        groups = [group for group in (expected, expected, with_id, with_id, ignored) if group]
        if not groups:
            break
        kind, id_, _ = draw(st.sampled_from(draw(st.sampled_from(groups))))
        for message in draw(connection.messages(kind, id_)):
            connection.add(kind.sender, connection.within(kind.sender, message))
    return connection


@st.composite
def _faulty(draw: st.DrawFn, of: Conversations) -> list[Sent]:
    connection = draw(_correct(of))
    choices = [choice for choice in connection.choices() if choice[2] is not None]
    unexpected = [choice for choice in choices if not choice[2]]
    # A message that a step expects can exceed a counter, or lack a condition.
    fallible = [choice for choice in choices if choice[2] and connection.is_fallible(choice)]
    groups = [group for group in (unexpected, unexpected, fallible) if group]
    _assume(groups)
    kind, id_, _ = draw(st.sampled_from(draw(st.sampled_from(groups))))
    messages = draw(connection.messages(kind, id_))
    _assume(messages)
    last, _ = connection.judge(kind.sender, connection.beyond(kind.sender, messages[0]))
    _assume(last.state is None)
    return [*connection.sent, last]


class _Progress(NamedTuple):
    """The state and the counters of one conversation."""

    rules: _Rules
    state: str
    counts: Mapping[str, int]

    @property
    def is_open(self) -> bool:
        """True if a step leads on."""
        return self.state in self.rules.left

    def expects(self, sender: str, kind: type[codec.Message]) -> bool | None:
        """Return True if a step may apply to a message; None if the message is ignored."""
        lacks = (
            not (condition or field or self.counts.get(name, 0))
            for each, end, condition, name, field in self.rules.takes
            if each is kind and end in ("", sender)
        )
        if (self.state, sender, kind) in self.rules.steps and not any(lacks):
            return True
        return None if (self.state, sender, kind) in self.rules.ignored else False

    def following(
        self, sender: str, kind: type[codec.Message], held: Collection[str]
    ) -> str | None:
        """Return the state to which a step leads; None if no step applies."""
        steps = self.rules.steps.get((self.state, sender, kind), [])
        return next((state for when, state in steps if not when or when in held), None)

    def after(
        self, sender: str, message: codec.Message, held: Collection[str]
    ) -> tuple[str | None, _Progress]:
        """Return the attribute `state` of a message, and the progress after it."""
        rules, kind = self.rules, type(message)
        following = self.following(sender, kind, held)
        if following is None:
            return "" if (self.state, sender, kind) in rules.ignored else None, self
        counts = Counter(self.counts)
        for name, _, amount in _amounts(rules.takes, sender, message, held):
            counts[name] -= amount
        if min(counts.values(), default=0) < 0:
            return None, self
        for state, name in rules.ended:
            if state == following:
                counts[name] = 0
        for name, _, amount in _amounts(rules.adds, sender, message, held):
            counts[name] = min(counts[name] + amount, rules.most.get(name, counts[name] + amount))
        return following, _Progress(rules, following, counts)


def _amounts(
    changes: Sequence[_Change], sender: str, message: codec.Message, held: Collection[str]
) -> Iterator[tuple[str, str, int]]:
    """Yield the counters that a message changes, each with the field and the amount."""
    for kind, end, condition, name, field in changes:
        if kind is type(message) and end in ("", sender) and condition in ("", *held):
            yield name, field, _size(getattr(message, field)) if field else 1


def _size(value: Any) -> int:
    if value is None or isinstance(value, int):
        return value or 0
    return len(value.encode() if isinstance(value, str) else value)


def _resized(value: Any, size: int) -> Any:
    if value is None or isinstance(value, int):
        return size
    if isinstance(value, str):
        cut = value.encode()[:size].decode(errors="ignore")
        return cut + "a" * (size - len(cut.encode()))
    return bytes(value)[:size].ljust(size, b"a")


class _Connection:
    """The conversations of a connection."""

    def __init__(self, of: Conversations) -> None:
        self.sent: list[Sent] = []
        self._of = of
        self._outer = _begun(_RULES.get("connection", _NONE))
        self._ids: dict[int, _Progress] = {}

    def choices(self) -> Iterator[tuple[_Kind, int, bool | None]]:
        """Yield kinds of messages, each with an id, and True if the message is in order.

        It is None instead if the receiver would ignore the message.
        """
        begun = {id_: each for id_, each in self._ids.items() if each.state != each.rules.first}
        known = [*begun] if "id" in _RULES else [1]
        if "id" in _RULES and sum(each.is_open for each in begun.values()) < self._of.max_ids:
            known.append(max(self._ids, default=0) + 1)
        for kind in _KINDS:
            for id_ in {"none": [0], "any": [0, *known], "required": known}[kind.id]:
                expected = self._admits(kind.sender, kind.kind, id_)
                if expected:
                    expected = self._progress(id_).expects(kind.sender, kind.kind)
                yield kind, id_, expected

    def is_fallible(self, choice: tuple[_Kind, int, bool | None]) -> bool:
        """Return True if an expected message is out of order for some values of its fields."""
        (_, kind, _, _), id_, _ = choice
        at = self._progress(id_)
        takes = any(each is kind and field for each, _, _, _, field in at.rules.takes)
        return takes or not at.following(choice[0].sender, kind, ())

    def messages(self, kind: _Kind, id_: int) -> st.SearchStrategy[list[codec.Message]]:
        """Return a strategy for lists of one message, or for empty ones if it is left out."""
        special = self._of.special.get(kind.kind)
        messages = special(self.sent) if special else kind.strategy()
        if messages.is_empty:
            return st.just([])
        given: dict[str, Any] = {} if kind.id == "none" else {"id": id_}
        return messages.map(lambda message: [_replace(message, **given)])

    def within(self, sender: str, message: codec.Message) -> codec.Message:
        """Return the message with amounts that its counters allow."""
        last, progress = self.judge(sender, message)
        takes = progress.rules.takes
        for name, field, amount in _amounts(takes, sender, message, last.conditions):
            if field and amount > (most := progress.counts.get(name, 0)):
                given = {field: _resized(getattr(message, field), most)}
                message = _replace(message, **given)
        return message

    def beyond(self, sender: str, message: codec.Message) -> codec.Message:
        """Return the message with amounts that exceed its counters, if it can contain them."""
        last, progress = self.judge(sender, message)
        takes = progress.rules.takes
        for name, field, _ in _amounts(takes, sender, message, last.conditions):
            most = progress.counts.get(name, 0)
            value = getattr(message, field) if field else 0
            if field and (value is None or isinstance(value, int) or most < MAX_LENGTH):
                given = {field: _resized(value, most + 1)}
                larger = _replace(message, **given)
                message = larger if _is_valid(larger) else message
        return message

    def judge(self, sender: str, message: codec.Message) -> tuple[Sent, _Progress]:
        """Return a message with its verdict, and the progress of its conversation after it."""
        id_, kind = getattr(message, "id", 0), type(message)
        outer, own = self._outer, self._progress(id_)
        names = {*outer.rules.conditions, *own.rules.conditions}
        held = frozenset(name for name in names if self._of.holds(name, message, self.sent))
        # A refusal has the id of the refused message, even if it is about the connection.
        if kind in _REFUSALS and outer.following(sender, kind, held):
            own = outer
        admitted = own is outer or self._admits(sender, kind, id_)
        if not admitted:
            return Sent(sender, message, held, "" if admitted is None else None), own
        state, progress = own.after(sender, message, held)
        return Sent(sender, message, held, state), progress

    def add(self, sender: str, message: codec.Message) -> None:
        """Add a message to the conversation, unless it is out of order."""
        last, progress = self.judge(sender, message)
        if last.state is None:
            return
        self.sent.append(last)
        if not last.state:
            return
        if progress.rules is not self._outer.rules:
            self._ids[getattr(message, "id", 0)] = progress
            return
        self._outer = progress
        if progress.state not in {state for state, _ in progress.rules.ids}:
            self._ids.clear()

    def _progress(self, id_: int) -> _Progress:
        if id_ and "id" in _RULES:
            return self._ids.get(id_) or _begun(_RULES["id"])
        return self._outer

    def _admits(self, sender: str, kind: type[codec.Message], id_: int) -> bool | None:
        """Return True if a message reaches its conversation; None if the connection ignores it."""
        if not (id_ and len(_RULES) == 2):
            return True
        if (self._outer.state, sender, kind) in self._outer.rules.ignored:
            return None
        return (self._outer.state, sender) in self._outer.rules.ids


def _begun(rules: _Rules) -> _Progress:
    return _Progress(rules, rules.first, {})


def _is_valid(message: codec.Message) -> bool:
    try:
        message.encode()
    except codec.EncodeError:
        return False
    return True
