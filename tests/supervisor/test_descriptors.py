"""Tests of the descriptors of clients, which are read or written, and otherwise left unchanged."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import socket
import sys
import time
from pathlib import Path

import pytest
from tests.support.polling import comes_true
from tests.support.processes import open_files

from microvm.concurrency.tasks import cancel
from microvm.supervisor.descriptors import PAUSE, ClientDescriptor

BIG = bytes(range(256)) * 4096


def _pair(kind: str) -> tuple[int, int]:
    """Return the read end and the write end of a kind of descriptor."""
    if kind == "pipe":
        return os.pipe()
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
async def test_all_data_arrives_and_the_flags_are_unchanged(kind: str) -> None:
    source, sink = _pair(kind)
    ours, theirs = os.dup(source), os.dup(sink)
    with (
        ClientDescriptor(ours, writes=False) as reads,
        ClientDescriptor(theirs, writes=True) as writes,
    ):

        async def write() -> None:
            await writes.write(BIG)
            writes.close()
            os.close(sink)

        writing = asyncio.create_task(write())
        got = bytearray()
        while data := await reads.read():
            got += data
        await writing
        assert got == BIG
        assert not fcntl.fcntl(source, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(source)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
async def test_writing_without_a_reader_is_a_broken_pipe(kind: str) -> None:
    source, sink = _pair(kind)
    with ClientDescriptor(sink, writes=True) as writes:
        os.close(source)
        with pytest.raises(BrokenPipeError):
            await writes.write(b"data")


@pytest.mark.parametrize("kind", ["pipe", "socket"])
async def test_a_client_that_never_reads_blocks_no_other(kind: str) -> None:
    source, sink = _pair(kind)
    with ClientDescriptor(sink, writes=True) as writes:
        writing = asyncio.create_task(writes.write(BIG))
        await asyncio.sleep(0)
        assert not writing.done()
        await cancel([writing])
    os.close(source)


def _silent(kind: str) -> int:
    """Return a descriptor without data, so that a read(2) of it blocks."""
    if kind == "eventfd":
        return os.eventfd(0)
    with select.epoll() as polled:
        return os.dup(polled.fileno())


SILENT = ("eventfd", "epoll")


@pytest.mark.parametrize("kind", SILENT)
async def test_reading_without_data_blocks_no_other(kind: str) -> None:
    with ClientDescriptor(_silent(kind), writes=False) as reads:
        reading = asyncio.create_task(reads.read())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not reading.done()
        await cancel([reading])


@pytest.mark.parametrize("kind", SILENT)
async def test_an_unwritable_descriptor_blocks_no_other(kind: str) -> None:
    with ClientDescriptor(_silent(kind), writes=True) as writes:
        if kind == "eventfd":
            await writes.write(b"8 bytes.")
            # more bytes than the descriptor can buffer
            writing = asyncio.create_task(writes.write(b"\xfe" + b"\xff" * 7))
            await asyncio.wait([writing], timeout=0.1)
            assert not writing.done()
            await cancel([writing])
        else:
            with pytest.raises(OSError, match=r"Invalid argument|Bad file descriptor"):
                await writes.write(b"data")


async def test_the_counter_of_an_eventfd_is_read() -> None:
    with ClientDescriptor(os.eventfd(7), writes=False) as reads:
        assert await reads.read() == (7).to_bytes(8, sys.byteorder)


async def test_reading_the_write_end_of_a_pipe_is_end_of_file() -> None:
    source, sink = os.pipe()
    os.write(sink, b"for its own reader")
    with ClientDescriptor(os.dup(sink), writes=False) as reads:
        assert await reads.read() == b""
    with (
        ClientDescriptor(os.dup(source), writes=True) as writes,
        pytest.raises(OSError, match="Bad file descriptor"),
    ):
        await writes.write(b"data")
    assert os.read(source, 100) == b"for its own reader"
    os.close(source)
    os.close(sink)


@pytest.mark.parametrize("path", ["/", "/dev/null"])
async def test_a_folder_and_the_null_device_are_at_end_of_file(path: str) -> None:
    with ClientDescriptor(os.open(path, os.O_RDONLY), writes=False) as reads:
        assert await reads.read() == b""


async def test_a_faster_reader_of_the_same_pipe_blocks_nobody() -> None:
    source, sink = os.pipe()
    with ClientDescriptor(os.dup(source), writes=False) as reads:
        reading = asyncio.create_task(reads.read())
        await asyncio.sleep(0)
        os.write(sink, b"theirs")
        assert os.read(source, 10) == b"theirs"
        await asyncio.sleep(0)
        os.write(sink, b"ours")
        assert await reading == b"ours"
    os.close(source)
    os.close(sink)


async def test_files_are_read_and_written_at_their_offset(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"some data")
    file = os.open(path, os.O_RDWR)
    os.lseek(file, 5, os.SEEK_SET)
    with ClientDescriptor(os.dup(file), writes=False) as reads:
        assert await reads.read() == b"data"
        assert await reads.read() == b""
    with ClientDescriptor(os.dup(file), writes=True) as writes:
        await writes.write(b" more")
    os.close(file)
    assert path.read_bytes() == b"some data more"


async def test_a_full_disk_is_an_error() -> None:
    with (
        ClientDescriptor(os.open("/dev/full", os.O_WRONLY), writes=True) as writes,
        pytest.raises(OSError, match="No space left on device"),
    ):
        await writes.write(b"data")


async def test_a_terminal_is_written() -> None:
    ours, theirs = pty.openpty()
    with ClientDescriptor(os.dup(theirs), writes=True) as writes:
        await writes.write(b"hello\n")
        assert os.read(ours, 100) == b"hello\r\n"
    os.close(theirs)
    os.close(ours)


@pytest.mark.parametrize("writes", [False, True])
async def test_reopening_is_not_required(monkeypatch: pytest.MonkeyPatch, writes: bool) -> None:
    source, sink = os.pipe()
    with monkeypatch.context() as patch:
        patch.setattr(ClientDescriptor, "_reopen", lambda self: setattr(self, "_blocks", True))
        ours = ClientDescriptor(sink if writes else source, writes=writes)
    with ours:
        if writes:
            await ours.write(b"data")
            assert os.read(source, 10) == b"data"
            os.close(source)
        else:
            os.write(sink, b"data")
            assert await ours.read() == b"data"
            os.close(sink)
            assert await ours.read() == b""


async def test_writing_to_a_full_terminal_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    os.set_blocking(theirs, False)
    write, refused = os.write, 0

    def counted(descriptor: int, data: memoryview) -> int:
        nonlocal refused
        try:
            return write(descriptor, data)
        except BlockingIOError:
            refused += 1
            raise

    monkeypatch.setattr(ClientDescriptor, "_reopen", lambda self: setattr(self, "_blocks", True))
    monkeypatch.setattr(os, "write", counted)
    with ClientDescriptor(os.dup(theirs), writes=True) as sink:
        writing = asyncio.create_task(sink.write(BIG))
        begun = time.monotonic()
        await asyncio.sleep(0.3)
        assert refused <= 1 + (time.monotonic() - begun) / PAUSE  # thousands if it does not pause
        got = 0
        while got < 1 << 16:  # it continues as soon as the terminal has room
            got += len(await asyncio.to_thread(os.read, ours, 1 << 16))
        await cancel([writing])
    name = os.ttyname(theirs)
    await comes_true(
        lambda: [*open_files().values()].count(name) == 1
    )  # the descriptor of the test
    os.close(theirs)
    os.close(ours)
