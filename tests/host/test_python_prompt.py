"""Tests of the parts of `microvm python` that need no machine."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock, patch

import pytest
from click.testing import CliRunner

from microvm.cli.python import completion, missing_module, program, prompt, standard_input
from microvm.cli.python.console import PythonConsole
from microvm.cli.python.pictures import Pictures
from microvm.cli.python.standard_input import StandardInput
from microvm.cli.root import cli
from microvm.cli.verbs.python import _split
from microvm.errors import ExecTimeout, MicroVMError
from microvm.interpreter.cell import Display


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


@pytest.mark.parametrize("word", ["", "f().x", "1.real", "x[0].y", "'a'.u", "a..b"])
def test_word_that_is_no_name_is_not_evaluated(word: str) -> None:
    console = Answering("x")
    assert completion.complete(console, word) == []  # type: ignore[arg-type]
    assert console.codes == []


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


def test_completion_kills_nothing_before_the_user_asks_for_it() -> None:
    console = PythonConsole(Mock(), Mock())
    with patch.object(console, "_runner") as runner:
        runner.run.return_value.dropped = 0
        console.run("cell")
        console.evaluate("completion", timeout=2, max_output=1)
    graces = {call.args[2].grace for call in runner.run.call_args_list}
    assert (runner.run.call_count, len(graces)) == (2, 1)


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


def test_traceback_of_a_program_begins_with_its_first_frame() -> None:
    returncode, stdout, stderr = run(b"print(__file__)\n1 / 0", is_file=True)
    assert (returncode, stdout) == (1, "name.py\n")
    assert stderr.splitlines()[1:3] == ['  File "name.py", line 2, in <module>', "    1 / 0"]


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


def test_packages_are_split_at_commas_between_names() -> None:
    context = None
    given = "numpy, pandas>=2,<3 ,scipy[a, b]>1,dask[c,d]"
    split = _split(context, context, given)  # type: ignore[arg-type]
    assert split == ("numpy", "pandas>=2,<3", "scipy[a, b]>1", "dask[c,d]")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nonexistent/file.py"], "/nonexistent/file.py: No such file or directory"),
        (["--from", "x", "--image", "y"], "leave out --image"),
        (["--from", "x", "--packages", "y"], "leave out --packages or --from"),
        (["--from", "x", "--imports", "y"], "leave out --imports or --from"),
    ],
)
def test_wrong_usage_is_refused(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, ["python", *arguments])
    assert done.exit_code == 2
    assert said in done.output


def test_best_picture_of_a_display_is_saved(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path / "new/folder")
    with contextlib.redirect_stderr(io.StringIO()):
        pictures.take(Display({"image/svg+xml": b"<svg>", "image/png": b"1", "text/html": b"2"}))
        pictures.take(Display({"text/html": b"2"}))
        pictures.take(Display({"image/svg+xml": b"<svg>"}))
    saved = {each.name: each.read_bytes() for each in (tmp_path / "new/folder").iterdir()}
    assert saved == {"1.png": b"1", "2.svg": b"<svg>"}
    (tmp_path / "file").write_text("")
    with pytest.raises(MicroVMError, match="cannot save a picture"):
        Pictures(tmp_path / "file").take(Display({"image/png": b"1"}))
