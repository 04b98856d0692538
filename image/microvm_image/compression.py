"""The decompression of an image's layers, with limits, and the compression of new layers."""

from __future__ import annotations

import bz2
import lzma
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from microvm import cache
from microvm.errors import ImageError
from microvm.zstd import StreamDecoder, TooManyStreamsError, ZstdDecoder, decoded, zstd_module
from microvm_image.file_range import CHUNK, FileRange
from microvm_image.limits import Budget

_XZ_MEMORY = 160 << 20
_ZSTD_WINDOW = 27
"""Maximum memory of the decompressors: for xz in bytes, for zstd as a binary logarithm.

They suffice for `xz -9` and `zstd --long`, which need 65 and 128 MiB.
"""

DAMAGED = "it is damaged or was cut short; get it again"
"""The hint of the error for an archive that cannot be read."""

_ZEROS = bytes(CHUNK)


class _Gzip:
    """A gzip decompressor with the same interface as the decompressors of xz, zstd and bzip2."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


def _xz() -> StreamDecoder:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


_FORMS: tuple[tuple[bytes, Callable[[], StreamDecoder]], ...] = (
    (b"\x1f\x8b", _Gzip),
    (b"\xfd7zXZ\0", _xz),
    (b"\x28\xb5\x2f\xfd", partial(ZstdDecoder, _ZSTD_WINDOW)),
    (b"BZh", bz2.BZ2Decompressor),
)


def unpacked(
    packed: FileRange,
    name: str,
    files: ExitStack,
    budget: Budget,
    *,
    key: str = "",
    any_ratio: bool = False,
) -> FileRange:
    """Decompress the layer `packed` to a temporary file within `budget`; return its content.

    A layer that is not compressed is returned unchanged.

    :param files: The exit stack that closes the temporary file.
    :param key: The digest of the layer, or "" if it is unknown. The stored size of a layer that is
        used twice counts once in the budget.
    :param any_ratio: True if the layer may be any number of times as large as its compressed form.
    :raises ImageError: The layer is damaged or incomplete, or exceeds the rest of the budget.
    """
    start = packed.read(0, 8)
    new = next((new for magic, new in _FORMS if start.startswith(magic)), None)
    if new is None:
        budget.take_stored(packed.size, key)
        budget.take_bytes(packed.size)
        return packed
    if not any_ratio:
        budget.take_stored(packed.size, key)
    spool = spooled(_counted(_named(packed, new, name), budget, any_ratio=any_ratio), files)
    if any_ratio:
        budget.take_stored(spool.size, key)
    return spool


def _counted(chunks: Iterator[bytes], budget: Budget, *, any_ratio: bool) -> Iterator[bytes]:
    for chunk in chunks:
        budget.take_bytes(len(chunk))
        if not any_ratio:
            budget.check_ratio()
        yield chunk


def spooled(chunks: Iterator[bytes], files: ExitStack) -> FileRange:
    """Write chunks to an unnamed temporary file, open until `files` closes it, and return it.

    The file is in the cache's folder, because /tmp may be in memory. Chunks of zeros take no space
    on the disk.
    """
    folder = cache.root()
    with cache.disk_errors():
        cache.make(folder)
        new = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 -- `files` closes it
        file = files.enter_context(new)
        size = 0
        for chunk in chunks:
            if chunk == _ZEROS[: len(chunk)]:
                file.seek(len(chunk), 1)
            else:
                rest = memoryview(chunk)
                while rest:
                    rest = rest[file.write(rest) :]
            size += len(chunk)
        os.ftruncate(file.fileno(), size)
    return FileRange(file.fileno(), 0, size)


def _named(packed: FileRange, new: Callable[[], StreamDecoder], name: str) -> Iterator[bytes]:
    try:
        yield from decoded(packed.chunks(), new)
    except OSError as error:
        # An OSError with an errno means that the file could not be read, so raise it unchanged. If
        # the archive is damaged, the decompressors raise an OSError without an errno.
        if error.errno is not None:
            raise
        raise ImageError(f"{name}: damaged archive: {error}", hint=DAMAGED) from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise ImageError(f"{name}: damaged archive: {error}", hint=DAMAGED) from error
    except TooManyStreamsError as error:
        raise ImageError(f"{name}: {error}", hint="compress it again, as one stream") from error


def compressed(path: Path) -> BinaryIO:
    """Create a file that compresses everything that is written to it, in the format zstd.

    The compressed data contain a checksum, so that a reader notices damage.

    :raises ImageError: This Python cannot write zstd.
    """
    zstd = zstd_module()
    options = {zstd.CompressionParameter.checksum_flag: 1}
    return cast(BinaryIO, zstd.open(path, "xb", options=options))
