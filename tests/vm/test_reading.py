"""Tests of programs that read the output of a command in pieces, and talk to its terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from signal import SIGKILL
from subprocess import PIPE

import pytest
import pytest_asyncio
from tests.support.dialog import hold_dialog
from tests.support.peer import SOON, TIMEOUT
from tests.vm.conftest import Command

from microvm import IncompleteRead, Machine, MicroVM, ReadTimeout
from microvm.wire.session import WINDOW


@pytest.fixture(scope="module")
def named(_runtime: None, microvm: Command) -> Iterator[str]:
    """The name of a running machine."""
    started = microvm("start", "talk")
    assert started.returncode == 0, started.stderr
    yield "talk"
    microvm("stop", "--all")


@pytest_asyncio.fixture(loop_scope="session", params=["own", "attached"])
async def machine(
    request: pytest.FixtureRequest, vm: MicroVM, named: str
) -> AsyncIterator[Machine]:
    """A machine of this process, or a named machine."""
    if request.param == "own":
        yield vm
    else:
        async with MicroVM.attach(named) as attached:
            yield attached


@pytest.mark.thorough
async def test_a_terminal_is_read_typed_into_and_resized(machine: Machine) -> None:
    await hold_dialog(machine)


async def test_a_late_line_is_not_lost(machine: Machine) -> None:
    script = "printf first; read x; echo ,$x; printf rest"
    async with await machine.exec(["sh", "-c", script], stdin=PIPE) as process:
        assert process.stdin is not None
        with pytest.raises(ReadTimeout):
            await process.stdout.readline(timeout=0.3)
        for read in (process.stdout.readline(), process.stdout.read()):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read, SOON)
        assert process.returncode is None
        process.stdin.write(b"second\n")
        assert await process.stdout.readline(timeout=TIMEOUT) == b"first,second\n"
        with pytest.raises(IncompleteRead) as caught:
            await process.stdout.readuntil(b"\n", timeout=TIMEOUT)
        assert caught.value.partial == b"rest"
        assert process.stdout.at_eof()
        assert await process.wait() == 0
        assert process.returncode == 0


async def test_unread_output_stalls_only_its_command(machine: Machine) -> None:
    script = "yes & echo started >&2; read x; echo got $x >&2; kill -9 $!; sleep 60"
    async with await machine.exec(["sh", "-c", script], stdin=PIPE) as process:
        assert process.stdin is not None
        assert await process.stderr.readline(timeout=TIMEOUT) == b"started\n"
        while len(process.stdout._buffer) < WINDOW:  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.01)
        await machine.ping()
        process.stdin.write(b"it\n")
        assert await process.stderr.readline(timeout=TIMEOUT) == b"got it\n"
        assert len(process.stdout._buffer) <= 2 * WINDOW
        process.kill()
    assert process.returncode == -SIGKILL
