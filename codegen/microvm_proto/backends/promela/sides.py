"""Generate the steps of the two sides: each can send any message in order, and reads the others."""

from __future__ import annotations

from collections.abc import Iterator

from microvm_proto.backends.promela.rules import MessageRules
from microvm_proto.backends.promela.text import IDS, both, choice, either, indented, inline
from microvm_proto.schema import Message, Schema


def moves(schema: Schema, rules: MessageRules) -> Iterator[str]:
    """Generate the inlines by which each side sends and receives a message."""
    require = "#define REQUIRE(right, words) if :: right :: else -> printf(words); assert(false) fi"
    yield f"#ifndef REQUIRE\n{require}\n#endif"
    for end, other in (schema.ends, schema.ends[::-1]):
        sent = [message for message in schema.messages if message.sender in (end, "both")]
        # Spin limits the length of an inline, so there is one for each message.
        for message in sent:
            options = _choosing(message, rules, end, other)
            yield inline(f"{end}_chooses_{message.name}()", ["if", *options, "fi"])
        yield inline(f"{end}_sends()", _sending(sent, end, other))
        arriving = [message for message in schema.messages if message.sender in (other, "both")]
        yield inline(f"{end}_receives()", _receiving(arriving, end, other))
        yield inline(f"{end}_ignores()", _ignoring(arriving, end, other))
    clear = "type = 0; id = 0; contents = 0; amount = 0"
    calls = [f"{end}_ignores();" for end in schema.ends]
    yield inline("settle()", [*calls, "forget_ended();", clear])


def _choosing(message: Message, rules: MessageRules, end: str, other: str) -> Iterator[str]:
    """Generate an option for each message that a side can send, as far as messages differ."""
    side, name = end.upper(), message.name.upper()
    for at, contents, amount in _variants(message, rules, f"SOME({side})"):
        given = f"{side}, {side}, {at}, {contents}, {amount}"
        guard = both(
            [
                f"len(to_{other}) < CHANNEL",
                f"may_send({side}, M_{name}, {at}, {contents}, {amount})",
                *(f"{name}_{rule}({given})" for rule in ("ORDER", "OPEN", "FITS")),
                *_first_free(rules, message, side, at),
            ]
        )
        yield f":: d_step {{ {guard} ->"
        yield f"\ttype = M_{name}; id = {at}; contents = {contents}; amount = {amount} }}"


def _sending(messages: list[Message], end: str, other: str) -> list[str]:
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
    choices = [f":: {end}_chooses_{message.name}()" for message in messages]
    return ["atomic {", *indented(["if", *choices, "fi;", "d_step {", *indented(body), "}"]), "}"]


def _variants(message: Message, rules: MessageRules, some: str) -> Iterator[tuple[int, str, str]]:
    """Yield each id, condition of the contents, and amount with which a message is sent."""
    for each in filter(None, (rules.outer, rules.inner)):
        if each is rules.inner and message.id == "none":
            continue
        if each is rules.outer and message.id == "required" and rules.inner:
            continue
        amounts = [
            amount
            for counter in each.counters
            for amount in (*counter.adds, *counter.takes)
            if amount.message == message.name
        ]
        conditions = [
            step.condition
            for state in each.states
            for step in state.steps
            if step.message == message.name
        ] + [amount.condition for amount in amounts]
        # Without a field, a message changes a counter by 1.
        has_field = any(amount.field for amount in amounts)
        values = ("0", some) if has_field else ("1",) if amounts else ("0",)
        named = [f"WHEN_{name.upper()}" for name in dict.fromkeys(conditions) if name]
        for at in range(1, IDS + 1) if each is rules.inner else (0,):
            for contents in ("0", *named):
                yield from ((at, contents, value) for value in values)


def _first_free(rules: MessageRules, message: Message, side: str, at: int) -> Iterator[str]:
    """Yield rules that make a conversation begin with the lowest id that is free."""
    inner = rules.inner
    if inner and any(step.message == message.name for step in inner.states[0].steps):
        for lower in range(1, at):
            ids = (f"{inner.name}[AT({side}, {each})] != 0" for each in (at, lower))
            yield either(ids)


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
