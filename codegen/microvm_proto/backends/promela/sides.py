"""Generate the steps of the two sides: each can send any message in order, and reads the others."""

from __future__ import annotations

from collections.abc import Iterator

from microvm_proto.backends.promela.rules import MessageRules
from microvm_proto.backends.promela.text import both, choice, either, indented, inline
from microvm_proto.schema import Message, Schema
from microvm_proto.states import Conversation

_IDS = {"connection": "0", "id": "at"}
"""Promela expression for the id of a message, by the kind of the message's conversation.

`at` is a parameter of the generated inline (a macro of Promela) that chooses the message.
"""

_PARAMETERS = {"connection": "()", "id": "_of(at)"}
_CALLS = {"connection": ":: {inline}()", "id": "WITH_IDS({side}, {inline}_of)"}
"""Call of the Promela inline that chooses a message, by the kind of its conversation.

`_PARAMETERS` contains the parameters of this inline.
"""


def moves(schema: Schema, rules: MessageRules) -> Iterator[str]:
    """Generate the inlines by which each side sends and receives a message."""
    require = "#define REQUIRE(right, words) if :: right :: else -> printf(words); assert(false) fi"
    yield f"#ifndef REQUIRE\n{require}\n#endif"
    for end, other in (schema.ends, schema.ends[::-1]):
        sent = [message for message in schema.messages if message.sender in (end, "both")]
        # Spin limits the length of an inline, so there is one for each message.
        for message in sent:
            for talk in _talks(message, rules):
                options = _choosing(message, talk, end, other)
                yield inline(
                    f"{end}_chooses_{message.name}{_PARAMETERS[talk.per]}", ["if", *options, "fi"]
                )
        yield inline(f"{end}_sends()", _sending(sent, rules, end, other))
        arriving = [message for message in schema.messages if message.sender in (other, "both")]
        yield inline(f"{end}_receives()", _receiving(arriving, end, other))
        yield inline(f"{end}_ignores()", _ignoring(arriving, end, other))
    clear = "type = 0; id = 0; contents = 0; amount = 0"
    calls = [f"{end}_ignores();" for end in schema.ends]
    yield inline("settle()", [*calls, "forget_ended();", clear])


def _talks(message: Message, rules: MessageRules) -> Iterator[Conversation]:
    """Yield the conversations in which a message can be sent."""
    if rules.outer and (message.id != "required" or not rules.inner):
        yield rules.outer
    if rules.inner and message.id != "none":
        yield rules.inner


def _choosing(message: Message, talk: Conversation, end: str, other: str) -> Iterator[str]:
    """Generate an alternative of an `if` for each variant of a message that a side can send."""
    side, name, at = end.upper(), message.name.upper(), _IDS[talk.per]
    for contents, amount in _variants(message, talk, f"SOME({side})"):
        given = f"{side}, {side}, {at}, {contents}, {amount}"
        guard = both(
            [
                f"len(to_{other}) < CHANNEL",
                f"may_send({side}, M_{name}, {at}, {contents}, {amount})",
                *(f"{name}_{rule}({given})" for rule in ("ORDER", "OPEN", "FITS")),
                *_first_free(message, talk, side),
            ]
        )
        yield f":: d_step {{ {guard} ->"
        yield f"\ttype = M_{name}; id = {at}; contents = {contents}; amount = {amount} }}"


def _sending(messages: list[Message], rules: MessageRules, end: str, other: str) -> list[str]:
    side = end.upper()
    changes = choice(
        (f"type == M_{m.name.upper()}", [f"{m.name}_changes({side}, {side}, id, contents, amount)"])
        for m in messages
    )
    body = [
        f"prepare({side});",
        _event(end, "sends"),
        f"to_{other} ! type, id, contents, amount;",
        *changes[:-1],
        "fi;",
        f"sent({side});",
        "settle()",
    ]
    choices = [
        _CALLS[talk.per].format(side=side, inline=f"{end}_chooses_{message.name}")
        for message in messages
        for talk in _talks(message, rules)
    ]
    return ["atomic {", *indented(["if", *choices, "fi;", "d_step {", *indented(body), "}"]), "}"]


def _variants(message: Message, talk: Conversation, some: str) -> Iterator[tuple[str, str]]:
    """Yield the variants of a message, each with the name of its condition and with its amount."""
    amounts = [
        amount
        for counter in talk.counters
        for amount in (*counter.adds, *counter.takes)
        if amount.message == message.name
    ]
    conditions = [
        step.condition
        for state in talk.states
        for step in state.steps
        if step.message == message.name
    ] + [amount.condition for amount in amounts]
    # A message whose amount is in no field changes its counter by 1.
    has_field = any(amount.field for amount in amounts)
    values = ("0", some) if has_field else ("1",) if amounts else ("0",)
    named = [f"WHEN_{name.upper()}" for name in dict.fromkeys(conditions) if name]
    for contents in ("0", *named):
        yield from ((contents, value) for value in values)


def _first_free(message: Message, talk: Conversation, side: str) -> Iterator[str]:
    """Yield a rule if the message can begin a conversation: a new id must be the lowest free id."""
    begins = any(step.message == message.name for step in talk.states[0].steps)
    if talk.per == "id" and begins:
        yield either([f"{talk.name}[AT({side}, at)] != 0", f"IS_NEXT({side}, at)"])


def _receiving(messages: list[Message], end: str, other: str) -> list[str]:
    side = end.upper()
    options = []
    for message in messages:
        name = message.name
        given = f"({side}, {other.upper()}, id, contents, amount)"
        right = [
            _event(end, "receives"),
            f'REQUIRE({name.upper()}_OPEN{given}, "fault: no request has this answer\\n");',
            f'REQUIRE({name.upper()}_FITS{given}, "fault: a counter exceeds its maximum\\n");',
            f"{name}_changes{given};",
            f"received({side})",
        ]
        wrong = [_event(end, "refuses"), f"refused({side})"]
        read = choice([(f"{name.upper()}_ORDER{given}", right)], wrong)
        options.append((f"type == M_{name.upper()}", read))
    taken = choice([(f"is_taken({side})", [f"take({side})"]), *options])
    body = [
        f"len(to_{end}) > 0 && may_receive({side}) ->",
        f"to_{end} ? type, id, contents, amount;",
        *taken[:-1],
        "fi;",
        "settle()",
    ]
    return ["d_step {", *indented(body), "}"]


def _ignoring(messages: list[Message], end: str, other: str) -> list[str]:
    """Generate the statements that drop messages at the head of a channel that are ignored."""
    side = end.upper()
    given = f"({side}, {other.upper()}, id, contents, amount)"
    ignored = either(
        f"(type == M_{name} && {name}_IGNORED{given} && !{name}_ORDER{given})"
        for name in (message.name.upper() for message in messages)
    )
    drop = f"to_{end} ? type, id, contents, amount"
    options = [
        (f"drops({side})", [_event(end, "drops"), drop]),
        (ignored, [_event(end, "ignores"), drop]),
    ]
    body = [f"to_{end} ? <type, id, contents, amount>;", *choice(options, ["break"])]
    return ["do", f":: len(to_{end}) > 0 ->", *indented(body), ":: else -> break", "od;"]


def _event(end: str, verb: str) -> str:
    return f'printf("event: {end} {verb} %d %d %d %d\\n", type, id, contents, amount);'
