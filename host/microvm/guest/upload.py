"""The upload of files, folders and data from the host into a guest.

The functions that send files raise a `FileError` if the guest refuses a file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from microvm.concurrency.threads import in_thread
from microvm.errors import UsageError
from microvm.guest.exchange import Exchange
from microvm.guest.exclusion import Exclusion
from microvm.guest.stdio import until_ready
from microvm.wire import files

CHUNK = (1 << 18) - files.HEADER_SIZE
"""Number of bytes of a file in one message. Such a message fills whole frames of the daemon."""

FileData = bytes | bytearray | memoryview | str | BinaryIO | Iterable[bytes] | AsyncIterable[bytes]
"""The content of a file: bytes, text (written as UTF-8), an open file, or an iterable of bytes."""


async def send_tree(exchange: Exchange, path: Path, exclusion: Exclusion) -> None:
    """Send a file, or a folder with all files, folders and links in it, except those left out.

    If `path` is a symbolic link, the file or folder that it points to is sent. Links in a folder
    are sent as links.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            # Before a writer opens the FIFO, a read would report the end of the file.
            await until_ready(descriptor)
        os.set_blocking(descriptor, True)
        await _Upload(exchange, path, exclusion).send_open(descriptor, b"", path)
    finally:
        os.close(descriptor)


async def send_data(exchange: Exchange, data: FileData, mode: int) -> None:
    """Send a file with the content `data` and the permissions `mode`."""
    await exchange.send(entry(stat.S_IFREG | mode, size=0, mtime=files.NOW))
    async for chunk in chunks(data):
        for offset in range(0, len(chunk), CHUNK):
            await exchange.send(files.Data(data=chunk[offset : offset + CHUNK]))
    await exchange.send(files.Whole())


async def chunks(data: FileData) -> AsyncIterator[bytes | memoryview]:
    """Yield data in chunks that are sent one by one."""
    if isinstance(data, str):
        yield data.encode("utf-8", "surrogateescape")
    elif isinstance(data, bytes | bytearray | memoryview):
        yield memoryview(data).cast("B")
    elif hasattr(data, "read"):
        # Read in a thread, because the file may be a pipe that has no data for a long time.
        while chunk := _checked(await in_thread(data.read, CHUNK)):
            yield chunk
    elif isinstance(data, AsyncIterable):
        async for chunk in data:
            yield _checked(chunk)
    elif isinstance(data, Iterable):
        for chunk in data:
            yield _checked(chunk)
    else:
        raise UsageError(
            f"cannot write a {type(data).__name__}: pass bytes, str, a file or an iterable"
        )


def _checked(chunk: object) -> bytes | memoryview:
    if not isinstance(chunk, bytes | bytearray | memoryview):
        raise UsageError(f"each chunk of the data must be bytes, not {type(chunk).__name__}")
    return memoryview(chunk)


@dataclass(frozen=True, slots=True)
class _Upload:
    """The upload of the file or folder `top`."""

    exchange: Exchange
    top: Path
    exclusion: Exclusion

    async def send_open(self, descriptor: int, name: bytes, path: Path) -> None:
        """Send the open file or folder `path`, under the name `name`."""
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        mtime = status.st_mtime_ns
        if stat.S_ISDIR(status.st_mode):
            await self.exchange.send(entry(stat.S_IFDIR | mode, name, mtime=mtime))
            await self._send_members(descriptor, path)
        else:
            size = status.st_size
            await self.exchange.send(entry(stat.S_IFREG | mode, name, size=size, mtime=mtime))
            regular = stat.S_ISREG(status.st_mode)
            while chunk := await _read(descriptor, regular):
                await self.exchange.send(files.Data(data=chunk))
        await self.exchange.send(files.Whole())

    async def _send_members(self, folder: int, path: Path) -> None:
        for name in sorted(os.listdir(folder)):
            inner = path / name
            if not (self.exclusion and self.exclusion.matches(str(inner.relative_to(self.top)))):
                await self._send_member(folder, name, inner)

    async def _send_member(self, folder: int, name: str, path: Path) -> None:
        status = os.lstat(name, dir_fd=folder)
        encoded, mtime = os.fsencode(name), status.st_mtime_ns
        if stat.S_ISLNK(status.st_mode):
            target = os.fsencode(os.readlink(name, dir_fd=folder))
            await self.exchange.send(entry(status.st_mode, encoded, mtime=mtime, target=target))
        elif stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            try:
                descriptor = os.open(name, flags, dir_fd=folder)
            except OSError as error:
                error.filename = str(path)
                raise
            try:
                await self.send_open(descriptor, encoded, path)
            finally:
                os.close(descriptor)


async def _read(descriptor: int, regular: bool) -> bytes:
    if regular:
        return os.read(descriptor, CHUNK)
    return await in_thread(os.read, descriptor, CHUNK)


def entry(
    mode: int, name: bytes = b"", *, size: int = 0, mtime: int, target: bytes = b""
) -> files.Entry:
    """Return the message that announces a file, folder or link to the guest, with root as owner."""
    return files.Entry(mode=mode, size=size, mtime=mtime, uid=0, gid=0, name=name, target=target)
