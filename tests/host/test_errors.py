"""Tests of errors that are sent to another process."""

from __future__ import annotations

import pickle

import pytest

import microvm
from microvm import errors
from microvm.errors import (
    ExecTimeout,
    GuestDied,
    MemoryLimit,
    MicroVMError,
    OutputLimit,
    ProtocolError,
    StartError,
    UsageError,
)


@pytest.mark.parametrize(
    "error",
    [
        UsageError("a", hint="b"),
        StartError("lookup", 2, "c"),
        ExecTimeout("a", 1.5),
        OutputLimit("a", 7),
        MemoryLimit("a", 7),
        GuestDied("x", detail="y"),
        ProtocolError("z"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_can_be_pickled(error: MicroVMError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))
    assert again.args == error.args


@pytest.mark.parametrize("stage", ["lookup", "exec"])
@pytest.mark.parametrize("line", ["echo hello", "ls|wc", "echo $HOME", "/bin/echo a:b"])
def test_a_command_line_as_one_word_is_for_a_shell(line: str, stage: str) -> None:
    error = StartError(stage, 2, line)
    assert error.hint == f"to run a command line, use a shell: sh -c '{line}'"
    assert StartError(stage, 13, line).hint == ""


def test_a_command_of_one_word_is_for_no_shell() -> None:
    assert StartError("lookup", 2, "c").hint == ""


def test_what_others_wrote_is_safe_to_print() -> None:
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


def test_every_name_that_the_package_offers_is_there() -> None:
    for name in microvm.__all__:
        assert getattr(microvm, name) is not None
