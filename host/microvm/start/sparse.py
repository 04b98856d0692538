"""Functions that copy and hash sparse files without reading their holes.

The functions that write raise an `OSError` if the disk is full.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterable, Iterator

from microvm.concurrency.threads import check_stopped

_PAGE = 4096
_BLOCK = 1 << 16
_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)
_ZERO_PAGE = bytes(_PAGE)

_FICLONE = 0x40049409  # number of the ioctl(2) FICLONE, from linux/fs.h

# Argument of the ioctl(2) that turns a range of a file into a hole, from linux/falloc.h.
_SPACE = struct.Struct("=hh4xqq24x")
_UNRESERVE = 0x4030582B


def copy(source: int, target: int) -> None:
    """Copy a file to an empty file; both parameters are descriptors."""
    os.ftruncate(target, os.fstat(source).st_size)
    for start, end in _extents(source):
        os.lseek(target, start, os.SEEK_SET)
        position = start
        while position < end:
            sent = os.sendfile(target, source, position, end - position)
            if not sent:
                raise OSError(errno.EIO, "the file became shorter while it was copied")
            position += sent


def share(source: int, target: int) -> bool:
    """Make `target` share the disk blocks of `source`; return True if that is supported."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def copy_changes(source: int, base: int, target: int) -> None:
    """Change `target`, which shares the blocks of `base`, so that it has the content of `source`.

    Only pages in which `source` and `base` differ are written. All three files have the same
    length.
    """
    for offset in range(0, os.fstat(source).st_size, _CHUNK):
        check_stopped()
        new, old = (os.pread(file, _CHUNK, offset) for file in (source, base))
        for position in range(0, len(new) if new != old else 0, _PAGE):
            page = new[position : position + _PAGE]
            if page == old[position : position + _PAGE]:
                continue
            if page == _ZERO_PAGE:
                _drop(target, offset + position, _PAGE)
            else:
                os.pwrite(target, page, offset + position)


def copy_without_zeros(source: int, target: int) -> None:
    """Copy a file without its pages of zeros, which would occupy the disk and memory."""
    os.ftruncate(target, os.fstat(source).st_size)
    for offset, data, zero in _runs(source):
        if not zero:
            os.pwrite(target, data, offset)


def read(file: int) -> Iterator[bytes]:
    """Yield the whole content of a sparse file in chunks; holes are read as zeros."""
    for offset in range(0, os.fstat(file).st_size, _CHUNK):
        yield os.pread(file, _CHUNK, offset)


def write(target: int, chunks: Iterable[bytes]) -> None:
    """Write chunks to an empty file; pages of zeros become holes."""
    offset = 0
    for chunk in chunks:
        check_stopped()
        for start, stop, zero in _pages(chunk):
            if not zero:
                os.pwrite(target, memoryview(chunk)[start:stop], offset + start)
        offset += len(chunk)
    os.ftruncate(target, offset)


def drop_zeros(file: int) -> None:
    """Turn the pages of zeros in a file into holes."""
    for offset, data, zero in _runs(file):
        if zero:
            _drop(file, offset, len(data))


def _drop(file: int, offset: int, size: int) -> None:
    fcntl.ioctl(file, _UNRESERVE, _SPACE.pack(0, os.SEEK_SET, offset, size))


def _runs(file: int) -> Iterator[tuple[int, memoryview, bool]]:
    """Yield the data of a file as runs: the offset, the bytes, and True if all bytes are zeros."""
    for first, end in _extents(file):
        for offset in range(first, end, _CHUNK):
            check_stopped()
            chunk = os.pread(file, min(_CHUNK, end - offset), offset)
            for start, stop, zero in _pages(chunk):
                yield offset + start, memoryview(chunk)[start:stop], zero


def _pages(chunk: bytes) -> Iterator[tuple[int, int, bool]]:
    """Split a chunk into runs of pages: start, end, and True if they contain only zeros."""
    if chunk == _ZEROS[: len(chunk)]:
        yield 0, len(chunk), True
        return
    start, before = 0, chunk[:_PAGE] == _ZERO_PAGE
    for position in range(_PAGE, len(chunk), _PAGE):
        zero = chunk[position : position + _PAGE] == _ZERO_PAGE
        if zero != before:
            yield start, position, before
            start, before = position, zero
    yield start, len(chunk), before


def digest(file: int) -> str:
    """Return the SHA-256 of a file in hexadecimal. Holes count as zeros."""
    # imported here because hashlib loads OpenSSL, which takes long, and most clones need no digest
    import hashlib

    size = os.fstat(file).st_size
    total = hashlib.sha256(size.to_bytes(8, "little"))
    zeros = bytes(_BLOCK)
    done = 0
    for start, end in _extents(file):
        for position in range(max(done, start // _BLOCK * _BLOCK), end, _BLOCK):
            block = os.pread(file, _BLOCK, position)
            if block != zeros[: len(block)]:
                total.update(position.to_bytes(8, "little") + block)
            done = position + _BLOCK
    return total.hexdigest()


def _extents(file: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each range of a file that contains data, in contrast to holes."""
    end = 0
    while True:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            # The error ENXIO means that no data follows this offset; see lseek(2).
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end
