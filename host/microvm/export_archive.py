"""The format of exported images and snapshots: a tar archive of expected files, compressed by zstd.

The author of the archive may be hostile, so it is never unpacked. Its reader asks for one member
after the other, and compares the names instead of following them.
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
"""Binary logarithm of the memory that decompression may take; `_LEVEL` needs less."""

_BLOCK = tarfile.BLOCKSIZE


class DamagedError(Exception):
    """An archive is incomplete or was changed; the text says how."""


class ForeignError(Exception):
    """A file was not written by an `ExportWriter`; the text says how it differs."""


class ExportWriter:
    """A writer of an archive, as `writing` creates it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def add(self, name: str, size: int, content: Iterable[bytes]) -> None:
        """Write a member.

        :param size: The total size of the content, in bytes.
        :raises OSError: The member cannot be written.
        """
        header = tarfile.TarInfo(name)
        header.size = size
        self._stream.write(header.tobuf(tarfile.GNU_FORMAT))
        for chunk in content:
            check_stopped()
            self._stream.write(chunk)
        self._stream.write(bytes(-size % _BLOCK))


class ExportReader:
    """A reader of the members of an archive, one after the other, as `reading` creates it."""

    def __init__(self, stream: ZstdReader) -> None:
        self._stream = stream

    @contextmanager
    def member(self, name: str, limit: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Yield the size of the next member, and its content in chunks.

        :param name: The name that the member must have.
        :param limit: Maximum size of the member, in bytes.
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
        """Return the content of the next member, with the errors of `member`."""
        with self.member(name, limit) as (_, content):
            return b"".join(content)

    def end(self) -> None:
        """Check that the archive is complete and has no further member.

        :raises DamagedError: The archive does not end here.
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
    """Yield a writer of an archive. The same members always give the same bytes."""
    library = zstd_module()
    chosen = library.CompressionParameter
    options = {chosen.compression_level: _LEVEL, chosen.checksum_flag: 1}
    with library.ZstdFile(out, "w", options=options) as stream:
        yield ExportWriter(stream)
        stream.write(bytes(2 * _BLOCK))


@contextmanager
def reading(file: BinaryIO) -> Iterator[ExportReader]:
    """Yield a reader of an archive.

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
    """Return the maximum size of an archive whose members have `size` bytes together."""
    return size + (size >> 7) + (2 << 20)  # zstd adds less than that (ZSTD_COMPRESSBOUND)


def chunks(file: BinaryIO | ZstdReader, size: int) -> Iterator[bytes]:
    """Yield exactly `size` bytes of a file, in chunks.

    :raises DamagedError: The file has fewer bytes.
    """
    while size:
        check_stopped()
        chunk = file.read(min(size, CHUNK))
        if not chunk:
            raise DamagedError("it is cut short")
        size -= len(chunk)
        yield chunk
