"""The standard streams of our own process, copied from and to those of a command."""

from __future__ import annotations

import asyncio
import os
import select
import stat
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from microvm.concurrency.threads import in_thread
from microvm.errors import ExecKilled, MicroVMError
from microvm.guest.process import Process
from microvm.guest.streams import InputStream, OutputStream
from microvm.system.descriptors import allows

Reader = Callable[[], Awaitable[bytes]]
Writer = Callable[[bytearray | bytes | memoryview], Awaitable[object]]

_CHUNK = 1 << 16

# How long the reader of our output may take for the rest of it when the command was killed.
_LAST_OUTPUT_TIMEOUT = 1.0


async def attach(
    process: Process, feed: Coroutine[Any, Any, None] | None, out: Writer, err: Writer
) -> int:
    """Copy a command's streams until it has ended, and return its return code.

    :param feed: feeds its standard input; it is cancelled when the command has ended.
    :raises BrokenPipeError: the reader of its output has gone, and the command is being killed.
    :raises MicroVMError: its output cannot be written, or whatever `Process.wait` raises.
    """
    feeding = None if feed is None else asyncio.create_task(feed)
    copying = asyncio.create_task(_copy_both(process, out, err))
    ended = asyncio.create_task(process.wait())
    try:
        await asyncio.wait((copying, ended), return_when=asyncio.FIRST_EXCEPTION)
        if ended.done() and isinstance(ended.exception(), ExecKilled):
            # Its reader may never read on: then the end is not for it to hold up.
            await asyncio.wait((copying,), timeout=_LAST_OUTPUT_TIMEOUT)
        else:
            await copying
    except BrokenPipeError:
        process.abandon()
        raise
    except OSError as error:
        process.abandon()
        raise MicroVMError(f"cannot write the command's output: {error.strerror}") from error
    finally:
        for task in (copying, feeding, ended):
            if task is not None:
                task.cancel()
    return await process.wait()


async def _copy_both(process: Process, out: Writer, err: Writer) -> None:
    await asyncio.gather(_copy(process.stdout, out), _copy(process.stderr, err))


async def _copy(stream: OutputStream, write: Writer) -> None:
    while chunk := await stream.next_chunk():
        await write(chunk)


async def copy_out(stream: OutputStream, descriptor: int) -> None:
    """Write what comes, in order; a reader that is slow holds up the command and nothing else.

    :raises MachineError: the machine died, and all that came before has been written.
    :raises OSError: it cannot be written; BrokenPipeError when the reader has gone.
    """
    await _copy(stream, partial(write, descriptor))


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


async def copy_in(source: Reader, stream: InputStream) -> None:
    """Feed what can be read to a command until either has its end; cancel it when that ends."""
    with suppress(BrokenPipeError):
        while data := await source():
            stream.write(data)
            await stream.drain()
        stream.close()


async def read(descriptor: int) -> bytes:
    """Wait until a descriptor has data, and return the data; b"" at the end of file.

    The flags of the descriptor stay the same, because other processes share them. A descriptor that
    cannot be read, such as the write end of a pipe, counts as at its end of file.
    """
    if not allows(descriptor, writes=False):
        return b""
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
