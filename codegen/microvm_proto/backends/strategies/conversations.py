"""Generate Hypothesis strategies that create random conversations of a schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from microvm_proto import types
from microvm_proto.backends.python.naming import call
from microvm_proto.schema import Message, Schema
from microvm_proto.states import Amount, Conversation

FORMAT = 1
"""Version of the calls by which a generated module passes its tables to `microvm_proto.drawing`.

Add one when these calls change. Then the import of a module that was generated before fails.
"""


def of_conversations(schema: Schema, functions: Mapping[str, str]) -> list[str]:
    """Generate the part of a Python module that has the strategy for conversations, if any.

    :param functions: Name of the Python function that returns the strategy of each message.
    """
    if not schema.conversations:
        return []
    lines = [f"drawing.require({FORMAT})", "_TABLES = drawing.Tables(", "    rules={"]
    for each in schema.conversations:
        lines.append(f'        "{each.per}": drawing.ConversationRules(')
        lines += (f"            {line}" for line in _rules(schema, each))
        lines.append("        ),")
    lines.append("    },")
    lines += (f"    {line}" for line in (*_kinds(schema, functions), *_refusals(schema)))
    return ["\n".join([*lines, ")", _CONVERSATIONS.strip()])]


def _rules(schema: Schema, conversation: Conversation) -> Iterator[str]:
    """Yield the arguments of the class `drawing.ConversationRules` for a conversation, as lines."""
    messages = {each.name: each for each in schema.messages}
    steps: list[list[str]] = []
    ignored: list[list[str]] = []
    ids: list[list[str]] = []
    adds: list[list[str]] = []
    takes: list[list[str]] = []
    ended: list[list[str]] = []

    def changes(changed: str, amounts: Iterable[Amount]) -> Iterator[list[str]]:
        for each in amounts:
            fields = {field.name: field.python_name for field in messages[each.message].fields}
            texts = (each.sender, each.condition, changed, fields.get(each.field, ""))
            yield [_class(messages[each.message]), *map(_text, texts)]

    for state in conversation.states:
        name = _text(state.name)
        for step in state.steps:
            kind = _class(messages[step.message])
            end, *texts = map(_text, (step.sender, step.condition, step.following))
            steps.append([name, end, kind, *texts])
        ignored += (
            [name, _text(each.sender), _class(messages[each.message])] for each in state.ignored
        )
        ids += ([name, _text(end)] for end in state.ids)
    for counter in conversation.counters:
        adds += changes(counter.name, counter.adds)
        takes += changes(counter.name, counter.takes)
    # The unanswered requests are counted: a request adds one, and an answer subtracts one.
    for request in conversation.requests:
        count = f"open {request.message}"
        adds += changes(count, [Amount(request.message)])
        takes += changes(count, map(Amount, request.answers))
        # In a state that ignores all answers to the request, no answer is expected any more.
        for state in conversation.states:
            if {*request.answers} <= {each.message for each in state.ignored}:
                ended.append([_text(state.name), _text(count)])
    most = [[_text(each.name), str(each.max)] for each in conversation.counters if each.max]
    yield f"first={_text(conversation.states[0].name)},"
    yield from _listed("steps", steps)
    yield from _listed("ignored", ignored)
    yield from _listed("ids", ids)
    yield from _listed("adds", adds)
    yield from _listed("takes", takes)
    yield from _listed("ended", ended)
    yield from _listed("most", most)


def _listed(name: str, rows: Iterable[list[str]]) -> Iterator[str]:
    lines = [line for row in rows for line in call("", row, 16, tail=",")]
    if not lines:
        yield f"{name}=[],"
        return
    yield f"{name}=["
    yield from (f"    {line}" for line in lines)
    yield "],"


def _kinds(schema: Schema, functions: Mapping[str, str]) -> Iterator[str]:
    rows = (
        [_text(end), _class(message), _text(message.id), f"{functions[message.name]}()"]
        for end in schema.ends
        for message in schema.sent_by(end)
    )
    yield "kinds=["
    for row in rows:
        yield from (f"    {line}" for line in call("drawing.Kind", row, 8, tail=","))
    yield "],"


def _refusals(schema: Schema) -> Iterator[str]:
    names = {each.refusal for each in schema.conversations}
    found = [_class(message) for message in schema.messages if message.name in names]
    yield "refusals=[" if found else "refusals=[],"
    yield from (f"    {each}," for each in found)
    yield from ["],"] if found else []


def _class(message: Message) -> str:
    return f"codec.{types.camel(message.python_name)}"


def _text(name: str) -> str:
    return f'"{name}"'


_CONVERSATIONS = '''
Conversations = functools.partial(drawing.Conversations, _TABLES)
"""Class of strategies for conversations of this schema; see `microvm_proto.drawing`."""
'''
