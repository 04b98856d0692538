"""Generate the rules of messages: when each is in order, and what it changes at a side.

`side` is the side whose copy of the states decides, and `from` the side that sends the message.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

from microvm_proto.backends.promela.text import both, choice, each_id, either, inline, macro
from microvm_proto.schema import Message, Schema
from microvm_proto.states import Amount, Conversation, ConversationState, Step

PARAMETERS = "side, from, id, contents, amount"


class MessageRules:
    """The rules of the messages of a schema.

    :ivar outer: Conversation per connection, or None.
    :ivar inner: Conversation per id, or None.
    """

    def __init__(self, schema: Schema) -> None:
        scopes = {each.per: each for each in schema.conversations}
        self.outer = scopes.get("connection")
        self.inner = scopes.get("id")
        self._schema = schema

    def of_messages(self) -> Iterator[str]:
        """Generate four macros and an `inline` for each message.

        The macro ORDER tells whether the conversations permit the message now. If it is true, OPEN
        tells whether the request that the message answers is open, and FITS whether no counter
        exceeds its maximum. IGNORED tells whether the receiver ignores the message. The `inline`
        changes the state of the conversations after the message.
        """
        for message in self._schema.messages:
            name = message.name.upper()
            pairs = list(self._conversations(message))
            for key, rule in (
                ("ORDER", self._order),
                ("OPEN", self._open),
                ("FITS", self._fits),
                ("IGNORED", self._ignored),
            ):
                value = rule(message, pairs)
                yield macro(f"{name}_{key}({PARAMETERS})", value)
            options = [each for pair in pairs for each in self._changes(message, *pair)]
            yield inline(f"{message.name}_changes({PARAMETERS})", itertools.chain(*options))

    def _conversations(self, message: Message) -> Iterator[tuple[Conversation, str]]:
        """Yield each conversation to which a message may belong, and when it does."""
        if self.outer and (message.id != "required" or not self.inner):
            yield self.outer, "id == 0" if self.inner and message.id == "any" else "true"
        if self.inner and message.id != "none":
            yield self.inner, "id != 0" if message.id == "any" else "true"

    def _order(self, message: Message, pairs: list[tuple[Conversation, str]]) -> str:
        return either(
            both(
                [
                    belongs,
                    self._permitted(each, message),
                    either(
                        both(
                            [
                                _is(each, [state]),
                                _from(message, step.sender),
                                _when(each, step.condition),
                            ]
                        )
                        for state, step in _steps(each, message)
                    ),
                    *(
                        f"(!({_counts(each, message, take)}) || {_at(each, name)} >= amount)"
                        for name, take in _amounts(each, message, takes=True)
                    ),
                ]
            )
            for each, belongs in pairs
        )

    def _permitted(self, each: Conversation, message: Message) -> str:
        """Generate when the conversation of the connection permits messages of those per id."""
        if each is not self.inner or not self.outer:
            return "true"
        permitting = {
            end: [x for x in self.outer.states if end in x.ids and not x.ignores(message.name, end)]
            for end in self._senders(message)
        }
        return self._by_sender(self.outer, message, permitting)

    def _ignoring(self, each: Conversation, message: Message) -> str:
        """Generate when the states of a conversation ignore a message."""
        ignoring = {
            end: [state for state in each.states if state.ignores(message.name, end)]
            for end in self._senders(message)
        }
        return self._by_sender(each, message, ignoring)

    def _senders(self, message: Message) -> list[str]:
        return [end for end in self._schema.ends if message.sender in (end, "both")]

    def _by_sender(
        self, each: Conversation, message: Message, states: Mapping[str, list[ConversationState]]
    ) -> str:
        return either(
            both([_from(message, end), _is(each, found)]) for end, found in states.items() if found
        )

    def _open(self, message: Message, pairs: list[tuple[Conversation, str]]) -> str:
        opens = [
            (belongs, f"{_at(each, f'{request.message}_open')} > 0")
            for each, belongs in pairs
            for request in each.requests
            if message.name in request.answers
        ]
        return both(
            f"(!({belongs}) || {value})" if belongs != "true" else value for belongs, value in opens
        )

    def _fits(self, message: Message, pairs: list[tuple[Conversation, str]]) -> str:
        limits = [
            f"(!({both([belongs, _counts(each, message, add)])}) || "
            f"{_at(each, name)} + amount <= MANY)"
            for each, belongs in pairs
            for name, add in _amounts(each, message, takes=False)
        ]
        # A model must be finite, so it allows at most MANY open requests of each kind.
        limits += [
            f"{_at(each, f'{request.message}_open')} < MANY"
            for each, _ in pairs
            for request in each.requests
            if request.message == message.name
        ]
        return both(limits)

    def _ignored(self, message: Message, pairs: list[tuple[Conversation, str]]) -> str:
        found = [
            both([belongs, self._permitted(each, message), self._ignoring(each, message)])
            for each, belongs in pairs
        ]
        outer = self._ignoring(self.outer, message) if self.outer else "false"
        return either(value for value in (*found, outer) if value != "false")

    def _changes(self, message: Message, each: Conversation, belongs: str) -> Iterator[list[str]]:
        """Yield the statements that a message executes.

        They set the next state, and then update the open requests and the counters.
        """
        grouped: dict[tuple[str, str, str, bool], list[ConversationState]] = {}
        for state, step in sorted(_steps(each, message), key=lambda pair: not pair[1].condition):
            sender = _from(message, step.sender)
            key = (step.condition, sender, step.following, step.following == state.name)
            grouped.setdefault(key, []).append(state)
        options = [
            (
                both([belongs, _is(each, states), sender, _when(each, condition)]),
                self._enter(each, following, stays=stays),
            )
            for (condition, sender, following, stays), states in grouped.items()
        ]
        yield _end(choice(options))
        for request in each.requests:
            variable = _at(each, f"{request.message}_open")
            if message.name == request.message:
                yield _end(choice([(belongs, [f"{variable}++"])]))
            elif message.name in request.answers:
                yield _end(choice([(both([belongs, f"{variable} > 0"]), [f"{variable}--"])]))
        for takes, sign in ((False, "+"), (True, "-")):
            for name, amount in _amounts(each, message, takes=takes):
                variable = _at(each, name)
                when = both([belongs, _counts(each, message, amount)])
                yield _end(choice([(when, [f"{variable} = {variable} {sign} amount"])]))

    def _enter(self, each: Conversation, name: str, *, stays: bool) -> list[str]:
        state = next(state for state in each.states if state.name == name)
        ignored = {one.message for one in state.ignored}
        lines = [] if stays else [f"{_at(each, each.name)} = {_number(each, state)};"]
        if each is self.outer and self.inner and not state.ids:
            lines.append("forget_ids(side);")
        lines += [
            f"{_at(each, f'{request.message}_open')} = 0;"
            for request in each.requests
            if ignored.issuperset(request.answers)
        ]
        if each is self.inner and not state.steps:
            lines += [f"{_at(each, counter.name)} = 0;" for counter in each.counters]
        return lines or ["skip"]

    def forgetting(self) -> Iterator[str]:
        """Generate Promela inlines (macros) that reset conversations to their first state.

        The inline `restart` resets all conversations of one side. `forget_ids` resets only the
        conversations that have an id. `forget_ended` frees each id whose conversation has ended on
        both sides.
        """
        ids = [f"{name}[AT(side, one)] = 0;" for name in (_names(self.inner) if self.inner else ())]
        yield inline("forget_ids(side)", each_id(ids) if ids else ["skip"])
        names = _names(self.outer) if self.outer else []
        yield inline(
            "restart(side)", [*(f"{name}[side] = 0;" for name in names), "forget_ids(side)"]
        )
        old = list(self._forget())
        yield inline("forget_ended()", each_id(old) if old else ["skip"])

    def _forget(self) -> Iterator[str]:
        """Generate statements that free an id when both sides have ended its conversation."""
        inner = self.inner
        ended = [state for state in inner.states if not state.steps] if inner else []
        if not inner or not ended:
            return
        both_ended = [_is(inner, ended, f"{inner.name}[AT({side}, one)]") for side in (0, 1)]
        answered = [
            f"!{request.message}_open[AT({side}, one)]"
            for request in inner.requests
            for side in (0, 1)
        ]
        silent = [
            f"!to_{end} ?? [any_type, eval(one), any_contents, any_amount]"
            for end in self._schema.ends
        ]
        reset = [f"{inner.name}[AT({side}, one)] = 0;" for side in (0, 1)]
        yield from _end(choice([(both([*both_ended, *answered, *silent]), reset)]))


def _names(each: Conversation) -> list[str]:
    requests = [f"{request.message}_open" for request in each.requests]
    return [each.name, *requests, *(counter.name for counter in each.counters)]


def _at(each: Conversation, name: str) -> str:
    return f"{name}[side]" if each.per == "connection" else f"{name}[AT(side, id)]"


def _number(each: Conversation, state: ConversationState) -> str:
    return f"{each.name}_{state.name}".upper()


def _is(each: Conversation, states: Iterable[ConversationState], variable: str = "") -> str:
    return either(f"{variable or _at(each, each.name)} == {_number(each, x)}" for x in states)


def _when(each: Conversation, condition: str) -> str:
    return f"{each.name}_{condition}(side, id, contents)" if condition else "true"


def _from(message: Message, end: str) -> str:
    return f"from == {end.upper()}" if message.sender == "both" else "true"


def _steps(each: Conversation, message: Message) -> Iterator[tuple[ConversationState, Step]]:
    for state in each.states:
        for step in state.steps:
            if step.message == message.name:
                yield state, step


def _counts(each: Conversation, message: Message, amount: Amount) -> str:
    """Return the condition under which a message changes a counter."""
    sender = _from(message, amount.sender) if amount.sender else "true"
    return both([sender, _when(each, amount.condition)])


def _amounts(each: Conversation, message: Message, *, takes: bool) -> Iterator[tuple[str, Amount]]:
    for counter in each.counters:
        for amount in counter.takes if takes else counter.adds:
            if amount.message == message.name:
                yield counter.name, amount


def _end(lines: list[str]) -> list[str]:
    return [*lines[:-1], f"{lines[-1]};"]
