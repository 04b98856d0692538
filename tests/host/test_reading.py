"""Tests of reading lines, up to a separator, and an exact number of bytes, with limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.support.peer import SOON, Peer, arrives

from microvm.errors import GuestDied, IncompleteRead, ReadLimit, ReadTimeout, UsageError
from microvm.guest.guest import Guest
from microvm.guest.process import Process
from microvm.guest.streams import OutputStream
from microvm.wire.codec import Stream
from microvm.wire.session import WINDOW

Read = Callable[[OutputStream], Coroutine[Any, Any, bytes]]

READS: dict[str, Read] = {
    "line": lambda s: s.readline(),
    "until": lambda s: s.readuntil(b"; "),
    "exactly": lambda s: s.readexactly(100),
    "all": lambda s: s.read(),
}
"""Reads that still wait if the output is only `first, second`."""


@pytest.fixture
async def process(guest: Guest, peer: Peer) -> Process:
    """A command that runs, and whose output the peer writes."""
    return await peer.started(guest.exec(["cat"]))


async def written(peer: Peer, process: Process, data: bytes) -> OutputStream:
    """Write data to the standard output. Return its stream when all data have arrived."""
    await peer.write(Stream.STDOUT, data)
    await arrives(process.stdout, len(data))
    return process.stdout


@pytest.mark.parametrize("piece", [1, 2, 3, 100])
async def test_a_separator_is_found_across_chunks(process: Process, peer: Peer, piece: int) -> None:
    content = b"a\r\n\r\r\nbc--end\r\n"
    reading = asyncio.create_task(process.stdout.readuntil(b"\r\n"))
    for at in range(0, len(content), piece):
        await peer.write(Stream.STDOUT, content[at : at + piece])
        await asyncio.sleep(0.001)
    await peer.exit(0)
    assert await reading == b"a\r\n"
    assert await process.stdout.readuntil(b"\r\r\n") == b"\r\r\n"
    assert await process.stdout.readuntil((b"\r\n", b"--", b"-end")) == b"bc--"
    assert not process.stdout.at_eof()
    assert await process.stdout.readuntil() == b"end\r\n"
    assert await process.stdout.readline() == b""
    assert process.stdout.at_eof()


async def test_the_limit_includes_the_separator(process: Process, peer: Peer) -> None:
    stream = await written(peer, process, b"four;" * 3)
    for read in (stream.readuntil(b";", limit=4), stream.readuntil((b"!", b"r;"), limit=4)):
        with pytest.raises(ReadLimit):
            await read
    assert await stream.readuntil(b";", limit=5) == b"four;"
    assert await stream.readuntil(b";", limit="1K") == b"four;"
    for _ in range(2):
        with pytest.raises(ReadLimit) as caught:
            await stream.readline(limit=4)
    assert caught.value.limit == 4
    assert str(caught.value).startswith(r"standard output of cat: b'\n' is not in the next 4 bytes")
    assert await stream.read(5) == b"four;"


async def test_a_flood_without_a_separator_loses_nothing(
    process: Process, peer: Peer, memory: Callable[[], int]
) -> None:
    content = bytes(range(11, 251)) * (6 * WINDOW // 240)
    writing = asyncio.create_task(peer.write(Stream.STDOUT, content))
    for _ in range(10):
        with pytest.raises(ReadLimit):
            await process.stdout.readline()
        # Only the first reads, up to the limit, give the guest credit. So the peer has to wait.
        await asyncio.sleep(0.01)
    assert not writing.done()
    assert memory() - len(content) < 3 * WINDOW
    read = b""
    while len(read) < len(content):
        read += await process.stdout.read(WINDOW)
    assert read == content
    await writing


@pytest.mark.parametrize("read", READS.values(), ids=READS)
async def test_a_time_out_or_a_cancellation_loses_nothing(
    process: Process, peer: Peer, read: Read
) -> None:
    stream = process.stdout
    for piece in (b"fir", b"st, ", b"second"):
        await written(peer, process, piece)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read(stream), SOON)
    for late in (stream.readline, stream.readuntil, stream.read):
        with pytest.raises(ReadTimeout):
            await late(timeout=SOON)
    with pytest.raises(ReadTimeout):
        await stream.readexactly(14, timeout="1ms")
    await peer.write(Stream.STDOUT, b"\nx")
    assert await stream.readline(timeout=60) == b"first, second\n"
    assert await stream.read(9, timeout=60) == b"x"


async def test_output_that_arrives_with_the_time_out_is_kept(process: Process) -> None:
    """The reader is cancelled after output has arrived, but before the reader has run again."""
    reading = asyncio.create_task(process.stdout.read(100))
    await asyncio.sleep(0)
    process.stdout._buffer.feed(b"x")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await process.stdout.read(100, timeout=60) == b"x"


async def test_the_end_of_the_output_gives_the_rest(process: Process, peer: Peer) -> None:
    stream = await written(peer, process, b"rest")
    await peer.exit(0)
    await process.wait()
    with pytest.raises(IncompleteRead, match=r"ended before b'\\n'; .* b'rest'") as caught:
        await stream.readuntil()
    assert (caught.value.partial, caught.value.expected) == (b"rest", None)
    with pytest.raises(EOFError) as again:
        await stream.readexactly(1)
    assert isinstance(again.value, IncompleteRead)
    assert (again.value.partial, again.value.expected) == (b"", 1)
    assert await stream.readexactly(0) == b""
    assert stream.at_eof()


async def test_a_loss_of_the_machine_leaves_the_output(process: Process, peer: Peer) -> None:
    stream = await written(peer, process, b"half")
    peer.port.close()
    for read in (stream.readuntil(), stream.readexactly(5), stream.readuntil(b"lf-")):
        with pytest.raises(GuestDied):
            await read
    assert not stream.at_eof()
    assert await stream.readline() == b"half"
    with pytest.raises(GuestDied):
        await stream.readline()
    assert not stream.at_eof()


async def test_several_tasks_read_whole_lines(process: Process, peer: Peer) -> None:
    lines = [b"%d %s\n" % (number, b"x" * number) for number in range(50)]
    reading = [asyncio.create_task(process.stdout.readline()) for _ in lines]
    exact = asyncio.create_task(process.stdout.readexactly(4))
    for at in range(0, len(content := b"".join(lines) + b"last"), 7):
        await peer.write(Stream.STDOUT, content[at : at + 7])
        await asyncio.sleep(0)
    assert await asyncio.gather(*reading) == lines
    assert await exact == b"last"


@pytest.mark.parametrize(
    "read",
    [
        lambda s: s.readuntil(b""),
        lambda s: s.readuntil(()),
        lambda s: s.readuntil((b"a", b"")),
        lambda s: s.readuntil(b"a", limit=-1),
        lambda s: s.readline(limit="x"),
        lambda s: s.readline(timeout=0),
        lambda s: s.readexactly(-1),
    ],
)
async def test_a_read_that_cannot_succeed_is_refused(process: Process, read: Read) -> None:
    with pytest.raises(UsageError):
        await read(process.stdout)
