"""Tests of the names in the project's own code."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LONGEST = 60
"""Maximum number of characters in the name of a test."""

REPEATED = (
    "host/microvm/wire/codec.py",  # generated, as are the next three: all contain the same classes
    "host/microvm/wire/files.py",
    "host/microvm/wire/streams.py",
    "host/microvm/wire/interpreter.py",
    "host/microvm/sync/",  # each class has the name of the asynchronous class that it mirrors
    "host/microvm/testing/recorded.py",  # its MicroVM takes the place of the usual one in tests
    "fuzz/transfers.py",  # is generated, as the next two, with the classes of `fuzz/messages.py`
    "fuzz/streams.py",
    "fuzz/interpreter.py",
    "tests/support/document/",  # implements the specification again, with the terms of the schema
    "tests/host/test_error_json.py",  # an error of another module, with a name that we use, too
)
"""The files whose classes may have the name of another class, with the reason."""

_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def test_names_of_tests_are_short() -> None:
    names = [name for folder in ("tests", "fuzz", "examples") for name in _tests(ROOT / folder)]
    assert len(names) > 1000
    assert [name for name in names if len(name) > LONGEST] == []


@pytest.mark.thorough
def test_name_of_a_class_occurs_once() -> None:
    files: defaultdict[str, list[str]] = defaultdict(list)
    for folder in ("host", "image", "codegen", "fuzz", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            if not name.startswith(REPEATED):
                nodes = ast.walk(ast.parse(path.read_text()))
                for each in (node for node in nodes if isinstance(node, ast.ClassDef)):
                    files[each.name].append(name)
    assert len(files) > 300
    public = {name: found for name, found in files.items() if not name.startswith("_")}
    assert {name: found for name, found in public.items() if len(found) > 1} == {}


def _tests(folder: Path) -> Iterator[str]:
    """Yield the names of the tests in a folder."""
    for path in folder.rglob("test_*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        functions = (each for each in nodes if isinstance(each, _FUNCTIONS))
        yield from (each.name for each in functions if each.name.startswith("test_"))
