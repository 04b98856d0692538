"""The descriptors that a client passes, read and written without holding anybody up.

Their flags are shared with whoever else has them, so they are left alone: what can be opened anew
is, and does not block then.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import stat
import time
from collections.abc import Callable
from typing import Self

from microvm.concurrency.threads import in_thread
from microvm.system.descriptors import allows

_CHUNK = 1 << 16
_LOOK = 200  # ms between two looks whether what is written in a thread still is
_PTMX = os.makedev(5, 2)  # which would be another terminal

PAUSE = 0.05
"""The seconds between two attempts to write in a thread where there should be room."""


class ClientDescriptor:
    """A descriptor of a client, which is ours from now on."""

    def __init__(self, descriptor: int, *, writes: bool) -> None:
        """Take it over.

        :param writes: whether it is to be written, or else to be read.
        """
        self._descriptor = descriptor
        self._writes = writes
        self._socket: socket.socket | None = None
        self._blocks = False
        self._shows_room = True  # whether poll(2) reports that the descriptor can be written
        status = os.fstat(descriptor)
        if not allows(descriptor, writes=writes):
            # the first read or write fails; to open a pipe again would give us its other end
            return
        if stat.S_ISSOCK(status.st_mode):
            self._socket = socket.socket(fileno=descriptor)
        elif stat.S_ISFIFO(status.st_mode) or (
            stat.S_ISCHR(status.st_mode) and status.st_rdev != _PTMX
        ):
            self._open_anew()
        else:
            # An eventfd(2), a timerfd or a signalfd has no file type, and a read can block.
            self._blocks = not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode)
            self._shows_room = stat.S_ISCHR(status.st_mode)

    def _open_anew(self) -> None:
        mode = os.O_WRONLY if self._writes else os.O_RDONLY
        flags = mode | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            again = os.open(f"/proc/self/fd/{self._descriptor}", flags)
        except OSError:  # such as a terminal of the user that we have been before su(1)
            self._blocks = True
            return
        os.close(self._descriptor)
        self._descriptor = again

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if self._socket is not None:
            self._socket.close()
        elif descriptor >= 0:
            os.close(descriptor)

    async def read(self) -> bytes:
        """Return what there is, as soon as that is anything; empty at the end."""
        while self._descriptor >= 0:
            try:
                if not self._blocks:
                    return self._read_some()
                await self._ready()
                return await in_thread(_read_duplicate, os.dup(self._descriptor))
            except BlockingIOError:
                await self._ready()
            except OSError:
                return b""  # a terminal that was hung up: no more input
        return b""

    def _read_some(self) -> bytes:
        if self._socket is not None:
            return self._socket.recv(_CHUNK, socket.MSG_DONTWAIT)
        return os.read(self._descriptor, _CHUNK)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of some data.

        :raises OSError: it cannot be written; BrokenPipeError when the reader has gone.
        """
        view = memoryview(data)
        if self._blocks:
            await in_thread(self._write_duplicate, os.dup(self._descriptor), view)
            return
        while view:
            try:
                view = view[self._write_some(view) :]
            except BlockingIOError:
                await self._ready()

    def _write_some(self, view: memoryview) -> int:
        if self._socket is not None:
            return self._socket.send(view, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return os.write(self._descriptor, view)

    def _write_duplicate(self, descriptor: int, view: memoryview) -> None:
        """Write in a thread, for as long as this is open: nobody ends a thread."""
        waiting = select.poll()
        waiting.register(descriptor, select.POLLOUT)
        try:
            while view and self._descriptor >= 0:
                if not self._shows_room or waiting.poll(_LOOK):
                    try:
                        view = view[os.write(descriptor, view) :]
                    except BlockingIOError:  # a terminal with room for one byte takes no newline
                        time.sleep(PAUSE)
        finally:
            os.close(descriptor)

    async def _ready(self) -> None:
        """Wait until it can be read, or written."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        add: Callable[..., object] = loop.add_writer if self._writes else loop.add_reader
        remove = loop.remove_writer if self._writes else loop.remove_reader
        descriptor = self._descriptor
        try:
            add(descriptor, _wake, ready)
        except PermissionError:  # epoll(7) takes no regular files, nor a few devices
            await asyncio.sleep(0)
            return
        try:
            await ready
        finally:
            remove(descriptor)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _read_duplicate(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    finally:
        os.close(descriptor)
