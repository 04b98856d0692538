"""The standard streams of our own process, copied from and to those of a command."""

from __future__ import annotations

import asyncio
import os
import select
import stat
from contextlib import suppress

from microvm.guest.streams import InputStream, OutputStream
from microvm.threads import in_thread

_CHUNK = 1 << 16


async def copy_out(stream: OutputStream, descriptor: int) -> None:
    """Write what comes, in order; a reader that is slow holds up the command and nothing else.

    :raises MachineError: the machine died, and all that came before has been written.
    :raises OSError: it cannot be written; BrokenPipeError when the reader has gone.
    """
    while chunk := await stream.next_chunk():
        await write(descriptor, chunk)


async def write(descriptor: int, data: bytearray | bytes | memoryview) -> None:
    """Write all of some data, as `copy_out` does.

    :raises MicroVMError: no thread can be had to write in.
    :raises OSError: it cannot be written; BrokenPipeError when the reader has gone.
    """
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        _write_all(descriptor, data)
    else:
        # In a thread, which may be left behind: a reader that never reads must not hold us.
        await in_thread(_write_all, descriptor, data)


def _write_all(descriptor: int, chunk: bytearray | bytes | memoryview) -> None:
    view = memoryview(chunk)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # whoever shares it with us has made it so
            select.select((), (descriptor,), ())


async def copy_in(descriptor: int, stream: InputStream) -> None:
    """Feed a descriptor to a command until either has its end; cancel it when the command ends."""
    with suppress(BrokenPipeError):
        while data := await read(descriptor):
            stream.write(data)
            await stream.drain()
        stream.close()


async def read(descriptor: int) -> bytes:
    """Return what a descriptor has, as soon as that is anything; empty at its end.

    Its flags are left alone: they are shared with whoever else has it open.
    """
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
    try:
        return _read_some(descriptor)
    except BlockingIOError:  # another reader of it was faster
        return await read(descriptor)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        raise
    except OSError:
        return b""  # a terminal that was hung up, or a descriptor that was closed: no more input
