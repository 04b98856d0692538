"""Generate a Python module of tables: the messages, enums and conversations of a schema.

The tables are literals, which Python 3.8 and newer can read. The program that uses them brings a
codec of its own, which interprets the tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from microvm_proto.backends.constants import declare
from microvm_proto.digest import shape, wire_digest
from microvm_proto.schema import Output, Schema
from microvm_proto.states import Conversation

_HEAD = '''"""Tables of the protocol {name}. Generated from {source}."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIGEST = 0x{digest:016X}
{constants}
'''

_MESSAGES = '''
"""For each message's number: its name, its sender, the rule for its id, and its fields.

Each field is a name and a type. A type is a list of its name and its bounds: the maximum number of
bytes of a `tail`; for `bytes` and `text` also True if they may contain NUL; for an array, the type
and the number of its items. A closed enum is the name of its integer type, and a list of its
values, each with the version that added it.
"""
'''

_STEPS = '''
"""For each side and each state, the messages that the side may send, with the state after each.

The state is None for a message that is ignored.{conditions}
"""
'''
_CONDITIONS = """ The states that
follow a message have the name of their condition as key, which is empty without a condition."""


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Generate the Python module of tables."""
    head = _HEAD.format(
        name=schema.name,
        source=schema.source,
        digest=wire_digest(schema),
        constants=declare(schema),
    )
    return {output.path.name: head + "\n".join(_tables(schema)).rstrip() + "\n"}


def _tables(schema: Schema) -> Iterator[str]:
    for enum in schema.enums:
        yield "".join(
            f"{enum.name.upper()}_{name.upper()} = {value}\n" for name, value, _ in enum.constants
        )
    messages = {
        message.number: (
            message.name,
            message.sender,
            message.id,
            tuple((field.name, shape(field.type)) for field in message.fields),
        )
        for message in schema.messages
    }
    yield _assignment("MESSAGES", "dict[int, Any]", messages).rstrip() + _MESSAGES
    for conversation in schema.conversations:
        has_conditions = any(step.condition for each in conversation.states for step in each.steps)
        steps = {end: _steps(conversation, end, has_conditions) for end in schema.ends}
        table = _assignment(conversation.name.upper(), "dict[str, Any]", steps)
        yield table + _STEPS.format(conditions=_CONDITIONS if has_conditions else "")


def _steps(conversation: Conversation, end: str, has_conditions: bool) -> dict[str, dict[str, Any]]:
    """Return the messages that the side `end` may send in each state of a conversation."""
    table: dict[str, dict[str, Any]] = {}
    for state in conversation.states:
        steps: dict[str, Any] = {each.message: None for each in state.ignored if each.sender == end}
        for step in state.steps:
            if step.sender == end and has_conditions:
                others = steps.get(step.message) or {}
                steps[step.message] = {**others, step.condition: step.following}
            elif step.sender == end:
                steps[step.message] = step.following
        table[state.name] = steps
    return table


def _assignment(name: str, kind: str, value: object) -> str:
    head = f"{name}: {kind} = "
    return head + _literal(value, 0, len(head))


def _literal(value: object, indent: int, column: int) -> str:
    """Format a literal that begins in this column, as a code formatter does."""
    line = _line(value)
    if not isinstance(value, dict | list | tuple) or column + len(line) < _WIDTH:
        return line
    if isinstance(value, dict):
        keys = [f"{_line(key)}: " for key in value]
        items = list(value.values())
        start, end = "{}"
    else:
        keys, items = [""] * len(value), list(value)
        start, end = "[]" if isinstance(value, list) else "()"
    space = " " * (indent + 4)
    lines = (
        f"{space}{key}{_literal(item, indent + 4, indent + 4 + len(key))},\n"
        for key, item in zip(keys, items, strict=True)
    )
    return f"{start}\n{''.join(lines)}{' ' * indent}{end}"


def _line(value: object) -> str:
    """Format a literal in one line."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_line(key)}: {_line(each)}' for key, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_line, value))}]"
    if isinstance(value, tuple):
        items = ", ".join(map(_line, value))
        return f"({items},)" if len(value) == 1 else f"({items})"
    return repr(value)


_WIDTH = 100
