"""Tests of the exit status of `microvm python` after the death of the interpreter."""

from __future__ import annotations

import pytest

from microvm.cli.python.session import _status_of
from microvm.errors import InterpreterDied
from microvm.interpreter.connection import Cause, died


@pytest.mark.parametrize(
    ("cause", "status", "expected"),
    [("exited", 3, 3), ("signal", 15, 143), ("memory", 9, 137), ("killed", 9, 137)],
)
def test_death_has_an_exit_status(cause: Cause, status: int, expected: int) -> None:
    assert _status_of(died(cause, "has died", status), "") == expected


@pytest.mark.parametrize("cause", ["broken", "lost"])
def test_other_deaths_are_errors_with_a_hint(cause: Cause) -> None:
    with pytest.raises(InterpreterDied) as caught:
        _status_of(died(cause, "has died"), "use a snapshot of an interpreter")
    assert caught.value.hint == "use a snapshot of an interpreter"
