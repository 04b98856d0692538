"""Test that the schema agrees with the conversations in the committed test vectors."""

from __future__ import annotations

import pytest
from tests.support import vectors
from tests.support.vectors import ConversationVector

from microvm_proto.conversation_rules import MessageOrder, SentMessage
from microvm_proto.follower import Follower
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

from .common import FILES, INTERPRETER, SANDBOXD, STREAMS

KNOWN = {
    SANDBOXD: vectors.COMMITTED,
    FILES: vectors.FILES,
    STREAMS: vectors.STREAMS,
    INTERPRETER: vectors.INTERPRETER,
}
COMMITTED = [
    pytest.param(read_schema(path), each, id=f"{path.stem}, {each.name}")
    for path, file in KNOWN.items()
    for each in vectors.conversations(file.read_text())
]


@pytest.mark.parametrize(("schema", "conversation"), COMMITTED)
def test_schema_agrees_with_a_conversation(
    schema: Schema, conversation: ConversationVector
) -> None:
    held = frozenset[str]()
    follower = Follower(schema, lambda condition, _: condition in held)
    for index, sent in enumerate(conversation.messages):
        held = sent.conditions
        judged = follower.follow(SentMessage(sent.sender, sent.name, sent.id, sent.fields))
        is_wrong = judged.verdict is MessageOrder.OUT_OF_ORDER
        vectors.agree(is_wrong is (index == conversation.out_of_order), sent)
        states = follower.states_of(sent.id) if sent.id else follower.states
        vectors.agree(sent.state is None or states == {sent.state}, sent)
