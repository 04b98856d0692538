"""The format of exported images and snapshots: a tar archive that is compressed by zstd.

The author of an archive may be hostile, so the archive is never unpacked to the paths in it. The
reader expects certain members in a certain order, and refuses an archive with other names.
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
"""Limit of the memory for decompression, as a binary logarithm: 8 MiB. `_LEVEL` needs less."""

_BLOCK = tarfile.BLOCKSIZE


class DamagedError(Exception):
    """Raised if an archive is incomplete or was changed. The message describes the fault."""


class ForeignError(Exception):
    """Raised if a file is no exported image or snapshot. The message says why."""


class ExportWriter:
    """A writer of an exported image or snapshot, which the function `writing` yields."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def add(self, name: str, size: int, content: Iterable[bytes]) -> None:
        """Write a file to the archive; `size` is the total number of bytes in its `content`."""
        header = tarfile.TarInfo(name)
        header.size = size
        self._stream.write(header.tobuf(tarfile.GNU_FORMAT))
        for chunk in content:
            check_stopped()
            self._stream.write(chunk)
        self._stream.write(bytes(-size % _BLOCK))


class ExportReader:
    """A reader of an exported image or snapshot, which the function `reading` yields."""

    def __init__(self, stream: ZstdReader) -> None:
        self._stream = stream

    @contextmanager
    def member(self, name: str, limit: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Context manager that yields the size and the content of the next member, `name`.

        The content is an iterator over chunks. The member may have at most `limit` bytes.

        :raises DamagedError: The member has another name, is larger, or is incomplete.
        """
        block = self._exactly(_BLOCK)
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if header.name != name or header.type != tarfile.REGTYPE:
            raise DamagedError(f"it contains {header.name!r} instead of {name}")
        if not 0 <= header.size <= limit:
            raise DamagedError(f"{name} has {header.size} bytes, of at most {limit}")
        yield header.size, chunks(self._stream, header.size)
        self._exactly(-header.size % _BLOCK)

    def whole(self, name: str, limit: int) -> bytes:
        """Return the content of the next member, `name`, which may have at most `limit` bytes."""
        with self.member(name, limit) as (_, content):
            return b"".join(content)

    def end(self) -> None:
        """Check that the archive ends after the members that have been read."""
        rest, most = b"", tarfile.RECORDSIZE
        while len(rest) <= most and (more := self._stream.read(most)):
            rest += more
        if rest.strip(b"\0") or not 2 * _BLOCK <= len(rest) <= most:
            raise DamagedError("it does not end where it should")

    def _exactly(self, size: int) -> bytes:
        return b"".join(chunks(self._stream, size))


@contextmanager
def writing(out: BinaryIO) -> Iterator[ExportWriter]:
    """Context manager that yields a writer of an exported image or snapshot to `out`.

    The same members always give the same bytes.
    """
    library = zstd_module()
    chosen = library.CompressionParameter
    options = {chosen.compression_level: _LEVEL, chosen.checksum_flag: 1}
    with library.ZstdFile(out, "w", options=options) as stream:
        yield ExportWriter(stream)
        stream.write(bytes(2 * _BLOCK))


@contextmanager
def reading(file: BinaryIO) -> Iterator[ExportReader]:
    """Context manager that yields a reader of an archive (exported image or snapshot) in `file`.

    :raises ForeignError: The file is no such archive.
    :raises DamagedError: The archive is incomplete.
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
    """Return an upper bound of a compressed archive's size, given the total size of its members."""
    # zstd enlarges data that it cannot compress by at most 1/256 (see ZSTD_COMPRESSBOUND), and tar
    # adds a header to each member. Adding twice that fraction and 2 MiB is more than enough.
    return size + (size >> 7) + (2 << 20)


def chunks(file: BinaryIO | ZstdReader, size: int) -> Iterator[bytes]:
    """Yield exactly `size` bytes of a file, in chunks."""
    while size:
        check_stopped()
        chunk = file.read(min(size, CHUNK))
        if not chunk:
            raise DamagedError("it is cut short")
        size -= len(chunk)
        yield chunk
