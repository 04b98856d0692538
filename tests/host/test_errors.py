"""Tests of errors that are sent to another process."""

from __future__ import annotations

import pytest

from microvm import errors
from microvm.errors import ExecTimeout, MicroVMError, StartError


@pytest.mark.parametrize("stage", ["lookup", "exec"])
@pytest.mark.parametrize("line", ["echo hello", "ls|wc", "echo $HOME", "/bin/echo a:b"])
def test_a_command_line_as_one_word_is_for_a_shell(line: str, stage: str) -> None:
    error = StartError(stage, 2, line)
    assert error.hint == f"to run a command line, use a shell: sh -c '{line}'"
    assert StartError(stage, 13, line).hint == ""


def test_a_command_of_one_word_is_for_no_shell() -> None:
    assert StartError("lookup", 2, "c").hint == ""


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


def test_exec_timeout_is_a_timeout_error() -> None:
    with pytest.raises(TimeoutError, match="sleep: timed out after 2 s"):
        raise ExecTimeout("sleep", 2)
