"""Sparse files: copying and hashing them by what is in them, however much of it is nothing."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator

_PAGE = 4096
_BLOCK = 1 << 16
_CHUNK = 1 << 20


def copy(source: int, target: int) -> None:
    """Copy a file into an empty one, by their descriptors.

    :raises OSError: the disk is full, or the file was cut meanwhile.
    """
    os.ftruncate(target, os.fstat(source).st_size)
    for start, end in _extents(source):
        os.lseek(target, start, os.SEEK_SET)
        at = start
        while at < end:
            sent = os.sendfile(target, source, at, end - at)
            if not sent:
                raise OSError(errno.EIO, "the file was cut while it was copied")
            at += sent


def copy_without_zeros(source: int, target: int) -> None:
    """Copy a file without its pages of zeros: they cost no disk, and clones share one for all.

    :raises OSError: the disk is full.
    """
    os.ftruncate(target, os.fstat(source).st_size)
    zeros = bytes(_PAGE)
    for first, end in _extents(source):
        for offset in range(first, end, _CHUNK):
            chunk = memoryview(os.pread(source, min(_CHUNK, end - offset), offset))
            start = 0
            for at in range(0, len(chunk) + _PAGE, _PAGE):
                page = chunk[at : at + _PAGE]
                if not page or page == zeros:
                    if at > start:
                        os.pwrite(target, chunk[start:at], offset + start)
                    start = at + _PAGE


def digest(file: int) -> str:
    """Return the SHA-256 of a file, in hex, which does not depend on how sparse the file is."""
    size = os.fstat(file).st_size
    made = hashlib.sha256(size.to_bytes(8, "little"))
    zeros = bytes(_BLOCK)
    done = 0
    for start, end in _extents(file):
        for at in range(max(done, start // _BLOCK * _BLOCK), end, _BLOCK):
            block = os.pread(file, _BLOCK, at)
            if block != zeros[: len(block)]:
                made.update(at.to_bytes(8, "little") + block)
            done = at + _BLOCK
    return made.hexdigest()


def _extents(file: int) -> Iterator[tuple[int, int]]:
    """Yield where a file has data, as offsets of start and end."""
    end = 0
    while True:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data from there on, lseek(2)
                return
            raise
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end
