"""Tests that the tables of the session's states are complete and match the documented diagram."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from microvm.wire import codec
from microvm.wire.state import GUEST_STEPS, HOST_STEPS, State, Steps
from microvm_proto.resolve import read_schema

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "architecture.md"


def name_of(kind: type[codec.Message]) -> str:
    """Return the name of a message in the schema."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", kind.__name__).lower()


def drawn() -> str:
    """Return the transitions between states in the syntax of Mermaid."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for steps in (HOST_STEPS, GUEST_STEPS):
        for state, messages in steps.items():
            for kind, following in messages.items():
                if following is not state:
                    arrows.setdefault((state, following), []).append(name_of(kind))
    lines = [
        f"    {state.name} --> {following.name}: {', '.join(names)}\n"
        for (state, following), names in arrows.items()
    ]
    return f"```mermaid\nstateDiagram-v2\n    [*] --> {State.NEW.name}\n{''.join(lines)}```\n"


def test_the_picture_is_drawn_from_the_tables() -> None:
    text = DOCUMENT.read_text()
    picture = text[text.index("```mermaid") :].partition("```\n")
    assert picture[0] + picture[1] == drawn()


@pytest.mark.parametrize(("sender", "steps"), [("host", HOST_STEPS), ("guest", GUEST_STEPS)])
def test_every_message_of_a_side_has_its_place_and_no_other_has(sender: str, steps: Steps) -> None:
    schema = read_schema(ROOT / "protocol" / "sandboxd.toml")
    names = {name_of(kind) for messages in steps.values() for kind in messages}
    assert names == {each.name for each in schema.messages if each.sender == sender}
    assert set(steps) == set(State)
