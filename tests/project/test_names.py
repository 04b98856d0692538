"""Tests of the names in the project's own code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

LONGEST = 60
"""Maximum number of characters in the name of a test."""

_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def test_names_of_tests_are_short() -> None:
    names = [name for folder in ("tests", "fuzz", "examples") for name in _tests(ROOT / folder)]
    assert len(names) > 1000
    assert [name for name in names if len(name) > LONGEST] == []


def _tests(folder: Path) -> Iterator[str]:
    """Yield the names of the tests in a folder."""
    for path in folder.rglob("test_*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        functions = (each for each in nodes if isinstance(each, _FUNCTIONS))
        yield from (each.name for each in functions if each.name.startswith("test_"))
