"""Tests of the classes and the texts of errors."""

from __future__ import annotations

import os
import subprocess
from errno import EACCES, ENOENT, ENOEXEC, ENOTDIR

import pytest

from microvm import errors
from microvm.errors import ExecTimeout, MicroVMError, StartError

PYTHON = (FileNotFoundError, PermissionError, NotADirectoryError)


@pytest.mark.parametrize("stage", ["lookup", "exec"])
@pytest.mark.parametrize("line", ["echo hello", "ls|wc", "echo $HOME", "/bin/echo a:b"])
def test_a_command_line_as_one_word_is_for_a_shell(line: str, stage: str) -> None:
    error = StartError(stage, 2, line)
    assert error.hint == f"to run a command line, use a shell: sh -c '{line}'"
    assert StartError(stage, 13, line).hint == ""


def test_foreign_text_in_errors_is_safe_to_print() -> None:
    error = MicroVMError("a\x1b[31m\nb\u202e \udcff é", hint="\x07\t")
    assert error.message == r"a\x1b[31m\nb\u202e \xff é"
    assert str(error) == rf"{error.message} (\x07\t)"
    assert error.args == (error.message,)


def test_the_hierarchy_is_drawn_whole() -> None:
    kinds = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, MicroVMError)
    }
    assert errors.__doc__ is not None
    assert kinds == {word for word in errors.__doc__.split() if word in vars(errors)}


def test_exec_timeout_is_one_of_subprocess() -> None:
    error = ExecTimeout("sleep", 2, ["sleep", "9"])
    error.stdout = b"out"
    assert isinstance(error, TimeoutError)
    assert isinstance(error, subprocess.TimeoutExpired)
    assert (error.cmd, error.timeout, error.output) == (["sleep", "9"], 2, b"out")
    assert (
        repr(error) == f"ExecTimeout({str(error)!r})" == "ExecTimeout('sleep: timed out after 2 s')"
    )


@pytest.mark.parametrize(
    ("stage", "number", "filename", "kind"),
    [
        ("lookup", ENOENT, "make", FileNotFoundError),
        ("chdir", ENOENT, "/src", FileNotFoundError),
        ("exec", EACCES, "make", PermissionError),
        ("chdir", ENOTDIR, "/src", NotADirectoryError),
        ("exec", ENOEXEC, "make", OSError),
        ("user", ENOENT, "make", OSError),
    ],
)
def test_start_error_is_an_error_of_python(
    stage: str, number: int, filename: str, kind: type[OSError]
) -> None:
    error = StartError.of(stage, number, "make", "/src")
    assert (error.errno, error.strerror, error.filename) == (number, os.strerror(number), filename)
    assert [each for each in PYTHON if isinstance(error, each)] == [kind] * (kind is not OSError)
