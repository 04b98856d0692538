"""Generate the C functions that follow conversations: which state follows a message, if any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from microvm_proto.backends.c import declare
from microvm_proto.backends.c.text import comment, signature, uses
from microvm_proto.schema import Schema
from microvm_proto.states import Conversation, ConversationState

OUT_OF_ORDER = 0
"""Result of the C functions if a message is out of order."""
IGNORED = 255
"""Result of the C functions if the receiver ignores a message."""

_Outcome: TypeAlias = tuple[str, str]
"""The name of a condition, empty if there is none, and of the state that follows if it holds.

The name of the state is empty if the receiver ignores the message.
"""


def parts(schema: Schema, style: str) -> Iterator[str]:
    """Generate the enums and functions of all conversations of a schema."""
    if not schema.conversations:
        return
    yield declare.enum(
        schema.name,
        "verdict",
        "Results of the functions that follow conversations, if they do not return a state.",
        [
            ("out_of_order", OUT_OF_ORDER, "The sender may not send this message now."),
            ("ignored", IGNORED, "Drop the message: its sender may not know this state yet."),
        ],
    )
    if style == "table":
        most = max(len(each.conditions) for each in schema.conversations)
        width = next(bits for bits in (8, 16, 32) if most <= bits)
        yield _TABLE.replace("@width@", str(width))
    for conversation in schema.conversations:
        yield from _Generator(schema, conversation).parts(style)


class _Generator:
    """Generates the C code of one conversation."""

    def __init__(self, schema: Schema, conversation: Conversation) -> None:
        self._schema = schema
        self._conversation = conversation
        self._types = {m.name: f"@P@_TYPE_{m.c_name.upper()}" for m in schema.messages}

    def parts(self, style: str) -> Iterator[str]:
        """Generate the enums of the states and conditions, and the functions."""
        name, given = self._conversation.name, self._conversation
        states = [(state.name, at, state.doc) for at, state in enumerate(given.states, 1)]
        yield self._enum("state", f"The states of `{name}`, which begins in the first one.", states)
        bits = [(each.name, 1 << at, each.doc) for at, each in enumerate(given.conditions)]
        if bits:
            yield self._enum("condition", f"The conditions of `{name}`, which are bits.", bits)
        yield self._follow(style)
        if any(state.ids for state in given.states):
            yield self._allows_ids()

    def _enum(self, noun: str, about: str, values: Iterable[tuple[str, int, str]]) -> str:
        kind = f"{self._conversation.name}_{noun}"
        named = [(f"{kind}_{name}", number, doc) for name, number, doc in values]
        return declare.enum(self._schema.name, kind, about, named)

    def _constant(self, noun: str, name: str) -> str:
        return f"@P@_{self._conversation.name}_{noun}_{name}".upper()

    def _follow(self, style: str) -> str:
        """Generate the function that returns the state that follows a message."""
        about = (
            f"Returns the state of `{self._conversation.name}` that follows a message of `type` "
            "from `sender`; @P@_IGNORED if its receiver drops the message; or @P@_OUT_OF_ORDER. "
            "`conditions` are those that hold."
        )
        types = {"state": "uint8_t", "sender": "enum @p@_end", "type": "uint16_t"}
        types["conditions"] = "uint32_t"
        head = f"static inline uint8_t @p@_follow_{self._conversation.name}"
        body = "".join(self._switches() if style == "inline" else self._rows())
        unused = "".join(f"\t(void){name};\n" for name in types if not uses(name, body))
        parameters = (f"{kind} {name}" for name, kind in types.items())
        return f"{comment(about)}{signature(head, parameters)}\n{{\n{unused}{body}}}"

    def _outcomes(self, message: str, end: str) -> list[tuple[_Outcome, ...]]:
        """Return the outcomes in each state of a message that the side `end` sends."""
        return [outcomes(state, message, end) for state in self._conversation.states]

    def _switches(self) -> Iterator[str]:
        """Yield the body of the function in the style `inline`.

        Messages that have the same outcomes in each state share their code.
        """
        for end in self._schema.ends:
            cases: dict[str, list[str]] = {}
            for message in self._schema.sent_by(end):
                if any(column := self._outcomes(message.name, end)):
                    code = "".join(self._column(column))
                    cases.setdefault(code, []).append(self._types[message.name])
            if cases:
                body = "".join(_cases("\t\t", cases))
                yield f"\tif (sender == @P@_{end.upper()}) {{\n\t\tswitch (type) {{\n{body}"
                yield "\t\t}\n\t}\n"
        yield "\treturn @P@_OUT_OF_ORDER;\n"

    def _column(self, column: Iterable[tuple[_Outcome, ...]]) -> Iterator[str]:
        """Yield a `switch` with the outcomes of a message in each state."""
        cases: dict[str, list[str]] = {}
        for state, found in zip(self._conversation.states, column, strict=True):
            if found:
                code = "".join(self._statement(*outcome, state.name) for outcome in found)
                code += "\t\t\t\tbreak;\n" if found[-1][0] else ""
                cases.setdefault(code, []).append(self._constant("state", state.name))
        yield "\t\t\tswitch (state) {\n"
        yield from _cases("\t\t\t", cases)
        yield "\t\t\t}\n\t\t\tbreak;\n"

    def _statement(self, condition: str, following: str, state: str) -> str:
        """Generate the statement that returns an outcome of a message in the state `state`."""
        result = "state" if following == state else self._result(following)
        if not condition:
            return f"\t\t\t\treturn {result};\n"
        bit = self._constant("condition", condition)
        return f"\t\t\t\tif (conditions & {bit})\n\t\t\t\t\treturn {result};\n"

    def _result(self, following: str) -> str:
        return self._constant("state", following) if following else "@P@_IGNORED"

    def _rows(self) -> Iterator[str]:
        """Yield the body of the function in the style `table`."""
        yield "\tstatic const struct @p@_step_rule steps[] = {\n"
        for end in self._schema.ends:
            for message in self._schema.sent_by(end):
                head = f"{self._types[message.name]}, @P@_{end.upper()}"
                for state in self._conversation.states:
                    for condition, following in outcomes(state, message.name, end):
                        yield self._row(head, state.name, following, condition)
        yield "\t};\n\n\treturn @p@_find_step(steps, sizeof steps / sizeof *steps, state, sender, "
        yield "type,\n\t\tconditions);\n"

    def _row(self, head: str, state: str, following: str, condition: str) -> str:
        bit = self._constant("condition", condition) if condition else "0"
        now = self._constant("state", state)
        return f"\t\t{{ {head}, {now}, {self._result(following)}, {bit} }},\n"

    def _allows_ids(self) -> str:
        """Generate the function that tells who may send messages with ids in a state."""
        cases: dict[str, list[str]] = {}
        for state in self._conversation.states:
            if state.ids:
                senders = " || ".join(f"sender == @P@_{end.upper()}" for end in state.ids)
                code = f"\t\treturn {senders};\n"
                cases.setdefault(code, []).append(self._constant("state", state.name))
        body = "".join(_cases("\t", cases))
        about = (
            f"Returns whether `sender` may send messages with ids in a state of "
            f"`{self._conversation.name}`."
        )
        head = "static inline bool @p@_allows_ids(uint8_t state, enum @p@_end sender)"
        return f"{comment(about)}{head}\n{{\n\tswitch (state) {{\n{body}\t}}\n\treturn false;\n}}"


def _cases(indent: str, cases: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Yield the cases of a `switch`: each code, with the constants for which it runs."""
    for code, constants in cases.items():
        yield from (f"{indent}case {constant}:\n" for constant in constants)
        yield code


def outcomes(state: ConversationState, message: str, sender: str) -> tuple[_Outcome, ...]:
    """Return the outcomes of a message in a state; the first one whose condition holds decides.

    The message is out of order if no condition holds.
    """
    steps = [step for step in state.steps if (step.message, step.sender) == (message, sender)]
    # A step without a condition applies only if no conditional step does.
    ordered = sorted(steps, key=lambda step: not step.condition)
    found = [(step.condition, step.following) for step in ordered]
    return (*found, ("", "")) if state.ignores(message, sender) else tuple(found)


_TABLE = """
/* A step of a conversation. The first step of a message that applies in a state decides. */
struct @p@_step_rule {
	uint16_t type;
	uint8_t sender;
	uint8_t state;
	uint8_t following;
	uint@width@_t condition; /* a bit, or 0 if the step needs no condition */
};

static inline uint8_t @p@_find_step(const struct @p@_step_rule *steps, size_t count, uint8_t state,
	enum @p@_end sender, uint16_t type, uint32_t conditions)
{
	for (const struct @p@_step_rule *step = steps; step < steps + count; step++)
		if (step->type == type && step->sender == sender && step->state == state)
			if (!step->condition || (step->condition & conditions))
				return step->following;
	return @P@_OUT_OF_ORDER;
}
"""
