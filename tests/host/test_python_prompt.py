"""Tests of the parts of `microvm python` that need no machine."""

from __future__ import annotations

import builtins
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from microvm.cli.python import completion, missing_module, program, prompt, standard_input
from microvm.cli.python.standard_input import StandardInput
from microvm.errors import ExecTimeout, MicroVMError


class Answering:
    """A console whose guest answers each completion with the same text, or an error."""

    def __init__(self, answer: str | MicroVMError) -> None:
        self.answer = answer
        self.codes: list[str] = []

    def evaluate(self, code: str, **_: object) -> str:
        self.codes.append(code)
        if isinstance(self.answer, MicroVMError):
            raise self.answer
        return self.answer


def complete(answer: str | MicroVMError, word: str) -> list[str]:
    return completion.complete(Answering(answer), word)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("os.path\nos.pardir\n", ["os.path", "os.pardir"]),
        ("os.path\nos.path", ["os.path"]),
        ("os.pa\x1b]0;title\x07\nos.path()\nos.p rm\nsys.path\n\nos.pä", ["os.pä"]),
        (ExecTimeout("cell", 2), []),
    ],
)
def test_only_names_that_continue_the_word_are_completions(
    answer: str | MicroVMError, found: list[str]
) -> None:
    assert complete(answer, "os.p") == found


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("value.rea", {"value.real"}),
        ("impo", {"import"}),
        ("isins", {"isinstance"}),
        ("value.__ad", {"value.__add__"}),
        ("val", {"value"}),
    ],
)
def test_guest_completes_variables_and_attributes(word: str, found: set[str]) -> None:
    console = Answering("")
    completion.complete(console, word)  # type: ignore[arg-type]
    shown: list[str] = []
    known = {**vars(builtins), "display": shown.append}
    exec(console.codes[0], {"value": 7, "__builtins__": known})  # noqa: S102 - as the guest does
    assert set(shown[0].split("\n")) == found


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str | type[BaseException]]]:
    """The lines that the user types, or exceptions of keys, until the end of file."""
    lines: list[str | type[BaseException]] = []

    def answer(_: str) -> str:
        line = lines.pop(0) if lines else EOFError
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", answer)
    yield lines
    assert lines == []


@pytest.mark.parametrize(
    ("lines", "cells"),
    [
        (["1", "", "x = (", "2)"], ["1", "x = (\n2)"]),
        (["if x:", "  y", "", "z"], ["if x:\n  y\n", "z"]),
        (["def f(:"], ["def f(:"]),
        (["if x:", KeyboardInterrupt, "1"], ["1"]),
        (["async for x in y:", "  await x", ""], ["async for x in y:\n  await x\n"]),
        (["a = 1\nfor x in y:\n  z"], ["a = 1\nfor x in y:\n  z"]),
        (["x\0"], ["x\0"]),
        (["'\udcff'"], ["'?'"]),
        (["(" * 5000], ["(" * 5000]),
    ],
)
def test_cell_is_complete_as_at_the_prompt_of_python(
    typed: list[str | type[BaseException]],
    lines: list[str | type[BaseException]],
    cells: list[str],
) -> None:
    typed.extend(lines)
    assert list(prompt.cells()) == cells


def run(source: bytes, *, is_file: bool = False) -> tuple[int, str, str]:
    """Execute the cell of a program in a Python process, as the guest does."""
    given = program.Program(source, "name.py", ["name.py", "a"], is_file)
    code = program.cell_of(given, StandardInput())
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("source", "status", "last"),
    [
        (b"import sys; sys.exit(5)", 5, ""),
        (b"raise SystemExit('text')", 1, "text"),
        (b"raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
        (b"# -*- coding: latin-1 -*-\nassert '\xe4' == chr(228)", 0, ""),
        (b"import sys; sys.excepthook = lambda *_: print('own', file=sys.stderr); x", 1, "own"),
    ],
)
def test_program_ends_as_under_python(source: bytes, status: int, last: str) -> None:
    returncode, _, stderr = run(source)
    assert (returncode, (stderr.splitlines() or [""])[-1]) == (status, last)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("one", "one.py"),
        ("two.sub", "two"),
        ("three", ""),
        ("../one", ""),
        ("fö", "fö.py"),
        ("a" * 300, ""),
    ],
)
def test_hint_names_the_module_beside_a_program(tmp_path: Path, name: str, found: str) -> None:
    for file in ("one.py", "fö.py", "two/sub.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    error = "".join(
        f"Traceback\nModuleNotFoundError: No module named '{each}'\n" for each in ("one", name)
    )
    hint = missing_module.hint(b"\xff" + error.encode(), tmp_path)
    assert hint.endswith(
        f"copy it with --copy {shlex.quote(str(tmp_path / found))}" if found else ""
    )
    assert bool(hint) == bool(found)


def test_reads_of_a_program_are_answered_with_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    given = StandardInput()
    reader, writer = os.pipe()
    monkeypatch.setattr(standard_input, "_STDIN", reader)
    os.write(writer, bytes(range(256)))
    prompt = f"{given.secret} 200"
    assert given.is_meant(prompt)
    assert not any(map(given.is_meant, ("", given.secret, f"{prompt}\n", f"x{prompt}")))
    assert given.read(prompt).encode("latin-1") == bytes(range(200))
    assert given.read(f"{given.secret} {10**8}").encode("latin-1") == bytes(range(200, 256))
    os.close(writer)
    with pytest.raises(EOFError):
        given.read(prompt)
    os.close(reader)
    with pytest.raises(EOFError):
        given.read(prompt)
