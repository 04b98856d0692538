"""List the messages to test in each state of a schema's conversations."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from microvm_proto.schema import Schema
from microvm_proto.states import Amount, Conversation, ConversationState, Counter
from microvm_proto.types import Bytes, Integer, Tail, Text


class Place(NamedTuple):
    """The state of the connection and that of the id 1; empty for conversations that it lacks."""

    outer: str
    inner: str


@dataclass(frozen=True, slots=True)
class NextMessage:
    """A message to test.

    :ivar conditions: Names of the conditions that hold.
    :ivar fields: Values of the fields that change counters; for bytes, the number of bytes.
    :ivar scope: The conversation that decides about the message: per `connection`, or per `id`.
    :ivar state: State of that conversation before the message.
    :ivar is_expected: True if a step applies, or if the receiver ignores the message.
    """

    sender: str
    name: str
    id: int
    conditions: tuple[str, ...]
    fields: Mapping[str, int] = field(compare=False)
    scope: str
    state: str
    is_expected: bool

    def with_amounts(self, amounts: Mapping[str, int]) -> NextMessage:
        """Return the message with these values of its fields, as far as it has them."""
        return replace(self, fields={name: amounts.get(name, 0) for name in self.fields})


class NextMessages:
    """The messages of a schema that can be tested in each state of its conversations."""

    def __init__(self, schema: Schema) -> None:
        self._sent = [(end, each) for end in schema.ends for each in schema.sent_by(end)]
        self._messages = {message.name: message for message in schema.messages}
        per = {each.per: each for each in schema.conversations}
        self.outer, self.inner = per.get("connection"), per.get("id")
        self.at = functools.cache(self._at)

    def _at(self, place: Place) -> list[NextMessage]:
        """Return all messages that are tested in a place."""
        outer, inner = _state(self.outer, place.outer), _state(self.inner, place.inner)
        found: list[NextMessage] = []
        for end, message in self._sent:
            if self.outer and outer and message.id != "required":
                found += _cases(self.outer, outer, end, message.name, 0)
            if message.id == "none":
                continue
            admitted = not outer or (end in outer.ids and not outer.ignores(message.name, end))
            if self.inner and inner and admitted:
                found += _cases(self.inner, inner, end, message.name, 1)
            elif self.outer and outer and (self.inner or message.id == "required"):
                found += _cases(self.outer, outer, end, message.name, 1)
        return found

    @property
    def counters(self) -> Iterator[Counter]:
        """The counters of all conversations."""
        for each in (self.outer, self.inner):
            yield from each.counters if each else ()

    def takes(self, message: NextMessage) -> list[Counter]:
        """Return the counters from which a message takes, and the requests that it answers."""
        conversation = self.inner if message.scope == "id" else self.outer
        counters = _with_requests(conversation) if conversation else ()
        return [each for each in counters if _change(each.takes, message)]

    def refills(self, message: NextMessage, place: Place) -> list[NextMessage]:
        """Return messages that are expected in a place, and add to the counters of a message."""
        found: list[NextMessage] = []
        for counter in self.takes(message):
            adding = (
                each
                for each in self.at(place)
                if each.is_expected and each.scope == message.scope and _change(counter.adds, each)
            )
            found += itertools.islice(adding, 1)
        return found

    def changes(
        self, amounts: Iterable[Amount], place: Place
    ) -> list[tuple[NextMessage, str, int]]:
        """Return the expected messages in a place that change a counter.

        Each has the name of the field that changes it, if any, and the most that it can change.
        """
        found = []
        for message in self.at(place):
            if message.is_expected and (amount := _change(amounts, message)):
                found.append((message, amount.field, self._most(amount)))
        return found

    def _most(self, amount: Amount) -> int:
        fields = {each.name: each.type for each in self._messages[amount.message].fields}
        kind = fields.get(amount.field)
        return kind.maximum if isinstance(kind, Integer | Bytes | Text | Tail) else 1

    def allows(self, outer: str, sender: str = "") -> bool:
        """Return True if the side may send messages with ids; by default, if any side may."""
        state = _state(self.outer, outer)
        return state is None or (sender in state.ids if sender else bool(state.ids))


def _with_requests(conversation: Conversation) -> Iterator[Counter]:
    """Yield the counters of a conversation, and a counter of the open requests of each kind."""
    yield from conversation.counters
    for each in conversation.requests:
        yield Counter(each.message, "", (Amount(each.message),), tuple(map(Amount, each.answers)))


def _change(amounts: Iterable[Amount], message: NextMessage) -> Amount | None:
    """Return the first of the `amounts` by which a message changes a counter, if any."""
    for each in amounts:
        held = each.condition in ("", *message.conditions)
        if held and each.counts(message.name, message.sender):
            return each
    return None


def _state(conversation: Conversation | None, name: str) -> ConversationState | None:
    states = conversation.states if conversation else ()
    return next((state for state in states if state.name == name), None)


def _cases(
    conversation: Conversation, state: ConversationState, sender: str, name: str, id_: int
) -> Iterator[NextMessage]:
    """Yield a message once for each condition on which its effect depends, and without it."""
    steps = {
        each.condition for each in state.steps if (each.message, each.sender) == (name, sender)
    }
    amounts = [
        each
        for counter in conversation.counters
        for each in (*counter.adds, *counter.takes)
        if each.counts(name, sender)
    ]
    fields = {each.field: 1 for each in amounts if each.field}
    changing = [*dict.fromkeys(each.condition for each in amounts if each.condition)] or [""]
    for condition in (*sorted(steps - {""}), ""):
        is_expected = condition in steps or state.ignores(name, sender)
        others = [each for each in changing if each not in steps - {condition}] or [""]
        for other in others if condition in steps else others[:1]:
            held = tuple(sorted({condition, other} - {""}))
            yield NextMessage(
                sender, name, id_, held, fields, conversation.per, state.name, is_expected
            )
