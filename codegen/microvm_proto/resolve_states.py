"""Turns the tables `[[conversation]]` of a schema file into the classes of the module `states`."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence

from microvm_proto.load import Document, Table
from microvm_proto.positions import Path
from microvm_proto.schema import Message, Schema
from microvm_proto.states import (
    SCOPES,
    Amount,
    Condition,
    Conversation,
    ConversationState,
    Counter,
    Ignored,
    Request,
    Step,
)
from microvm_proto.types import Bytes, Integer, Tail, Text

MAX_STATES = 254
MAX_CONDITIONS = 32
"""Limits of the generated C code, which holds a state in 8 bits, and a condition in one bit."""


def conversation(table: Table, ends: Sequence[str], messages: Sequence[Message]) -> Conversation:
    """Read a table `[[conversation]]` about the `messages` that the two `ends` may send.

    :param ends: Names of the two sides of the protocol.
    :param messages: Messages of the protocol, each of which knows its sender.
    """
    senders = {message.name: message.sender for message in messages}
    read = Conversation(
        name=table.require("name", str),
        doc=table.get("doc", str, "").strip(),
        per=_per(table),
        states=tuple(_state(each, ends, senders) for each in table.tables("state")),
        conditions=tuple(_condition(each) for each in table.tables("condition")),
        requests=tuple(_request(each) for each in table.tables("request")),
        counters=tuple(_counter(each, ends, senders) for each in table.tables("counter")),
        refusal=table.get("refusal", str, ""),
    )
    table.done()
    return read


def _per(table: Table) -> str:
    per = table.get("per", str, SCOPES[0])
    if per not in SCOPES:
        text, hint = f"`per` cannot be `{per}`", 'write `per = "connection"` or `per = "id"`'
        table.error("bad-conversation", "per", text, hint)
    return per


def _state(table: Table, ends: Sequence[str], senders: dict[str, str]) -> ConversationState:
    name = table.require("name", str)
    steps = tuple(_step(each, name, ends, senders) for each in table.tables("step"))
    state = ConversationState(
        name=name,
        doc=table.get("doc", str, "").strip(),
        steps=steps,
        final=table.get("final", bool, False),
        ignored=tuple(_ignored(table, ends, senders, steps)),
        ids=table.items("ids", str),
    )
    table.done()
    return state


def _ignored(
    table: Table, ends: Sequence[str], senders: dict[str, str], steps: Sequence[Step]
) -> Iterator[Ignored]:
    """Yield the messages in the key `ignore`, and all messages of the sides in `ignore_from`.

    If a step without a condition has a message of a side, the message is never ignored.
    """
    names, sides = table.items("ignore", str), table.items("ignore_from", str)
    certain = {Ignored(step.message, step.sender) for step in steps if not step.condition}
    sent = [
        Ignored(message, end)
        for message, sender in senders.items()
        for end in ends
        if sender in (end, "both") and Ignored(message, end) not in certain
    ]
    for at, name in enumerate(names):
        path = table.at("ignore", at)
        if name not in senders:
            text, hint = f"no message has the name `{name}`", f"known: {', '.join(senders)}"
            table.document.error("unknown-reference", path, text, hint)
        elif all(each.message != name for each in sent):
            text = f"a step of this state applies to each `{name}`"
            hint = "remove one of the two, or add a condition to the step with `when`"
            table.document.error("duplicate-step", path, text, hint)
    for side in sides:
        if side not in ends:
            text, hint = f"no end has the name `{side}`", f"known: {', '.join(ends)}"
            table.error("unknown-reference", "ignore_from", text, hint)
    yield from (each for each in sent if each.message in names or each.sender in sides)


def _step(table: Table, state: str, ends: Sequence[str], senders: dict[str, str]) -> Step:
    message = table.require("message", str)
    sender = senders.get(message, "")
    given = table.optional("from", str)
    if sender == "both":
        if given not in ends:
            text, hint = f"both sides send `{message}`", f'write `from = "{ends[0]}"`, or the other'
            table.error("bad-conversation", "from", text, hint)
        sender = given or ends[0]
    elif given not in (None, sender) and sender:
        text = f"only the {sender} sends `{message}`"
        table.error("bad-conversation", "from", text, "remove `from`")
    step = Step(message, sender, table.get("next", str, state), table.get("when", str, ""))
    table.done()
    return step


def _condition(table: Table) -> Condition:
    condition = Condition(table.require("name", str), table.get("doc", str, "").strip())
    table.done()
    return condition


def _request(table: Table) -> Request:
    request = Request(table.require("message", str), table.items("answers", str))
    table.done()
    return request


def _counter(table: Table, ends: Sequence[str], senders: dict[str, str]) -> Counter:
    counter = Counter(
        name=table.require("name", str),
        doc=table.get("doc", str, "").strip(),
        adds=tuple(_amount(each, ends, senders) for each in table.tables("add")),
        takes=tuple(_amount(each, ends, senders) for each in table.tables("take")),
        max=table.optional("max", int),
    )
    table.done()
    return counter


def _amount(table: Table, ends: Sequence[str], senders: dict[str, str]) -> Amount:
    amount = Amount(
        table.require("message", str),
        table.get("field", str, ""),
        table.get("when", str, ""),
        table.get("from", str, ""),
    )
    if amount.sender and senders.get(amount.message) != "both":
        text = f"`{amount.message}` is not sent by both ends"
        table.error("bad-conversation", "from", text, "remove `from`")
    elif amount.sender and amount.sender not in ends:
        text = f"`{amount.sender}` is not the name of an end"
        table.error("bad-conversation", "from", text, f"known: {', '.join(ends)}")
    table.done()
    return amount


def check_conversations(document: Document, schema: Schema) -> None:
    """Record an error for each mistake in the conversations of a schema."""
    for at, each in enumerate(schema.conversations):
        _Check(document, schema, each, ("conversation", at)).all()
    _check_scopes(document, schema)
    used = {
        name
        for each in schema.conversations
        for name in (each.refusal, *(step.message for state in each.states for step in state.steps))
    }
    for at, message in enumerate(schema.messages if schema.conversations else ()):
        if message.name not in used:
            text = f"`{message.name}` is in order in no state of a conversation"
            hint = "add a step with this message to a state"
            document.error("message-without-state", ("message", at, "name"), text, hint)


def _check_scopes(document: Document, schema: Schema) -> None:
    """Check that there is one conversation per connection, and one per id, with other messages."""
    ids = {message.name: message.id for message in schema.messages}
    first = {each.per: each for each in reversed(schema.conversations)}
    for at, each in enumerate(schema.conversations):
        if first[each.per] is not each:
            text = f"`{first[each.per].name}` is the conversation for each {each.per} already"
            hint = "unite the two conversations"
            document.error("bad-conversation", ("conversation", at, "name"), text, hint)
        for path, name in _steps(each, at):
            if each.per == "id" and ids.get(name) == "none":
                text, other = f"`{name}` has no id", "connection"
                document.error("bad-conversation", path, text, _MOVE.format(other))
            if each.per == "connection" and ids.get(name) == "required" and "id" in first:
                text, other = f"`{name}` has an id", "id"
                document.error("bad-conversation", path, text, _MOVE.format(other))
    outer, inner = first.get("connection"), first.get("id")
    if outer and inner and not any(state.ids for state in outer.states):
        text = f"no state of `{outer.name}` allows the messages of `{inner.name}`"
        path = ("conversation", schema.conversations.index(inner), "name")
        hint = f'add `ids = ["{schema.ends[0]}", "{schema.ends[1]}"]` to a state of `{outer.name}`'
        document.error("bad-conversation", path, text, hint)


_MOVE = "move the step to the conversation per {}"


def _steps(conversation: Conversation, at: int) -> Iterator[tuple[Path, str]]:
    """Yield the path and the message of each step of the conversation number `at`."""
    for number, state in enumerate(conversation.states):
        for position, step in enumerate(state.steps):
            path = ("conversation", at, "state", number, "step", position, "message")
            yield path, step.message


class _Check:
    """The checks of one conversation, which record their errors in the document."""

    def __init__(
        self, document: Document, schema: Schema, conversation: Conversation, path: Path
    ) -> None:
        self._document = document
        self._conversation = conversation
        self._path = path
        self._ends = schema.ends
        self._messages = {message.name: message for message in schema.messages}
        self._states = [state.name for state in conversation.states]
        self._conditions = [condition.name for condition in conversation.conditions]

    def all(self) -> None:
        """Check the states, requests and counters of the conversation."""
        if not self._states:
            text, hint = "a conversation needs a state", "add a [[conversation.state]]"
            self._document.error("bad-conversation", self._path, text, hint)
            return
        for key, most, given in (
            ("state", MAX_STATES, self._states),
            ("condition", MAX_CONDITIONS, self._conditions),
        ):
            if len(given) > most:
                text, hint = f"a conversation has at most {most} {key}s", "divide the conversation"
                self._document.error("bad-conversation", (*self._path, key, most), text, hint)
        for at, state in enumerate(self._conversation.states):
            self._steps((*self._path, "state", at), state)
            self._ids((*self._path, "state", at), state)
        if self._conversation.refusal:
            path = (*self._path, "refusal")
            self._known(path, "message", self._conversation.refusal, self._messages)
        self._reachability()
        for at, request in enumerate(self._conversation.requests):
            self._request((*self._path, "request", at), request)
        for at, counter in enumerate(self._conversation.counters):
            self._counter((*self._path, "counter", at), counter)

    def _steps(self, path: Path, state: ConversationState) -> None:
        seen = set[tuple[str, str, str]]()
        for at, step in enumerate(state.steps):
            here = (*path, "step", at)
            self._known((*here, "message"), "message", step.message, self._messages)
            self._known((*here, "next"), "state", step.following, self._states)
            self._condition(here, step.condition)
            key = (step.message, step.sender, step.condition)
            if key in seen:
                text = f"the state `{state.name}` has this step already"
                hint = "remove it, or add conditions with `when`"
                self._document.error("duplicate-step", (*here, "message"), text, hint)
            seen.add(key)

    def _ids(self, path: Path, state: ConversationState) -> None:
        for at, end in enumerate(state.ids):
            self._known((*path, "ids", at), "end", end, self._ends)
        if state.ids and self._conversation.per != "connection":
            text = "only a state of a conversation per connection has `ids`"
            self._document.error("bad-conversation", (*path, "ids"), text, "remove `ids`")

    def _known(self, path: Path, kind: str, name: str, names: Collection[str]) -> bool:
        if name in names:
            return True
        hint = f"known: {', '.join(names)}" if names else f"declare a {kind}"
        self._document.error("unknown-reference", path, f"no {kind} has the name `{name}`", hint)
        return False

    def _condition(self, path: Path, name: str) -> None:
        if name:
            self._known((*path, "when"), "condition", name, self._conditions)

    def _reachability(self) -> None:
        reached = self._conversation.reachable(self._states[0])
        for at, state in enumerate(self._conversation.states):
            path = (*self._path, "state", at, "name")
            if state.name not in reached:
                text = f"no step leads from `{self._states[0]}` to the state `{state.name}`"
                hint = f'add a step with `next = "{state.name}"`, or remove the state'
                self._document.error("unreachable-state", path, text, hint)
            elif not state.final and self._conversation.reachable(state.name) == {state.name}:
                text = f"no step leaves the state `{state.name}`"
                hint = "add a step to another state, or `final = true`"
                self._document.error("dead-end-state", path, text, hint)

    def _request(self, path: Path, request: Request) -> None:
        known = self._known((*path, "message"), "message", request.message, self._messages)
        for at, name in enumerate(request.answers):
            known &= self._known((*path, "answers", at), "message", name, self._messages)
        steps = {state.name: state.steps for state in self._conversation.states}
        for step in itertools.chain.from_iterable(steps.values()):
            if not known or step.message != request.message:
                continue
            later = [
                each
                for name in self._conversation.reachable(step.following)
                for each in steps.get(name, ())
            ]
            answers = [each for each in later if each.message in request.answers]
            if all(each.sender == step.sender for each in answers):
                text = f"after `{request.message}`, no state accepts one of its answers"
                hint = "add a step with an answer to the state that follows the request"
                self._document.error("request-without-answer", (*path, "message"), text, hint)
                return

    def _counter(self, path: Path, counter: Counter) -> None:
        for key, amounts in (("add", counter.adds), ("take", counter.takes)):
            for at, amount in enumerate(amounts):
                self._amount((*path, key, at), amount)
        if counter.max is not None and counter.max < 1:
            text = f"the maximum of `{counter.name}` is less than 1"
            self._document.error("bad-bound", (*path, "max"), text, "write a positive number")
        if not counter.adds:
            text = f"no message adds to the counter `{counter.name}`"
            hint = "add a [[conversation.counter.add]]"
            self._document.error("counter-without-refill", (*path, "name"), text, hint)

    def _amount(self, path: Path, amount: Amount) -> None:
        self._condition(path, amount.condition)
        known = self._known((*path, "message"), "message", amount.message, self._messages)
        if known and amount.field:
            fields = [
                field.name
                for field in self._messages[amount.message].fields
                if isinstance(field.type, Integer | Bytes | Text | Tail)
            ]
            self._known((*path, "field"), "field with a number or bytes", amount.field, fields)


def names(conversations: Sequence[Conversation]) -> Iterator[list[tuple[Path, str]]]:
    """Yield groups of names with their paths. The names in a group must all be different."""
    yield [(("conversation", at, "name"), each.name) for at, each in enumerate(conversations)]
    for at, each in enumerate(conversations):
        declared: dict[str, Sequence[ConversationState | Condition | Counter]] = {
            "state": each.states,
            "condition": each.conditions,
            "counter": each.counters,
        }
        for key, group in declared.items():
            path = ("conversation", at, key)
            yield [((*path, number, "name"), one.name) for number, one in enumerate(group)]


def types_in_c(conversations: Iterable[Conversation]) -> Iterator[str]:
    """Yield the names of the types that the C header declares for conversations."""
    for each in conversations:
        yield from ("verdict", "step_rule", f"{each.name}_state", f"{each.name}_condition")


def constants_in_c(conversations: Sequence[Conversation]) -> Iterator[tuple[str, Path]]:
    """Yield the constants in the C header that exist because of conversations, with their paths."""
    for at, each in enumerate(conversations):
        path = ("conversation", at)
        yield from ((name, ("conversation",)) for name in ("out_of_order", "ignored"))
        declared: dict[str, Sequence[ConversationState | Condition]] = {
            "state": each.states,
            "condition": each.conditions,
        }
        for key, group in declared.items():
            for number, one in enumerate(group):
                yield f"{each.name}_{key}_{one.name}", (*path, key, number, "name")
