"""Tests that hostile commands in a real guest disturb neither other commands nor the host."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from subprocess import PIPE

import pytest
import pytest_asyncio
from tests.support.polling import DEADLINE
from tests.vm.conftest import processes

from microvm import Busy, ExecTimeout, MemoryLimit, MicroVM, Process, StreamError
from microvm.constants import MAX_COMMANDS
from microvm.images import Image
from microvm.wire import streams

pytestmark = pytest.mark.thorough

MIB = 1 << 20
FORKS = "while :; do /bin/true; done"
FLOODS = f"yes & yes >&2 & {FORKS}"
"""A shell script that writes to both output streams without end, and forks for ever."""

ECHO, FLOOD, STALL = 7000, 7001, 7002
SERVERS = f"""nc -lk -p {ECHO} -e cat >/dev/null 2>&1 &
nc -lk -p {FLOOD} -e yes >/dev/null 2>&1 &
nc -lk -p {STALL} -e sleep 1000 >/dev/null 2>&1 &
while [ "$(netstat -ltn | grep -c :700)" -lt 3 ]; do :; done"""
"""A shell script that starts three servers: one echoes, one sends without end, one does nothing."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def wide(image: Image) -> AsyncIterator[MicroVM]:
    """A machine that permits the maximum number of commands at once, 64."""
    async with MicroVM(image, commands=MAX_COMMANDS) as vm:
        yield vm


async def discard(process: Process) -> None:
    """Read all output of a command."""

    async def read(stream: AsyncIterator[bytes]) -> None:
        async for _ in stream:
            pass

    await asyncio.gather(read(process.stdout), read(process.stderr))


async def answers(vm: MicroVM) -> None:
    """Check that a new command and a new connection to the server `ECHO` still work."""
    assert (await vm.run(["echo", "alive"])).stdout == b"alive\n"
    reader, writer = await vm.connect(ECHO)
    await echoes(reader, writer)


async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"through")
    writer.write_eof()
    assert await reader.read() == b"through"
    writer.close()
    await writer.wait_closed()


async def test_floods_of_all_commands_delay_no_ping_and_no_kill(wide: MicroVM) -> None:
    """The host reads the output of only half of the commands."""
    async with AsyncExitStack() as stack:
        floods = [
            await stack.enter_async_context(await wide.exec(["sh", "-c", FLOODS], max_processes=8))
            for _ in range(MAX_COMMANDS)
        ]
        readers = [asyncio.create_task(discard(flood)) for flood in floods[::2]]
        await wide.ping()
        with pytest.raises(Busy, match="64 commands"):
            await wide.run(["true"])
        for flood in floods[::8]:
            flood.kill()
            assert await flood.wait() == -signal.SIGKILL
            await wide.ping()
            assert (await wide.run(["echo", "in its place"])).stdout == b"in its place\n"
        for flood in floods:
            flood.kill()
        assert {await flood.wait() for flood in floods} == {-signal.SIGKILL}
        await asyncio.gather(*readers)
    async with asyncio.timeout(DEADLINE):
        while await processes(wide, "yes"):
            pass  # the daemon has yet to reap the last processes


async def test_limits_apply_to_one_command_of_several(wide: MicroVM) -> None:
    others = [await wide.exec(["cat"], stdin=PIPE) for _ in range(3)]
    hoards = "dd if=/dev/zero bs=30M count=1 | wc -c"
    forks = "while sleep 1000 & do :; done"
    hoard, fork, late = await asyncio.gather(
        wide.run(["sh", "-c", hoards], max_memory=20 * MIB),
        wide.run(["sh", "-c", forks], max_processes=8),
        wide.run(["sh", "-c", FORKS], timeout=1),
        return_exceptions=True,
    )
    assert isinstance(hoard, MemoryLimit)
    assert isinstance(late, ExecTimeout)
    assert not isinstance(fork, BaseException)
    assert b"can't fork" in fork.stderr
    for number, other in enumerate(others):
        assert await other.communicate(b"%d" % number) == (b"%d" % number, b"")
        assert other.returncode == 0


@pytest.mark.parametrize("script", ["exit 3", "cat /dev/urandom"])
async def test_program_that_root_replaces_ends_only_its_streams(image: Image, script: str) -> None:
    replace = f"printf '#!/bin/sh\n{script}\n' >{streams.PROGRAM}"
    async with MicroVM(image, commands=2) as vm:
        await vm.run(["sh", "-c", replace], check=True)
        for _ in range(2):
            with pytest.raises(StreamError, match="connections to the guest failed"):
                await vm.connect(ECHO)
            assert (await vm.run(["echo", "alive"])).stdout == b"alive\n"


async def test_program_whose_output_root_writes_ends_only_its_streams(wide: MicroVM) -> None:
    await wide.run(["sh", "-c", SERVERS], check=True)
    reader, writer = await wide.connect(ECHO)
    other = await wide.exec(["cat"], stdin=PIPE)
    await wide.run(["sh", "-c", "echo garbage garbage >/proc/$(pgrep -x relay)/fd/1"], check=True)
    with pytest.raises(StreamError, match="connections to the guest failed"):
        await reader.read()
    writer.close()
    await answers(wide)
    assert await other.communicate(b"alive") == (b"alive", b"")
    await wide.run(["pkill", "nc"], check=True)


async def test_clients_that_flood_or_stall_delay_no_other_client(wide: MicroVM) -> None:
    await wide.run(["sh", "-c", SERVERS], check=True)
    async with (
        await wide.forward(0, FLOOD) as flood,
        await wide.forward(0, STALL) as stall,
        await wide.forward(0, ECHO) as echo,
    ):
        stalled = [await asyncio.open_connection(*flood.address) for _ in range(8)]
        flooding = [await asyncio.open_connection(*stall.address) for _ in range(8)]
        for _, writer in flooding:
            writer.write(bytes(32 * MIB))
        for _ in range(10):
            await echoes(*await asyncio.open_connection(*echo.address))
            await answers(wide)
        for _, writer in (*stalled, *flooding):
            writer.transport.abort()
    await wide.run(["pkill", "nc"], check=True)
