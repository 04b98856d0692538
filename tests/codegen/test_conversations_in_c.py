"""Test that the C functions of conversations agree with the tables of the schema."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from microvm_proto.diagnostics import SchemaError
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema
from microvm_proto.states import Conversation

from .common import FILES, LETTERS, SANDBOXD, STREAMS, Generated, Read

IGNORED = 255
WARNINGS = "-std=c11 -Wall -Wextra -Wconversion -Werror -fsanitize=undefined".split()


def following(
    talk: Conversation, state: int, sender: str, message: str, holding: frozenset[str]
) -> int:
    """Return what docs/schema.md says about a message: a state's number, 0 or IGNORED."""
    if not 1 <= state <= len(talk.states):
        return 0
    now = talk.states[state - 1]
    steps = [step for step in now.steps if (step.message, step.sender) == (message, sender)]
    numbers = {each.name: number for number, each in enumerate(talk.states, 1)}
    for step in steps:
        if step.condition and step.condition in holding:
            return numbers[step.following]
    for step in steps:
        if not step.condition:
            return numbers[step.following]
    return IGNORED if now.ignores(message, sender) else 0


def cases(schema: Schema) -> Iterator[tuple[str, int]]:
    """Yield a C expression for each case, and its value according to the schema."""
    senders = [
        (end, f"{schema.name}_{end}".upper(), message)
        for end in schema.ends
        for message in schema.messages
    ]
    for talk in schema.conversations:
        names = [each.name for each in talk.conditions]
        bits = {name: f"{schema.name}_{talk.name}_condition_{name}".upper() for name in names}
        sets = [*map(frozenset, itertools.combinations(names, 2)), *map(frozenset, zip(names))]
        for state, (end, sender, message) in itertools.product(
            range(len(talk.states) + 2), senders
        ):
            for holding in [frozenset[str](), frozenset(names), *sets]:
                passed = " | ".join(bits[name] for name in sorted(holding)) or "0"
                sent = message.sender in (end, "both")
                arguments = f"{state}, {sender}, {message.number}, {passed}"
                yield (
                    f"{schema.name}_follow_{talk.name}({arguments})",
                    following(talk, state, end, message.name, holding) if sent else 0,
                )
        for state, end in itertools.product(range(len(talk.states) + 2), schema.ends):
            if any(each.ids for each in talk.states):
                ids = talk.states[state - 1].ids if 1 <= state <= len(talk.states) else ()
                call = f"{schema.name}_allows_ids({state}, {schema.name.upper()}_{end.upper()})"
                yield call, end in ids


@pytest.mark.thorough
@pytest.mark.parametrize("style", ["protocol.h", "table.h"])
@pytest.mark.parametrize("path", [SANDBOXD, FILES, STREAMS, LETTERS], ids=lambda path: path.stem)
def test_functions_agree_with_the_tables(
    path: Path, style: str, generated: Generated, tmp_path: Path
) -> None:
    expected = dict(cases(read_schema(path)))
    calls = "".join(f'\tprintf("%d\\n", {call});\n' for call in expected)
    main = f'#include <stdio.h>\n#include "{style}"\n\nint main(void)\n{{\n{calls}}}\n'
    (tmp_path / "main.c").write_text(main)
    command = ["gcc", *WARNINGS, f"-I{generated(path)}", "-o", "main", "main.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "main"], stdout=subprocess.PIPE, text=True, check=True)
    assert dict(zip(expected, map(int, said.stdout.split()), strict=True)) == expected
    assert {0, 2, 3, IGNORED} <= set(expected.values())


CLASH = """
[[enum]]
name = "{}"
type = "u8"
closed = false
value = [{{ name = "{}", number = 1 }}]
"""
LATE = '[[conversation.condition]]\nname = "late"\n'
CONDITIONS = "".join(LATE.replace("late", f"number_{number}") for number in range(32))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LETTERS.read_text() + CLASH.format("desk_state", "one"), "already has a meaning in C"),
        (LETTERS.read_text() + CLASH.format("desk", "state_opened"), "`LETTERS_DESK_STATE_OPENED`"),
        (LETTERS.read_text().replace(LATE, LATE + CONDITIONS), "at most 32"),
    ],
    ids=["type", "constant", "conditions"],
)
def test_what_the_header_cannot_declare_is_refused(text: str, told: str, read: Read) -> None:
    with pytest.raises(SchemaError, match=told) as caught:
        read(text)
    assert len(caught.value.diagnostics) == 1


def test_requested_and_running_differ_only_for_the_guest() -> None:
    """guest/session.c treats a requested command like a running one."""
    (talk,) = (each for each in read_schema(SANDBOXD).conversations if each.per == "id")
    requested, running = (
        {
            (step.message, step.condition, step.following == state.name)
            for step in state.steps
            if step.sender == "host"
        }
        for state in talk.states
        if state.name in ("requested", "running")
    )
    assert requested == running
