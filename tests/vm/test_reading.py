"""Tests of programs that read the output of a command in pieces, and talk to its terminal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from signal import SIGKILL
from subprocess import PIPE

import pytest
import pytest_asyncio
from tests.support.dialog import PROMPT, hold_dialog
from tests.support.peer import SOON, TIMEOUT
from tests.vm.conftest import Command

from microvm import Image, IncompleteRead, Machine, MicroVM, ReadLimit, ReadTimeout, sync
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


@pytest.mark.thorough
async def test_a_flood_exceeds_the_limit_and_is_read(machine: Machine) -> None:
    size = 3 * WINDOW
    script = f"head -c {size} /dev/zero | tr '\\0' x; echo; echo after"
    async with await machine.exec(["sh", "-c", script]) as process:
        for limit in (1, "64K", WINDOW):
            with pytest.raises(ReadLimit):
                await process.stdout.readline(limit=limit, timeout=TIMEOUT)
        assert process.returncode is None
        assert await process.stdout.readexactly(size, timeout=TIMEOUT) == b"x" * size
        assert await process.stdout.readline() == b"\n"
        assert await process.stdout.readline() == b"after\n"
        assert await process.wait() == 0


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


def test_threads_read_type_and_resize(image: Image) -> None:
    """One thread reads the terminal, one waits for the exit, and this one types and resizes."""
    seen = threading.Event()

    def read() -> bytes:
        screen: bytes = process.stdout.readuntil(PROMPT, timeout=TIMEOUT)
        seen.set()
        screen += process.stdout.readuntil(b"31 91", timeout=TIMEOUT)
        return screen

    with sync.MicroVM(image) as vm, ThreadPoolExecutor(2) as threads:
        env = {"PS1": PROMPT.decode(), "TERM": "dumb"}
        with vm.exec(["sh"], tty=(24, 80), env=env) as process:
            reading, waiting = threads.submit(read), threads.submit(process.wait)
            assert seen.wait(TIMEOUT)
            assert process.stdin is not None
            process.resize(31, 91)
            process.stdin.write(b"stty size\n")
            assert reading.result(TIMEOUT).endswith(b"31 91")
            assert process.returncode is None
            process.stdin.write(b"exit 7\n")
            with pytest.raises(IncompleteRead):
                process.stdout.readuntil(b"no such text", timeout=TIMEOUT)
            assert process.stdout.at_eof()
            assert waiting.result(TIMEOUT) == 7
            assert process.returncode == 7
