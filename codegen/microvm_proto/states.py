"""The classes of conversations: their states, and the messages that are in order in each state."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

SCOPES = ("connection", "id")
"""Values of the key `per` of a conversation: what each conversation of this kind belongs to."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that the programs of both sides check in code of their own."""

    name: str
    doc: str


@dataclass(frozen=True, slots=True)
class Step:
    """A message that is in order in a state.

    :ivar sender: Side that sends the message.
    :ivar following: Name of the state that follows the message.
    :ivar condition: Name of the condition under which the message has this effect; empty if it
        always has.
    """

    message: str
    sender: str
    following: str
    condition: str = ""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message of the side `sender` that its receiver ignores in a state."""

    message: str
    sender: str


@dataclass(frozen=True, slots=True)
class ConversationState:
    """A state of a conversation.

    :ivar steps: The messages that are in order in this state.
    :ivar final: True if the conversation can end in this state.
    :ivar ignored: The messages that their receiver ignores in this state, unless one of the `steps`
        applies. Their sender may not know this state yet.
    :ivar ids: Sides that may send messages of the conversations per id while the conversation of
        the connection is in this state. If it is empty, the state ends all conversations per id.
    """

    name: str
    doc: str
    steps: tuple[Step, ...]
    final: bool = False
    ignored: tuple[Ignored, ...] = ()
    ids: tuple[str, ...] = ()

    def ignores(self, message: str, sender: str) -> bool:
        """Return True if the receiver ignores the message of this sender, unless a step applies."""
        return Ignored(message, sender) in self.ignored


@dataclass(frozen=True, slots=True)
class Request:
    """A message that is answered by exactly one of several messages of the other side."""

    message: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Amount:
    """A field whose value, or whose number of bytes, changes a counter.

    :ivar field: Name of the field; empty if each message changes the counter by 1.
    :ivar condition: Name of the condition under which it changes the counter; empty if it always
        does.
    :ivar sender: Side whose messages change the counter; empty if it does not matter which side
        sends them.
    """

    message: str
    field: str = ""
    condition: str = ""
    sender: str = ""

    def __str__(self) -> str:
        return f"{self.message}.{self.field}" if self.field else self.message

    def counts(self, message: str, sender: str) -> bool:
        """Return True if this amount is for the message named `message` of the side `sender`."""
        return self.message == message and self.sender in ("", sender)


@dataclass(frozen=True, slots=True)
class Counter:
    """A number that some messages add to and others take from, such as credit; never negative.

    :ivar max: Maximum value, at which the counter stays if a message adds more; None for no limit.
    """

    name: str
    doc: str
    adds: tuple[Amount, ...]
    takes: tuple[Amount, ...]
    max: int | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """The order in which the two sides may send messages.

    :ivar per: One of `SCOPES`: there is one conversation for each connection, or for each id.
    :ivar states: The states; a conversation begins in the first one.
    :ivar refusal: Name of the message by which a side refuses a message that is out of order. It
        does not change the state. Empty if there is no such message.
    """

    name: str
    doc: str
    per: str
    states: tuple[ConversationState, ...]
    conditions: tuple[Condition, ...] = ()
    requests: tuple[Request, ...] = ()
    counters: tuple[Counter, ...] = ()
    refusal: str = ""

    def reachable(self, start: str) -> set[str]:
        """Return the names of the states that can follow the state `start`, and `start` itself."""
        following = {state.name: {step.following for step in state.steps} for state in self.states}
        found, new = set[str](), {start}
        while new:
            found |= new
            new = {each for name in new for each in following.get(name, ())} - found
        return found

    def of_messages(self, known: Collection[str]) -> Conversation:
        """Return a copy of the conversation in which only the `known` messages occur."""

        def amounts(given: tuple[Amount, ...]) -> tuple[Amount, ...]:
            return tuple(each for each in given if each.message in known)

        return replace(
            self,
            states=tuple(
                replace(
                    state,
                    steps=tuple(step for step in state.steps if step.message in known),
                    ignored=tuple(each for each in state.ignored if each.message in known),
                )
                for state in self.states
            ),
            requests=tuple(
                replace(each, answers=tuple(name for name in each.answers if name in known))
                for each in self.requests
                if each.message in known
            ),
            counters=tuple(
                replace(each, adds=amounts(each.adds), takes=amounts(each.takes))
                for each in self.counters
            ),
            refusal=self.refusal if self.refusal in known else "",
        )

    def rules(
        self, numbers: Mapping[str, int], ends: Sequence[str]
    ) -> dict[tuple[str | int, ...], str]:
        """Return the rules on which both `ends` must agree: tuples of `numbers`, each with a text.

        The rules contain the numbers of messages and sides, because their names are not sent.

        :param numbers: Number of each message.
        :param ends: Names of the two sides.
        """
        found: dict[tuple[str | int, ...], str] = {
            ("per", self.per): f"there is one conversation for each {self.per}"
        }
        if self.states:
            begins = self.states[0].name
            found["begins", begins] = f"it begins in the state `{begins}`"
        if self.refusal:
            text = f"`{self.refusal}` refuses a message that is out of order"
            found["refusal", numbers[self.refusal]] = text
        for state in self.states:
            for step in state.steps:
                sender = ends.index(step.sender)
                rule = (numbers[step.message], sender, step.condition, step.following)
                when = f", if `{step.condition}`" if step.condition else ""
                found["step", state.name, *rule] = (
                    f"`{step.message}` of the {step.sender} leads from the state `{state.name}` to "
                    f"`{step.following}`{when}"
                )
            for ignored in state.ignored:
                sender = ends.index(ignored.sender)
                found["ignored", state.name, numbers[ignored.message], sender] = (
                    f"`{ignored.message}` of the {ignored.sender} is ignored in the state "
                    f"`{state.name}`"
                )
            for end in state.ids:
                text = f"the {end} sends messages with ids in the state `{state.name}`"
                found["ids", state.name, ends.index(end)] = text
        for request in self.requests:
            answers = sorted(numbers[name] for name in request.answers)
            text = f"`{request.message}` is answered by {', '.join(request.answers)}"
            found["request", numbers[request.message], *answers] = text
        for counter in self.counters:
            if counter.max is not None:
                text = f"`{counter.name}` is at most {counter.max}"
                found["max", counter.name, counter.max] = text
            for verb, amounts in (("increases", counter.adds), ("decreases", counter.takes)):
                for each in amounts:
                    amount = (numbers[each.message], each.field, each.condition)
                    side = (ends.index(each.sender),) if each.sender else ()
                    of = f" of the {each.sender}" if each.sender else ""
                    changed = f"`{each}`{of} {verb} `{counter.name}`"
                    found[verb, counter.name, *amount, *side] = changed
        return found
