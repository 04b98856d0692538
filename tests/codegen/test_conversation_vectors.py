"""Tests of the vectors of conversations: every rule is covered, and generated tables agree."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tests.support import vectors
from tests.support.emitted import emitted
from tests.support.vectors import ConversationVector, SentVector

from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema
from microvm_proto.states import Conversation, ConversationState
from microvm_proto.types import camel

from .common import EVERYTHING, FILES, INTERPRETER, LETTERS, SANDBOXD, STREAMS, Load
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
    names = [each.name for each in made(schema) if each.out_of_order is not None]
    for each in schema.conversations:
        for counter in each.counters:
            assert any(name.endswith(f" beyond {counter.name}") for name in names), counter
        for request in each.requests:
            assert any(name.endswith(f" beyond {request.message}") for name in names), request
    if len(schema.conversations) == 2:
        assert any(name.endswith(", forgotten") for name in names)
        assert any(name.endswith(" with another id") for name in names)


def test_a_small_counter_is_filled_to_its_maximum() -> None:
    for path in (SANDBOXD, LETTERS):
        schema = read_schema(path)
        full = [each for each in made(schema) if "more than the maximum" in each.name]
        assert full
        for each in full:
            name = each.name.rpartition(" ")[2]
            (counter,) = (
                c for talk in schema.conversations for c in talk.counters if c.name == name
            )
            adds = {amount.message: amount.field for amount in counter.adds}
            added = sum(
                message.fields.get(adds[message.name], 1)
                for message in each.messages
                if message.name in adds
            )
            assert counter.max is not None
            assert added > counter.max
            assert len(each.messages) < 50


def test_python_tables_agree_with_the_vectors(
    schema: Schema, tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, backend in (("codec.py", "python"), ("states.py", "states")):
        (tmp_path / name).write_text(*emitted(backend, schema, name).values())
    module = next((o.module for o in schema.outputs if o.backend == "python"), "codec")
    monkeypatch.setitem(sys.modules, module, load(tmp_path / "codec.py"))
    tables = load(tmp_path / "states.py")
    counted = []
    for each in made(schema):
        for index, message, conversation, state in read(schema, each):
            following = by_tables(tables, schema, message, conversation, state)
            if index != each.out_of_order:
                assert following == (message.state or ""), each.name
            elif following is not None:
                counted.append(each.name)
    # The tables do not contain counters and requests.
    assert counted or schema.path.name == "p.toml", "in the example, each state has one answer"
    assert all(" beyond " in name or " more than " in name for name in counted)


@pytest.mark.thorough
@pytest.mark.parametrize("style", ["inline", "table"])
def test_c_functions_agree_with_the_vectors(schema: Schema, style: str, tmp_path: Path) -> None:
    checks = [f"{call} == {value}" for call, value in by_functions(schema).items()]
    assert len(checks) >= 5
    lines = "".join(f"\tassert({check});\n" for check in checks)
    head = '#undef NDEBUG\n#include <assert.h>\n#include "p.h"\n\n'
    (tmp_path / "main.c").write_text(f"{head}int main(void)\n{{\n{lines}}}\n")
    (tmp_path / "p.h").write_text(*emitted("c", schema, "p.h", style).values())
    subprocess.run(["gcc", "-std=c11", "-o", "main", "main.c"], cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "main"], check=True)


def by_functions(schema: Schema) -> dict[str, str]:
    """Return the calls of C functions for the messages of all vectors, and their results."""
    prefix, found = schema.name.upper(), {}
    for each in made(schema):
        for index, message, talk, state in read(schema, each):
            kind, end = f"{prefix}_{talk.name.upper()}", f"{prefix}_{message.sender.upper()}"
            now = f"{kind}_STATE_{state.name.upper()}"
            if (
                message.id
                and talk.per == "connection"
                and not state.ignores(message.name, message.sender)
            ):
                found[f"{schema.name}_allows_ids({now}, {end})"] = "false"
                continue
            held = [f"{kind}_CONDITION_{name.upper()}" for name in sorted(message.conditions)]
            given = f"{now}, {end}, {prefix}_TYPE_{message.name.upper()}, {' | '.join(held) or 0}"
            call = f"{schema.name}_follow_{talk.name}({given})"
            if message.state is not None:
                found[call] = f"{kind}_STATE_{message.state.upper()}"
            elif index != each.out_of_order:
                found[call] = f"{prefix}_IGNORED"
            elif " beyond " not in each.name and " more than " not in each.name:
                found[call] = f"{prefix}_OUT_OF_ORDER"
    return found


def by_tables(
    tables: ModuleType,
    schema: Schema,
    message: SentVector,
    conversation: Conversation,
    state: ConversationState,
) -> str | None:
    """Return the state after a message by generated tables; empty if ignored, None if refused."""
    prefix = conversation.name.upper()
    now = getattr(tables, f"{camel(conversation.name)}State")[state.name.upper()]
    (known,) = (each for each in schema.messages if each.name == message.name)
    kind = getattr(tables.codec, camel(known.python_name))
    ignored = kind in getattr(tables, f"{prefix}_{message.sender.upper()}_IGNORED", {}).get(now, ())
    if message.id and conversation.per == "connection" and len(schema.conversations) == 2:
        assert ignored or message.sender not in getattr(tables, f"{prefix}_IDS")[now]
        return "" if ignored else None
    steps = getattr(tables, f"{prefix}_{message.sender.upper()}")[now].get(kind, {})
    if not isinstance(steps, dict):
        return str(steps.name).lower()
    held = [steps[name] for name in (*sorted(message.conditions), "") if name in steps]
    if held:
        return str(held[0].name).lower()
    return "" if ignored else None


def test_names_are_unique_and_the_order_is_fixed(schema: Schema) -> None:
    names = [each.name for each in made(schema)]
    assert len({*names}) == len(names)
    assert made(schema) == made(schema)


def test_a_schema_without_conversations_has_none() -> None:
    (text,) = emitted("vectors", read_schema(EVERYTHING), "vectors.json").values()
    assert "onversation" not in text
