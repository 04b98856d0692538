"""Generate a Python module: the states of conversations, and the messages that each allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from microvm_proto.backends.python.declare import docstring, named
from microvm_proto.backends.python.naming import import_of_codec
from microvm_proto.schema import Message, Output, Schema
from microvm_proto.states import Conversation, Step
from microvm_proto.types import camel


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Generate the Python module of states."""
    messages = {message.name: message for message in schema.messages}
    head = f'"""States of the conversations of {schema.name}. Generated from {schema.source}."""'
    imports = (
        "from __future__ import annotations\n\n"
        "import enum\nfrom collections.abc import Mapping\nfrom typing import TypeAlias\n\n"
        f"{import_of_codec(schema)}"
    )
    parts = [f"{head}\n\n{imports}" if schema.conversations else head]
    for conversation in schema.conversations:
        doc = conversation.doc or f"The conversation {conversation.name}."
        states = ((state.name, at, state.doc) for at, state in enumerate(conversation.states, 1))
        parts.append(named(f"{_class(conversation)}(enum.Enum)", doc, states))
        parts.append(_type(conversation))
        parts += (_table(conversation, end, messages) for end in schema.ends)
        for end in schema.ends:
            if any(each.sender == end for state in conversation.states for each in state.ignored):
                parts.append(_ignored(conversation, end, messages))
        if any(state.ids for state in conversation.states):
            parts.append(_ids(conversation))
        if any(counter.max for counter in conversation.counters):
            parts.append(_maxima(conversation))
    return {output.path.name: "\n\n\n".join(parts) + "\n"}


def _class(conversation: Conversation) -> str:
    return f"{camel(conversation.name)}State"


def _steps(conversation: Conversation) -> str:
    return f"{camel(conversation.name)}Steps"


def _is_conditional(conversation: Conversation) -> bool:
    return any(step.condition for state in conversation.states for step in state.steps)


def _type(conversation: Conversation) -> str:
    state, steps = _class(conversation), _steps(conversation)
    following = f"Mapping[str, {state}]" if _is_conditional(conversation) else state
    mapping = f"{state}, Mapping[type[codec.Message], {following}]"
    line = f"{steps}: TypeAlias = Mapping[{mapping}]"
    if len(line) > _WIDTH:
        line = f"{steps}: TypeAlias = Mapping[\n    {mapping}\n]"
    about = "For each state, the messages that one side may send, and the state that follows each."
    if _is_conditional(conversation):
        about += " The key of a following state is the name of its condition, or empty."
    return f"{line}\n{docstring(0, about)}"


def _table(conversation: Conversation, end: str, messages: Mapping[str, Message]) -> str:
    """Generate the table of the messages that the side `end` may send in each state."""
    kind = _class(conversation)
    lines = [f"{conversation.name.upper()}_{end.upper()}: {_steps(conversation)} = {{"]
    for state in conversation.states:
        sent: dict[str, list[Step]] = {}
        for step in state.steps:
            if step.sender == end:
                sent.setdefault(step.message, []).append(step)
        name = f"    {kind}.{state.name.upper()}: "
        if not sent:
            lines.append(f"{name}{{}},")
            continue
        lines.append(f"{name}{{")
        for message, steps in sent.items():
            key = f"        codec.{camel(messages[message].python_name)}: "
            if _is_conditional(conversation):
                lines += _by_condition(key, kind, steps)
            else:
                lines.append(f"{key}{kind}.{steps[0].following.upper()},")
        lines.append("    },")
    return "\n".join([*lines, "}", f'"""The messages that the {end} may send in each state."""'])


def _ignored(conversation: Conversation, end: str, messages: Mapping[str, Message]) -> str:
    """Generate the table of the messages of the side `end` that are ignored in each state."""
    kind = _class(conversation)
    name = f"{conversation.name.upper()}_{end.upper()}_IGNORED"
    lines = [f"{name}: Mapping[{kind}, frozenset[type[codec.Message]]] = {{"]
    for state in conversation.states:
        items = [
            f"codec.{camel(messages[each.message].python_name)}"
            for each in state.ignored
            if each.sender == end
        ]
        lines += _set(f"    {kind}.{state.name.upper()}: ", items)
    about = (
        f"The messages of the {end} that are ignored in each state, unless a step of the state "
        "applies."
    )
    return "\n".join([*lines, "}", docstring(0, about)])


def _ids(conversation: Conversation) -> str:
    """Generate the table that has, for each state, the sides that may send messages with ids."""
    kind = _class(conversation)
    lines = [f"{conversation.name.upper()}_IDS: Mapping[{kind}, frozenset[str]] = {{"]
    for state in conversation.states:
        items = [f'"{end}"' for end in state.ids]
        lines += _set(f"    {kind}.{state.name.upper()}: ", items)
    about = (
        "The sides that may send messages of the conversations per id in each state. A state "
        "without a side ends all these conversations."
    )
    return "\n".join([*lines, "}", docstring(0, about)])


def _maxima(conversation: Conversation) -> str:
    """Generate the table of the maxima of counters."""
    lines = [f"{conversation.name.upper()}_MAXIMA: Mapping[str, int] = {{"]
    lines += (f'    "{each.name}": {each.max},' for each in conversation.counters if each.max)
    return "\n".join([*lines, "}", '"""The maximum of each counter that has one."""'])


def _set(key: str, items: Sequence[str]) -> Iterator[str]:
    """Generate the entry `key` of a table whose values are sets."""
    line = f"{key}frozenset({{{', '.join(items)}}})," if items else f"{key}frozenset(),"
    if len(line) <= _WIDTH:
        yield line
        return
    yield f"{key}frozenset("
    yield "        {"
    yield from (f"            {item}," for item in items)
    yield "        }"
    yield "    ),"


def _by_condition(key: str, kind: str, steps: list[Step]) -> Iterator[str]:
    """Generate the entry `key` of a message: the state that follows it under each condition."""
    items = [f'"{step.condition}": {kind}.{step.following.upper()}' for step in steps]
    line = f"{key}{{{', '.join(items)}}},"
    if len(line) <= _WIDTH:
        yield line
        return
    yield f"{key}{{"
    yield from (f"            {item}," for item in items)
    yield "        },"


_WIDTH = 100
