"""Tests of the vectors of conversations: every rule is covered, and generated tables agree."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import vectors
from tests.support.emitted import emitted
from tests.support.vectors import ConversationVector, SentVector

from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema
from microvm_proto.states import Conversation, ConversationState

from .common import FILES, INTERPRETER, LETTERS, SANDBOXD, STREAMS
from .test_conversations import EXAMPLE, schema_of


def made(schema: Schema) -> list[ConversationVector]:
    return vectors.conversations(*emitted("vectors", schema, "vectors.json").values())


@pytest.fixture(params=[SANDBOXD, FILES, STREAMS, INTERPRETER, LETTERS, "example"], ids=str)
def schema(request: pytest.FixtureRequest) -> Schema:
    """A schema with conversations."""
    is_file = isinstance(request.param, Path)
    return read_schema(request.param) if is_file else schema_of(EXAMPLE)


class States:
    """The states of a connection while a vector is read, taken from the vector itself."""

    def __init__(self, schema: Schema) -> None:
        self.per = {each.per: each for each in schema.conversations}
        self._names = {per: each.states[0].name for per, each in self.per.items()}
        self._ids: dict[int, str] = {}

    def of(self, message: SentVector) -> tuple[Conversation, ConversationState]:
        """Return the conversation that decides about a message, and its state."""
        if "connection" not in self.per:
            name = self._ids.get(message.id, self._names["id"])
            return self.per["id"], self._state("id", name)
        outer = self._state("connection", self._names["connection"])
        if not message.id or "id" not in self.per:
            return self.per["connection"], outer
        if outer.ignores(message.name, message.sender) or message.sender not in outer.ids:
            return self.per["connection"], outer
        name = self._ids.get(message.id, self._names["id"])
        return self.per["id"], self._state("id", name)

    def take(self, message: SentVector) -> None:
        """Change to the state after a message."""
        if message.state is None:
            return
        if message.id and "id" in self.per:
            self._ids[message.id] = message.state
            return
        self._names["connection"] = message.state
        if not self._state("connection", message.state).ids:
            self._ids.clear()

    def _state(self, per: str, name: str) -> ConversationState:
        (state,) = (each for each in self.per[per].states if each.name == name)
        return state


def read(
    schema: Schema, conversation: ConversationVector
) -> Iterator[tuple[int, SentVector, Conversation, ConversationState]]:
    """Yield the messages of a vector with their index, and the state before each."""
    states = States(schema)
    for index, message in enumerate(conversation.messages):
        yield index, message, *states.of(message)
        states.take(message)


def test_every_step_and_every_ignored_message_is_covered(schema: Schema) -> None:
    taken, ignored = set(), set()
    for each in made(schema):
        for index, message, conversation, state in read(schema, each):
            key = conversation.name, state.name, message.sender, message.name
            if message.state is not None:
                steps = {
                    (*key, step.condition, step.following)
                    for step in state.steps
                    if (step.message, step.sender) == (message.name, message.sender)
                    and step.following == message.state
                    and step.condition in ("", *message.conditions)
                }
                assert steps, (each.name, message)
                taken |= steps
            elif index != each.out_of_order:
                ignored.add(key)
    assert taken == {
        (each.name, state.name, step.sender, step.message, step.condition, step.following)
        for each in schema.conversations
        for state in each.states
        for step in state.steps
    }
    assert ignored == {
        (each.name, state.name, late.sender, late.message)
        for each in schema.conversations
        for state in each.states
        for late in state.ignored
    }


def test_every_message_out_of_order_is_covered(schema: Schema) -> None:
    found = set()
    for each in made(schema):
        for index, message, conversation, state in read(schema, each):
            if index == each.out_of_order:
                assert message.state is None
                assert index == len(each.messages) - 1
                found.add((conversation.name, state.name, message.sender, message.name))
    ids = {message.name: message.id for message in schema.messages}
    is_nested = len(schema.conversations) == 2
    for talk, end in itertools.product(schema.conversations, schema.ends):
        other = {"connection": "required", "id": "none"}[talk.per]
        for state, sent in itertools.product(talk.states, schema.sent_by(end)):
            expected = {step.message for step in state.steps if step.sender == end}
            if sent.name in expected or state.ignores(sent.name, end):
                continue
            # A message with an id is out of order where its sender may not send ids.
            barred = is_nested and talk.per == "connection" and end not in state.ids
            if barred or not (is_nested and ids[sent.name] == other):
                assert (talk.name, state.name, end, sent.name) in found


def test_counters_requests_and_ids_are_covered(schema: Schema) -> None:
    everything = [each.name for each in made(schema)]
    names = [each.name for each in made(schema) if each.out_of_order is not None]
    for each in schema.conversations:
        for counter in each.counters:
            assert any(name.endswith(f" beyond {counter.name}") for name in names), counter
            # Few messages fill a small counter.
            if counter.max and counter.max < 1000:
                assert any("more than the maximum" in name for name in everything), counter
        for request in each.requests:
            assert any(name.endswith(f" beyond {request.message}") for name in names), request
    if len(schema.conversations) == 2:
        assert any(name.endswith(", forgotten") for name in names)
        assert any(name.endswith(" with another id") for name in names)
