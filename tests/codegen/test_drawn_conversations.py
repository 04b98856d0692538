"""Tests of the generated strategies for conversations, which the follower must judge alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from tests.support.emitted import emitted

from microvm_proto.backends.strategies.conversations import FORMAT
from microvm_proto.conversation_rules import MessageOrder, SentMessage
from microvm_proto.follower import Follower
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema
from microvm_proto.types import camel

from .common import LETTERS, SANDBOXD, Load
from .test_conversations import EXAMPLE, schema_of


def odd(name: str, message: Any, sent: list[Any]) -> bool:
    """Return True for some conditions and messages. All conditions hold for half of them."""
    return (len(name) + len(sent) + len(type(message).__name__)) % 2 == 1


@pytest.fixture(params=[SANDBOXD, LETTERS, "example"], ids=["sandboxd", "letters", "example"])
def drawing(
    request: pytest.FixtureRequest, tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> tuple[Schema, ModuleType]:
    """A schema with conversations, and the strategies that are generated from it."""
    is_file = isinstance(request.param, Path)
    schema = read_schema(request.param) if is_file else schema_of(EXAMPLE)
    for name, backend in (("codec.py", "python"), ("messages.py", "strategies")):
        (tmp_path / name).write_text(*emitted(backend, schema, name).values())
    module = next((o.module for o in schema.outputs if o.backend == "python"), "codec")
    monkeypatch.setitem(sys.modules, module, load(tmp_path / "codec.py"))
    return schema, load(tmp_path / "messages.py")


def verdicts(schema: Schema, sent: list[Any]) -> list[MessageOrder]:
    """Return the follower's verdicts on a conversation."""
    known = {camel(message.python_name): message for message in schema.messages}
    held: set[str] = set()
    follower = Follower(schema, lambda name, _: name in held)
    found = []
    for each in sent:
        message = known[type(each.message).__name__]
        fields = {f.name: getattr(each.message, f.python_name) for f in message.visible}
        held.clear()
        held |= each.conditions
        id_ = getattr(each.message, "id", 0)
        found.append(follower.follow(SentMessage(each.sender, message.name, id_, fields)).verdict)
        if each.state:
            assert each.state in follower.states | (follower.states_of(id_) if id_ else set())
    return found


def expected(state: str | None) -> MessageOrder:
    if state is None:
        return MessageOrder.OUT_OF_ORDER
    return MessageOrder.IN_ORDER if state else MessageOrder.IGNORED


SEARCH = settings(
    max_examples=5000, phases=[Phase.generate], deadline=None, derandomize=True, database=None
)

many = pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.long)])


def drawn(strategy: st.SearchStrategy[list[Any]], count: int) -> list[list[Any]]:
    found = []

    @settings(SEARCH, max_examples=count)
    @given(strategy)
    def draw(sent: list[Any]) -> None:
        found.append(sent)

    draw()
    return found


def reaches(state: str) -> Callable[[list[Any]], bool]:
    return lambda sent: any(each.state == state for each in sent)


@pytest.mark.thorough
@many
def test_follower_accepts_correct_conversations(
    drawing: tuple[Schema, ModuleType], count: int
) -> None:
    schema, made = drawing
    states = set()
    for sent in drawn(made.Conversations(holds=odd, max_size=30).correct(), count):
        assert len(sent) <= 30
        assert verdicts(schema, sent) == [expected(each.state) for each in sent]
        assert all(each.state is not None for each in sent)
        states |= {each.state for each in sent}
        assert all(each.message.encode() for each in sent)
    # Hypothesis also draws constants of the modules that other tests have imported. So a state that
    # few conversations reach may be missing, and is searched for in more of them.
    for name in {s.name for each in schema.conversations for s in each.states[1:]} - states:
        find(made.Conversations(holds=odd, max_size=30).correct(), reaches(name), settings=SEARCH)


@pytest.mark.thorough
@many
def test_follower_refuses_last_message_of_faulty_ones(
    drawing: tuple[Schema, ModuleType], count: int
) -> None:
    schema, made = drawing
    kinds = set()
    for sent in drawn(made.Conversations(holds=odd, max_size=30).faulty(), count):
        assert len(sent) <= 31
        assert verdicts(schema, sent) == [expected(each.state) for each in sent]
        assert [each.state is None for each in sent] == [False] * (len(sent) - 1) + [True]
        kinds.add((sent[-1].sender, type(sent[-1].message)))
    possible = {(end, message.name) for end in schema.ends for message in schema.sent_by(end)}
    assert len(kinds) > len(possible) / 2


@pytest.mark.thorough
@many
def test_messages_with_an_empty_strategy_are_left_out(
    drawing: tuple[Schema, ModuleType], count: int
) -> None:
    schema, made = drawing
    first = getattr(made.codec, camel(schema.messages[0].python_name))
    without = made.Conversations({first: lambda sent: st.nothing()}, odd)
    for sent in drawn(without.correct(), count):
        assert not any(type(each.message) is first for each in sent)


@pytest.mark.parametrize("other", [FORMAT - 1, FORMAT + 1])
def test_module_of_another_format_is_refused(tmp_path: Path, load: Load, other: int) -> None:
    """The module also has an unknown argument, which alone would be a TypeError."""
    text = f"from microvm_proto import drawing\ndrawing.require({other})\ndrawing.Tables(other=1)\n"
    (tmp_path / "messages.py").write_text(text)
    with pytest.raises(ImportError, match="run `microvm-proto gen` again"):
        load(tmp_path / "messages.py")
