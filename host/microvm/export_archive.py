"""The form in which images and snapshots are exported: one file, of members that are expected.

It is a tar, compressed by zstd, of plain files. Whoever wrote it may be hostile. So it is not
unpacked: its reader asks for one member after the other, and names are compared, not followed.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from microvm.concurrency.threads import check_stopped
from microvm.zstd import (
    CHUNK,
    NotZstdError,
    PaddingError,
    TooManyStreamsError,
    ZstdReader,
    zstd_module,
)

_LEVEL = 3
_WINDOW = 23
"""The logarithm of the memory that decompression may take: more than `_LEVEL` wants."""

_BLOCK = tarfile.BLOCKSIZE


class DamagedError(Exception):
    """What is read is not what was written; the text says why."""


class ForeignError(Exception):
    """What is read was never written by a `ExportWriter`; the text says why."""


class ExportWriter:
    """What writes a file; `writing` makes one."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def add(self, name: str, size: int, content: Iterable[bytes]) -> None:
        """Write a member, of that many bytes together.

        :raises OSError: it cannot be written.
        """
        header = tarfile.TarInfo(name)
        header.size = size
        self._stream.write(header.tobuf(tarfile.GNU_FORMAT))
        for chunk in content:
            check_stopped()
            self._stream.write(chunk)
        self._stream.write(bytes(-size % _BLOCK))


class ExportReader:
    """What reads a file, member by member; `reading` makes one."""

    def __init__(self, stream: ZstdReader) -> None:
        self._stream = stream

    @contextmanager
    def member(self, name: str, limit: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Yield the size of the next member, which must be this one, and its content in chunks.

        :param limit: the most bytes that it may have.
        :raises DamagedError: it is another one, is longer, or cut short.
        """
        block = self._exactly(_BLOCK)
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if header.name != name or header.type != tarfile.REGTYPE:
            raise DamagedError(f"{header.name!r} is in the place of {name}")
        if not 0 <= header.size <= limit:
            raise DamagedError(f"{name} has {header.size} bytes, of at most {limit}")
        yield header.size, chunks(self._stream, header.size)
        self._exactly(-header.size % _BLOCK)

    def whole(self, name: str, limit: int) -> bytes:
        """Return the next member, as `member` does."""
        with self.member(name, limit) as (_, content):
            return b"".join(content)

    def end(self) -> None:
        """Check that nothing comes any more, and nothing is missing.

        :raises DamagedError: that is not so.
        """
        rest, most = b"", tarfile.RECORDSIZE
        while len(rest) <= most and (more := self._stream.read(most)):
            rest += more
        if rest.strip(b"\0") or not 2 * _BLOCK <= len(rest) <= most:
            raise DamagedError("it does not end where it should")

    def _exactly(self, size: int) -> bytes:
        return b"".join(chunks(self._stream, size))


@contextmanager
def writing(out: BinaryIO) -> Iterator[ExportWriter]:
    """Yield what writes a file; the same members give the same bytes."""
    library = zstd_module()
    chosen = library.CompressionParameter
    options = {chosen.compression_level: _LEVEL, chosen.checksum_flag: 1}
    with library.ZstdFile(out, "w", options=options) as stream:
        yield ExportWriter(stream)
        stream.write(bytes(2 * _BLOCK))


@contextmanager
def reading(file: BinaryIO) -> Iterator[ExportReader]:
    """Yield what reads a file.

    :raises ForeignError: it is none.
    :raises DamagedError: it is cut short.
    """
    try:
        yield ExportReader(ZstdReader(file, _WINDOW))
    except (NotZstdError, tarfile.HeaderError) as error:
        raise ForeignError(str(error)) from error
    except (PaddingError, TooManyStreamsError) as error:
        raise DamagedError(str(error)) from error
    except EOFError as error:
        raise DamagedError("it is cut short") from error


def bound(size: int) -> int:
    """Return the most bytes that a file can have whose members have so many together."""
    return size + (size >> 7) + (2 << 20)  # zstd adds less than that (ZSTD_COMPRESSBOUND)


def chunks(file: BinaryIO | ZstdReader, size: int) -> Iterator[bytes]:
    """Yield exactly this many bytes of a file.

    :raises DamagedError: it has less.
    """
    while size:
        check_stopped()
        chunk = file.read(min(size, CHUNK))
        if not chunk:
            raise DamagedError("it is cut short")
        size -= len(chunk)
        yield chunk
