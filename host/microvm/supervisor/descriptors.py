"""Reads and writes the descriptors that a client passes, without blocking the event loop.

A descriptor shares its flags with other processes, so we do not set O_NONBLOCK. Instead we open the
same file again if possible, in non-blocking mode.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from select import POLLOUT
from typing import Self

from microvm.concurrency.threads import in_thread
from microvm.guest.stdio import until_ready
from microvm.system import platform
from microvm.system.descriptors import allows, wait_ready

_CHUNK = 1 << 16
_INTERVAL = 0.2  # seconds between two checks whether the descriptor was closed
# Device number of /dev/ptmx. Do not open it again, because that would create another terminal.
_PTMX = os.makedev(5, 2)

PAUSE = 0.05
"""Seconds until a thread tries again to write to a descriptor that should be writable."""


class ClientDescriptor:
    """A file descriptor that a client has passed, such as the standard output of its command."""

    def __init__(self, descriptor: int, *, writes: bool) -> None:
        """Use a client's descriptor: write to it if `writes`, else read it. `close` closes it."""
        self._descriptor = descriptor
        self._writes = writes
        self._socket: socket.socket | None = None
        self._blocks = False
        self._polls = True  # True if poll(2) shows whether the descriptor is ready
        status = os.fstat(descriptor)
        if not allows(descriptor, writes=writes):
            # The client has opened the descriptor only for reading, and we should write, or the
            # reverse. So let each read or write fail. Opening the file again could open the other
            # end of a pipe.
            return
        if stat.S_ISSOCK(status.st_mode):
            self._socket = socket.socket(fileno=descriptor)
        elif stat.S_ISFIFO(status.st_mode) or (
            stat.S_ISCHR(status.st_mode) and status.st_rdev != _PTMX
        ):
            self._reopen()
        else:
            # Regular files and folders never block. Any other descriptor may block, also one whose
            # mode contains no file type, such as an eventfd(2).
            self._blocks = not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode)
            self._polls = stat.S_ISCHR(status.st_mode)

    def _reopen(self) -> None:
        mode = os.O_WRONLY if self._writes else os.O_RDONLY
        flags = mode | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            reopened = os.open(platform.descriptor_path(self._descriptor), flags)
        # Some files cannot be opened a second time, such as a terminal of another user after su(1).
        # Use such a file in threads, where blocking does no harm.
        except OSError:
            self._blocks = True
            return
        os.close(self._descriptor)
        self._descriptor = reopened

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if self._socket is not None:
            self._socket.close()
        elif descriptor >= 0:
            os.close(descriptor)

    async def read(self) -> bytes:
        """Wait for data from the descriptor and return it; empty at the end of file."""
        while self._descriptor >= 0:
            try:
                if not self._blocks:
                    return self._read_some()
                await self._ready()
                return await in_thread(_read_duplicate, os.dup(self._descriptor))
            except BlockingIOError:
                await self._ready()
            except OSError:
                return b""  # for example, the terminal was hung up, so no more data will arrive
        return b""

    def _read_some(self) -> bytes:
        if self._socket is not None:
            return self._socket.recv(_CHUNK, socket.MSG_DONTWAIT)
        return os.read(self._descriptor, _CHUNK)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of the data to the descriptor. Wait while its reader takes no data.

        :raises BrokenPipeError: the reader has closed the pipe or the socket.
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
        """Write data, in a thread, to `descriptor`, a duplicate, until `close` is called."""
        try:
            while view and self._descriptor >= 0:
                if not self._polls or wait_ready({descriptor: POLLOUT}, _INTERVAL):
                    try:
                        view = view[os.write(descriptor, view) :]
                    except BlockingIOError:  # a terminal lacks room for the two bytes of a newline
                        time.sleep(PAUSE)
        finally:
            os.close(descriptor)

    async def _ready(self) -> None:
        await until_ready(self._descriptor, writes=self._writes)


def _read_duplicate(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    finally:
        os.close(descriptor)
