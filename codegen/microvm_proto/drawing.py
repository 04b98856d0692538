"""Draws random conversations for the modules that the backend `strategies` generates.

A generated module contains only the tables of its schema. This module needs Hypothesis, which only
tests have, so nothing else of the package imports it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

from hypothesis import assume
from hypothesis import strategies as st

from microvm_proto.backends.strategies.conversations import FORMAT

_MAX_LENGTH = 4096
"""Maximum number of bytes in a value that is made too large for its counter."""

_T = TypeVar("_T")


def require(format_: int) -> None:
    """Check that a generated module fits to this version of `microvm_proto.drawing`.

    :param format_: Value of `FORMAT` when the module was generated.
    :raises ImportError: If `FORMAT` has another value now.
    """
    if format_ != FORMAT:
        raise ImportError(
            "another version of microvm-proto generated this module of strategies: "
            "run `microvm-proto gen` again"
        )


class Sent(NamedTuple):
    """A message of a conversation.

    :ivar conditions: Names of the schema's conditions that hold for the message.
    :ivar state: State that follows in the conversation of the message. It is empty if the receiver
        ignores the message, and None if the message is out of order.
    """

    sender: str
    message: Any
    conditions: frozenset[str]
    state: str | None


Holds: TypeAlias = Callable[[str, Any, Sequence[Sent]], bool]
"""Function that returns True if a condition holds.

Its arguments are the name of the condition, the message, and the messages before it.
"""

Special: TypeAlias = Mapping[type[Any], Callable[[Sequence[Sent]], st.SearchStrategy[Any]]]
"""Functions that return a strategy for the next message of a type, given the messages so far."""


class Kind(NamedTuple):
    """A type of messages that a side may send.

    :ivar id: One of "none", "any" and "required": whether the messages have an id.
    """

    sender: str
    kind: type[Any]
    id: str
    strategy: st.SearchStrategy[Any]


_Change: TypeAlias = tuple[type[Any], str, str, str, str]
"""A change of a counter: type of the message, sender, condition, counter, field with the amount.

The sender is empty if the messages of each side count, the condition if it does not matter, and the
field if each message counts 1.
"""


class ConversationRules:
    """The rules of the conversation per connection, or of those per id."""

    def __init__(
        self,
        *,
        first: str,
        steps: Sequence[tuple[str, str, type[Any], str, str]],
        ignored: Sequence[tuple[str, str, type[Any]]],
        ids: Sequence[tuple[str, str]],
        adds: Sequence[_Change],
        takes: Sequence[_Change],
        ended: Sequence[tuple[str, str]],
        most: Sequence[tuple[str, int]],
    ) -> None:
        self.first, self.ignored, self.ids = first, {*ignored}, {*ids}
        self.adds, self.takes, self.ended, self.most = adds, takes, ended, dict(most)
        self.steps: dict[tuple[str, str, type[Any]], list[tuple[str, str]]] = {}
        # A step without a condition is taken if no other step is, so it must be the last one.
        for state, sender, kind, condition, following in sorted(steps, key=lambda row: not row[3]):
            self.steps.setdefault((state, sender, kind), []).append((condition, following))
        conditions = {row[3] for row in steps} | {row[2] for row in (*adds, *takes)}
        self.conditions = conditions - {""}
        self.left = {row[0] for row in steps}


_NONE = ConversationRules(
    first="", steps=[], ignored=[], ids=[], adds=[], takes=[], ended=[], most=[]
)


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a schema.

    :ivar rules: The rules of each conversation, by the key `per` of the conversation.
    """

    rules: Mapping[str, ConversationRules]
    kinds: Sequence[Kind]
    refusals: Collection[type[Any]]


class Conversations:
    """Strategies for conversations.

    A conversation is a list of the messages of both sides, in the order in which one of the sides
    sends and receives them.
    """

    def __init__(
        self,
        tables: Tables,
        special: Special | None = None,
        holds: Holds = lambda *_: False,
        *,
        max_size: int = 20,
        max_ids: int = 3,
    ) -> None:
        """Choose the messages of the conversations.

        :param tables: Tables of the schema, which a generated module already passes.
        :param special: Strategies that replace the default ones. A message with an empty strategy
            is left out.
        :param holds: Function that checks the conditions. By default, none of them holds.
        :param max_size: Maximum number of messages.
        :param max_ids: Maximum number of ids whose conversations have begun and have not ended.
        """
        self.tables, self.special, self.holds = tables, special or {}, holds
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
        kind, id_, _ = _one(draw, _one(draw, groups))
        message = connection.draw(draw, kind, id_)
        if message is not None:
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
    assume(groups)
    kind, id_, _ = _one(draw, _one(draw, groups))
    message = connection.draw(draw, kind, id_)
    assume(message is not None)
    last, _ = connection.judge(kind.sender, connection.beyond(kind.sender, message))
    assume(last.state is None)
    return [*connection.sent, last]


def _one(draw: st.DrawFn, among: Sequence[_T]) -> _T:
    # This is faster than `sampled_from`: Hypothesis caches only the strategies for integers.
    return among[draw(st.integers(0, len(among) - 1))]


class _Progress(NamedTuple):
    """The state and the counters of one conversation."""

    rules: ConversationRules
    state: str
    counts: Mapping[str, int]

    @property
    def is_open(self) -> bool:
        """True if a step leads on."""
        return self.state in self.rules.left

    def expects(self, sender: str, kind: type[Any]) -> bool | None:
        """Return True if a step may apply to a message; None if the message is ignored."""
        lacks = (
            not (condition or field or self.counts.get(name, 0))
            for each, end, condition, name, field in self.rules.takes
            if each is kind and end in ("", sender)
        )
        if (self.state, sender, kind) in self.rules.steps and not any(lacks):
            return True
        return None if (self.state, sender, kind) in self.rules.ignored else False

    def following(self, sender: str, kind: type[Any], held: Collection[str]) -> str | None:
        """Return the state to which a step leads; None if no step applies."""
        steps = self.rules.steps.get((self.state, sender, kind), [])
        return next((state for when, state in steps if not when or when in held), None)

    def after(
        self, sender: str, message: Any, held: Collection[str]
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
    changes: Sequence[_Change], sender: str, message: Any, held: Collection[str]
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
        self._rules = of.tables.rules
        self._outer = _begun(self._rules.get("connection", _NONE))
        self._ids: dict[int, _Progress] = {}

    def choices(self) -> Iterator[tuple[Kind, int, bool | None]]:
        """Yield kinds of messages, each with an id, and True if the message is in order.

        It is None instead if the receiver would ignore the message.
        """
        begun = {id_: each for id_, each in self._ids.items() if each.state != each.rules.first}
        known = [*begun] if "id" in self._rules else [1]
        if "id" in self._rules and sum(each.is_open for each in begun.values()) < self._of.max_ids:
            known.append(max(self._ids, default=0) + 1)
        for kind in self._of.tables.kinds:
            for id_ in {"none": [0], "any": [0, *known], "required": known}[kind.id]:
                expected = self._admits(kind.sender, kind.kind, id_)
                if expected:
                    expected = self._progress(id_).expects(kind.sender, kind.kind)
                yield kind, id_, expected

    def is_fallible(self, choice: tuple[Kind, int, bool | None]) -> bool:
        """Return True if an expected message is out of order for some values of its fields."""
        (_, kind, _, _), id_, _ = choice
        at = self._progress(id_)
        takes = any(each is kind and field for each, _, _, _, field in at.rules.takes)
        return takes or not at.following(choice[0].sender, kind, ())

    def draw(self, draw: st.DrawFn, kind: Kind, id_: int) -> Any:
        """Draw a message. Return None if messages of this type are left out."""
        special = self._of.special.get(kind.kind)
        strategy = special(self.sent) if special else kind.strategy
        if strategy.is_empty:
            return None
        message = draw(strategy)
        return message if kind.id == "none" else replace(message, id=id_)

    def within(self, sender: str, message: Any) -> Any:
        """Return the message with amounts that its counters allow."""
        last, progress = self.judge(sender, message)
        takes = progress.rules.takes
        for name, field, amount in _amounts(takes, sender, message, last.conditions):
            if field and amount > (most := progress.counts.get(name, 0)):
                given = {field: _resized(getattr(message, field), most)}
                message = replace(message, **given)
        return message

    def beyond(self, sender: str, message: Any) -> Any:
        """Return the message with amounts that exceed its counters, if it can contain them."""
        last, progress = self.judge(sender, message)
        takes = progress.rules.takes
        for name, field, _ in _amounts(takes, sender, message, last.conditions):
            most = progress.counts.get(name, 0)
            value = getattr(message, field) if field else 0
            if field and (value is None or isinstance(value, int) or most < _MAX_LENGTH):
                given = {field: _resized(value, most + 1)}
                larger = replace(message, **given)
                message = larger if _is_valid(larger) else message
        return message

    def judge(self, sender: str, message: Any) -> tuple[Sent, _Progress]:
        """Return a message with its verdict, and the progress of its conversation after it."""
        id_, kind = getattr(message, "id", 0), type(message)
        outer, own = self._outer, self._progress(id_)
        names = {*outer.rules.conditions, *own.rules.conditions}
        held = frozenset(name for name in names if self._of.holds(name, message, self.sent))
        # A refusal has the id of the refused message, even if it is about the connection.
        if kind in self._of.tables.refusals and outer.following(sender, kind, held):
            own = outer
        admitted = own is outer or self._admits(sender, kind, id_)
        if not admitted:
            return Sent(sender, message, held, "" if admitted is None else None), own
        state, progress = own.after(sender, message, held)
        return Sent(sender, message, held, state), progress

    def add(self, sender: str, message: Any) -> None:
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
        if id_ and "id" in self._rules:
            return self._ids.get(id_) or _begun(self._rules["id"])
        return self._outer

    def _admits(self, sender: str, kind: type[Any], id_: int) -> bool | None:
        """Return True if a message reaches its conversation; None if the connection ignores it."""
        if not (id_ and len(self._rules) == 2):
            return True
        if (self._outer.state, sender, kind) in self._outer.rules.ignored:
            return None
        return (self._outer.state, sender) in self._outer.rules.ids


def _begun(rules: ConversationRules) -> _Progress:
    return _Progress(rules, rules.first, {})


def _is_valid(message: Any) -> bool:
    try:
        message.encode()
    except ValueError:  # each codec has its own class `EncodeError`, which is a ValueError
        return False
    return True
