"""The rules of one conversation: which messages are in order in a state, and what each changes."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from microvm_proto.states import Amount, Conversation, ConversationState, Counter, Step

_MAX_FIXED = 4096
"""Maximum number of remembered effects; then they are forgotten, and found again."""


class SentMessage(NamedTuple):
    """A message in a conversation.

    :ivar fields: Values of the message's fields by name, as far as they are known.
    """

    sender: str
    name: str
    id: int = 0
    fields: Mapping[str, object] = {}


Holds: TypeAlias = Callable[[str, SentMessage], bool | None]
"""A function that tells whether the condition of this name holds; None if this is unknown."""


class MessageOrder(enum.Enum):
    """The effect that a message has on a conversation."""

    IN_ORDER = "in order"
    IGNORED = "ignored"
    REFUSAL = "a refusal"
    OUT_OF_ORDER = "out of order"


class StateCopy(NamedTuple):
    """A side's copy of the state of a conversation.

    :ivar state: Name of the state.
    :ivar numbers: Values of the counters, and behind them the number of open requests of each kind.
        None if a number is unknown.
    """

    state: str
    numbers: tuple[int | None, ...]


class Effect(NamedTuple):
    """An effect that a message can have.

    :ivar copy: The copy of the state after the message.
    :ivar why: Reason why a counter forbids the message; otherwise empty.
    """

    verdict: MessageOrder
    copy: StateCopy
    why: str = ""


class Rules:
    """The rules of a conversation, as one side applies them to its copy of the state."""

    def __init__(
        self, conversation: Conversation, holds: Holds, side: str | None, hidden: str | None
    ) -> None:
        """Prepare the rules.

        :param side: Side whose copy is followed; None if this is unknown. This side may not send a
            message that its own copy ignores, because the other side ignores the message, too.
        :param hidden: Side whose messages are unknown, and can occur before any other message.
        """
        self.conversation = conversation
        self._hidden = hidden
        self._holds = holds
        self._side = side
        self.states = {state.name: state for state in conversation.states}
        self.after_hidden = {name: self._after_hidden(name) for name in self.states}
        self._steps: dict[tuple[str, str, str], list[Step]] = {}
        for state in conversation.states:
            for step in state.steps:
                self._steps.setdefault((state.name, step.message, step.sender), []).append(step)
        self._fixed: dict[tuple[StateCopy, str, str], list[Effect]] = {}
        """Effects of messages without conditions and counters, so that they are found once."""
        requests = (
            Counter(each.message, "", (Amount(each.message),), tuple(map(Amount, each.answers)))
            for each in conversation.requests
        )
        self._numbers = (*conversation.counters, *requests)
        self._counted = {
            amount.message
            for counter in conversation.counters
            for amount in (*counter.adds, *counter.takes)
        }
        sent = {
            step.message
            for state in conversation.states
            for step in state.steps
            if step.sender == hidden
        }
        numbers = (
            None if any(each.message in sent for each in (*number.adds, *number.takes)) else 0
            for number in self._numbers
        )
        self.first = StateCopy(conversation.states[0].name, tuple(numbers))
        """The copy of the state in which a conversation begins. The numbers that messages of a
        hidden side change are unknown."""

    @property
    def all(self) -> frozenset[StateCopy]:
        """Every copy that is possible if nothing is known of the messages so far."""
        return self.without_numbers(StateCopy(name, ()) for name in self.states)

    def without_numbers(self, copies: Iterable[StateCopy]) -> frozenset[StateCopy]:
        """Return the copies without the values of their counters, and with unknown requests."""
        numbers = (None,) * len(self._numbers)
        return frozenset(StateCopy(copy.state, numbers) for copy in copies)

    def _after_hidden(self, state: str) -> set[tuple[str, bool]]:
        """Return the states to which any number of messages of the hidden side can lead.

        Each state has a flag: True if one of the states on the way, or the state itself, ends the
        conversations per id.
        """
        found = set[tuple[str, bool]]()
        new = {(state, not self.states[state].ids)}
        while new:
            found |= new
            new = {
                (step.following, ended or not self.states[step.following].ids)
                for name, ended in new
                for step in self.states[name].steps
                if step.sender == self._hidden
            } - found
        return found

    def unanswered(self, copy: StateCopy) -> bool:
        """Return True if a request may be unanswered."""
        return any(number != 0 for number in copy.numbers[len(self.conversation.counters) :])

    def effects(self, copy: StateCopy, message: SentMessage) -> list[Effect]:
        """Return the effects of a message: several if it is unknown whether a condition holds."""
        key = copy, message.name, message.sender
        if (known := self._fixed.get(key)) is not None:
            return known
        steps = self._steps.get((copy.state, message.name, message.sender), [])
        effects = [*self._each(copy, steps, message)]
        if message.name not in self._counted and not any(step.condition for step in steps):
            if len(self._fixed) >= _MAX_FIXED:
                self._fixed.clear()
            self._fixed[key] = effects
        return effects

    def _each(
        self, copy: StateCopy, steps: Iterable[Step], message: SentMessage
    ) -> Iterator[Effect]:
        certain: Step | None = None
        for step in steps:
            if not step.condition:
                certain = step
                continue
            holds = self._holds(step.condition, message)
            if holds is not False:
                yield self._taken(copy, step, message)
            if holds:
                return
        if certain:
            yield self._taken(copy, certain, message)
        elif message.sender != self._side and self.states[copy.state].ignores(
            message.name, message.sender
        ):
            yield Effect(MessageOrder.IGNORED, copy)
        else:
            yield Effect(MessageOrder.OUT_OF_ORDER, copy)

    def _taken(self, copy: StateCopy, step: Step, message: SentMessage) -> Effect:
        state = self.states[step.following]
        numbers = list(copy.numbers)
        for at, counter in enumerate(self._numbers):
            number = numbers[at]
            added, taken = self._sum(counter.adds, message), self._sum(counter.takes, message)
            if number is not None and taken is not None and taken > number:
                return Effect(MessageOrder.OUT_OF_ORDER, copy, self._excess(at, number, taken))
            if self._ends_request(at, state):
                number, taken = 0, 0
            if number is None or added is None or taken is None:
                numbers[at] = None
            else:
                total = number + added - taken
                numbers[at] = total if counter.max is None else min(total, counter.max)
        return Effect(MessageOrder.IN_ORDER, StateCopy(state.name, tuple(numbers)))

    def _ends_request(self, at: int, state: ConversationState) -> bool:
        """Return True if number `at` counts open requests, and `state` ignores their answers."""
        ignored = {each.message for each in state.ignored}
        return (
            at >= len(self.conversation.counters)
            and self.first.numbers[at] is not None
            and all(each.message in ignored for each in self._numbers[at].takes)
        )

    def _sum(self, amounts: Iterable[Amount], message: SentMessage) -> int | None:
        """Return the sum of the message's `amounts`; None if it is unknown."""
        total = 0
        for each in amounts:
            if not each.counts(message.name, message.sender):
                continue
            holds = self._holds(each.condition, message) if each.condition else True
            if holds is False:
                continue
            value = message.fields.get(each.field) if each.field else 1
            if isinstance(value, bytes | bytearray | memoryview | str):
                value = len(value.encode() if isinstance(value, str) else value)
            if not holds or not isinstance(value, int):
                return None
            total += value
        return total

    def _excess(self, at: int, number: int, taken: int) -> str:
        name = self._numbers[at].name
        if at < len(self.conversation.counters):
            return f"it takes {taken} from `{name}`, which is {number}"
        return f"no `{name}` is unanswered"
