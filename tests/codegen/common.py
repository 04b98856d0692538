"""The schemas that the tests of the generator use, and the types of their fixtures."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import Result
from tests.support.captured import captured

from microvm_proto.faults import FAULTS
from microvm_proto.schema import Schema

ROOT = Path(__file__).parents[2]
FIXTURES = Path(__file__).with_name("fixtures")
FOLDER = Path(__file__).with_name("schemas")
SANDBOXD = ROOT / "protocol/sandboxd.toml"
FILES = ROOT / "protocol/files.toml"
STREAMS = ROOT / "protocol/streams.toml"
INTERPRETER = ROOT / "protocol/interpreter.toml"
EVERYTHING = FOLDER / "everything.toml"
TYPES = FOLDER / "types.toml"
GROWN = FOLDER / "grown.toml"
LETTERS = FOLDER / "letters.toml"
SHORT_PREFIX = FOLDER / "short_prefix.toml"
SCHEMAS = [*sorted(FOLDER.glob("*.toml")), SANDBOXD, FILES, STREAMS, INTERPRETER]
CODES = {fault.name: fault.number for fault in FAULTS}

MYPY = "mypy --strict --warn-unreachable --config-file= --cache-dir=/dev/null".split()

# The types of the fixtures `run`, `load`, `generated`, `read` and `framed`.
Run = Callable[..., Result]
Load = Callable[[Path], ModuleType]
Generated = Callable[[Path], Path]
Read = Callable[[str], Schema]

every_schema = pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)


def check_linters(*files: Path, types: bool = True) -> None:
    """Check that generated Python is as clean as code that is written by hand."""
    for tool in (
        ["ruff", "check", "--no-cache", "--config=pyproject.toml"],
        ["ruff", "format", "--no-cache", "--config=pyproject.toml", "--check"],
        *([MYPY] if types else []),
    ):
        command = [sys.executable, "-m", *tool, *map(str, files)]
        environment = os.environ | {"MYPYPATH": str(ROOT / "host")}
        checked = captured(command, cwd=ROOT, env=environment)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def schemas_in(folder: Path, base: str) -> dict[str, str]:
    """Return the texts of the schemas in a folder of fixtures, by their file names.

    Some are edits of the file `base`, in `edits.patch`. Each edit replaces lines that occur once.
    """
    found = {path.name: path.read_text(errors="surrogateescape") for path in folder.glob("*.toml")}
    for part in (folder / "edits.patch").read_text().split("--- ")[1:]:
        name, hunks = part.split("\n", 1)
        text = "\n" + found[base]
        for hunk in hunks.split("@@\n"):
            lines = hunk.splitlines()
            old, new = (
                "\n" + "".join(f"{line[1:]}\n" for line in lines if line[0] in f" {sign}")
                for sign in "-+"
            )
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        found[name] = text[1:]
    return found


def fixtures() -> dict[str, str]:
    """Return the texts of the schemas that break the rules of schemas."""
    return schemas_in(FIXTURES, "conversation.base.toml")


def breaking_schemas() -> dict[str, str]:
    """Return the texts of the schemas with changes, and of the released forms."""
    return schemas_in(FIXTURES / "breaking", "base.released.toml")


def failure(run: Run, *arguments: str | Path) -> str:
    """Return the error of a command that exits with status 1 and prints nothing else."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    return result.stderr
