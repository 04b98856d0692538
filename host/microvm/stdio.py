"""Connects a command's streams with descriptors of our own process."""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import suppress

from microvm.process import InputStream, OutputStream

_CHUNK = 1 << 16


async def copy_out(stream: OutputStream, descriptor: int) -> None:
    """Write what comes, in order; a reader that is slow holds up the command and nothing else.

    :raise BrokenPipeError: the reader has gone.
    """
    is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    async for chunk in stream:
        if is_file:
            _write_all(descriptor, chunk)
        else:
            await asyncio.to_thread(_write_all, descriptor, chunk)


def _write_all(descriptor: int, chunk: bytes | memoryview) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


async def copy_in(descriptor: int, stream: InputStream) -> None:
    """Feed a descriptor to a command until either has its end; cancel it when the command ends.

    It reads only when there is something to read, and leaves the descriptor's flags alone: they
    are shared with whoever else has it open.
    """
    with suppress(BrokenPipeError):
        while data := await _read(descriptor):
            stream.write(data)
            await stream.drain()
        stream.close()


async def _read(descriptor: int) -> bytes:
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    try:
        loop.add_reader(descriptor, _wake, readable)
    except PermissionError:
        # epoll(7) takes no regular files and a few devices: these are readable at once.
        await asyncio.sleep(0)
        return _read_some(descriptor)
    try:
        await readable
    finally:
        loop.remove_reader(descriptor)
    return _read_some(descriptor)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:
        return b""  # a terminal that was hung up, or a descriptor that was closed: no more input
