"""Tests of the limits of a program that `microvm python` runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from microvm.cli.python.limits import ENDLESS, ProgramLimits
from microvm.errors import ExecTimeout, OutputLimit
from microvm.interpreter.escalation import Escalation


class Messages:
    """The session of an interpreter, whose messages are the names of the steps."""

    interrupt: Callable[[], bytes] = staticmethod(lambda: b"interrupt")
    kill_started: Callable[[], bytes] = staticmethod(lambda: b"kill_started")
    kill: Callable[[], bytes] = staticmethod(lambda: b"kill")


def test_output_of_all_cells_counts() -> None:
    limits = ProgramLimits(max_output=5)
    assert limits.count(b"abc") == b"abc"
    limits.check("program")
    assert (limits.count(b"defg"), limits.count(b"h")) == (b"de", b"")
    with pytest.raises(OutputLimit, match="program: wrote more than 5 bytes"):
        limits.check("program")


def test_later_cell_has_only_the_time_that_is_left() -> None:
    limits = ProgramLimits(timeout=10)
    limits.begin()
    first = limits.of_cell().timeout or 0
    assert 0 <= (limits.of_cell().timeout or 0) <= first <= 10
    limits.check("program")
    limits.timed_out = True
    with pytest.raises(ExecTimeout, match="program: timed out after 10 s"):
        limits.check("program")


@pytest.mark.parametrize("begun", ["", "begin", "kill"])
async def test_time_limit_kills_also_after_an_interrupt(begun: str) -> None:
    """After Ctrl-C, microvm waits for a second Ctrl-C without end, but not at the time limit."""
    sent: list[bytes] = []
    killed = asyncio.Event()

    def send(message: bytes) -> None:
        sent.append(message)
        if message == b"kill":
            killed.set()

    escalation = Escalation(
        Messages(),  # type: ignore[arg-type]
        send,
        lambda: False,
        lambda: None,
        ENDLESS,
    )
    if begun:
        getattr(escalation, begun)()
    escalation.limit(0.01, 0.0)
    async with asyncio.timeout(10):
        await killed.wait()
    escalation.end()
    assert escalation.timed_out
    assert [each for each in sent if each != b"interrupt"] == [b"kill_started", b"kill"]
