"""Copies data between the standard streams of this process and the streams of a command."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from select import POLLOUT
from typing import Any

from microvm.concurrency.threads import in_thread
from microvm.errors import ExecKilled, MicroVMError, UsageError
from microvm.guest.process import Process
from microvm.guest.streams import InputStream, OutputStream
from microvm.system.descriptors import allows, wait_ready
from microvm.units import exact_size

ReadFunction = Callable[[], Awaitable[bytes]]
WriteFunction = Callable[[bytearray | bytes | memoryview], Awaitable[object]]

_CHUNK = 1 << 16

# Maximum number of seconds for writing the remaining output after a command was killed.
_LAST_OUTPUT_TIMEOUT = 1.0


async def attach(
    process: Process, feed: Coroutine[Any, Any, None] | None, out: WriteFunction, err: WriteFunction
) -> int:
    """Run `feed`, which writes the input of `process`; write the output with `out` and `err`.

    Return the return code when the command has exited.

    :param feed: Coroutine that writes the command's standard input; it is cancelled when the
        command exits.
    :raises BrokenPipeError: If the program that reads the output closed it; the command is then
        killed.
    :raises MicroVMError: If the output cannot be written. The other errors are those of
        `Process.wait`.
    """
    feeding = None if feed is None else asyncio.create_task(feed)
    copying = asyncio.create_task(_copy_both(process, out, err))
    ended = asyncio.create_task(process.wait())
    try:
        await asyncio.wait((copying, ended), return_when=asyncio.FIRST_EXCEPTION)
        if ended.done() and isinstance(ended.exception(), ExecKilled):
            # The program that reads the output may have stopped reading. So write the rest of the
            # output only for a limited time, after which this process continues.
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


async def _copy_both(process: Process, out: WriteFunction, err: WriteFunction) -> None:
    # `attach` cancels a task with this coroutine, because asyncio logs the error of a cancelled
    # `gather` that nobody awaits.
    await asyncio.gather(_copy(process.stdout, out), _copy(process.stderr, err))


async def _copy(stream: OutputStream, write: WriteFunction) -> None:
    while chunk := await stream.next_chunk():
        await write(chunk)


async def copy_out(stream: OutputStream, descriptor: int) -> None:
    """Write the output of a command to a descriptor. A slow reader slows down only this command."""
    await _copy(stream, partial(write, descriptor))


async def write(descriptor: int, data: bytearray | bytes | memoryview) -> None:
    """Write all data to a file descriptor without blocking the event loop.

    :raises OSError: If the data cannot be written; BrokenPipeError if its reader has closed it.
    """
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        _write_all(descriptor, data)
    else:
        # Write in a thread, because the reader may have stopped reading. If the caller is
        # cancelled, the thread continues to wait until it has written all data.
        await in_thread(_write_all, descriptor, data)


def _write_all(descriptor: int, chunk: bytearray | bytes | memoryview) -> None:
    view = memoryview(chunk)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        # Another process that shares the descriptor has set O_NONBLOCK, so wait for room.
        except BlockingIOError:
            wait_ready({descriptor: POLLOUT})


async def copy_in(source: ReadFunction, stream: InputStream) -> None:
    """Copy input to a command until the input ends, or the command closes its standard input."""
    with suppress(BrokenPipeError):
        while data := await source():
            stream.write(data)
            await stream.drain()
        stream.close()


async def read(descriptor: int) -> bytes:
    """Wait until a file descriptor has data, and return the data; b"" at the end of file.

    The descriptor's flags, such as O_NONBLOCK, stay the same, because other processes share them. A
    descriptor that cannot be read, such as the write end of a pipe, counts as being at its end of
    file.
    """
    if not allows(descriptor, writes=False):
        return b""
    while True:
        await until_ready(descriptor)
        try:
            return os.read(descriptor, _CHUNK)
        # another process that shares the descriptor read the data first, so wait again
        except BlockingIOError:
            continue
        except OSError:
            # If the terminal was hung up or the descriptor was closed, no more data will arrive.
            return b""


async def read_lines(descriptor: int, limit: int) -> AsyncIterator[bytes]:
    """Read lines of at most `limit` bytes; yield each when it is complete, without its newline."""
    rest = bytearray()
    while data := await read(descriptor):
        *whole, last = data.split(b"\n")
        for line in whole:
            yield bytes(rest) + line
            rest.clear()
        rest += last
        if len(rest) > limit:
            raise UsageError(f"a line is longer than {exact_size(limit)}")
    if rest:
        yield bytes(rest)


async def until_ready(descriptor: int, *, writes: bool = False) -> None:
    """Wait until a file descriptor is readable, or writable if `writes` is True."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    add: Callable[..., object] = loop.add_writer if writes else loop.add_reader
    remove = loop.remove_writer if writes else loop.remove_reader
    try:
        add(descriptor, _wake, ready)
    # epoll(7) refuses regular files and some devices, which are always ready
    except PermissionError:
        await asyncio.sleep(0)
        return
    try:
        await ready
    finally:
        remove(descriptor)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
