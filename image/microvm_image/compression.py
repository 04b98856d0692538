"""The decompression of a layer, into a file without a name and within bounds; and the way back."""

from __future__ import annotations

import bz2
import importlib
import lzma
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Protocol, cast

from microvm import cache
from microvm.errors import ImageError, how_to_install
from microvm_image.extent import CHUNK, Extent
from microvm_image.limits import Budget

_XZ_MEMORY = 160 << 20
_ZSTD_WINDOW = 27
"""What a decompressor may use: enough for `xz -9` and `zstd --long`, 65 and 128 MiB."""

_ZEROS = bytes(CHUNK)


class _Decoder(Protocol):
    """A decompressor of one stream, as those of `bz2`, `lzma` and `zstd` are."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """The one of `zlib`, which is the caller's to feed with what it has left."""

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


class _Zstd:
    """The one of zstd, whose errors would have to be imported to be caught."""

    def __init__(self) -> None:
        zstd = zstd_module()
        options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW}
        self._stream = zstd.ZstdDecompressor(options=options)
        self._error = zstd.ZstdError

    @property
    def eof(self) -> bool:
        return bool(self._stream.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._stream.needs_input)

    @property
    def unused_data(self) -> bytes:
        return cast(bytes, self._stream.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            return cast(bytes, self._stream.decompress(data, max_length))
        except self._error as error:
            raise EOFError(str(error)) from error


def zstd_module() -> ModuleType:
    """Return the standard library's module of zstd, or what stands in for it in older Pythons.

    :raises ImageError: that is not installed.
    """
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        return importlib.import_module(name)
    except ImportError:
        message = "this Python cannot read zstd: backports.zstd is missing"
        raise ImageError(message, hint=how_to_install("vm")) from None


def _xz() -> _Decoder:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


_FORMS: tuple[tuple[bytes, Callable[[], _Decoder]], ...] = (
    (b"\x1f\x8b", _Gzip),
    (b"\xfd7zXZ\0", _xz),
    (b"\x28\xb5\x2f\xfd", _Zstd),
    (b"BZh", bz2.BZ2Decompressor),
)


def unpacked(
    packed: Extent, name: str, files: ExitStack, budget: Budget, *, any_ratio: bool = False
) -> Extent:
    """Return a layer as it is decompressed: itself, or a spool that is closed with `files`.

    :param name: the layer's name, for messages.
    :param any_ratio: whether it may be any number of times as large as what it is made from.
    :raises ImageError: it is damaged or cut short, or beyond what is left of the budget.
    """
    start = packed.read(0, 8)
    new = next((new for magic, new in _FORMS if start.startswith(magic)), None)
    if new is None:
        budget.take_bytes(packed.size)
        return packed
    size = None if any_ratio else packed.size
    return spooled(_counted(_decoded(packed, new, name), size, budget), files)


def _counted(chunks: Iterator[bytes], packed: int | None, budget: Budget) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        budget.take_bytes(len(chunk))
        if packed is not None:
            budget.check_ratio(packed, size)
        yield chunk


def spooled(chunks: Iterator[bytes], files: ExitStack) -> Extent:
    """Return what is yielded, in a file without a name, which is closed with `files`.

    It lies in the cache, as /tmp may be memory. Zeros take no room there.
    """
    folder = cache.root()
    with cache.disk_errors():
        cache.make(folder)
        new = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 -- files closes it
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
    return Extent(file.fileno(), 0, size)


def _decoded(packed: Extent, new: Callable[[], _Decoder], name: str) -> Iterator[bytes]:
    """Yield what one stream behind the other holds; zeros may follow, as gzip(1) allows it."""
    chunks = packed.chunks()
    decoder = new()
    data = next(chunks, b"")
    try:
        while True:
            if part := decoder.decompress(data, CHUNK):
                yield part
            data = b""
            if decoder.eof:
                data = decoder.unused_data.lstrip(b"\0")
                while not data:
                    if (chunk := next(chunks, None)) is None:
                        return
                    data = chunk.lstrip(b"\0")
                decoder = new()
            elif decoder.needs_input and not part and not (data := next(chunks, b"")):
                raise EOFError("it is cut short")
    except OSError as error:
        if error.errno is not None:  # of the file; that of bz2 has no number
            raise
        raise ImageError(f"{name}: damaged archive: {error}") from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise ImageError(f"{name}: damaged archive: {error}") from error


def compressed(path: Path) -> BinaryIO:
    """Return a new file to write to, of which zstd's is on the disk, with a checksum.

    :raises ImageError: this Python cannot write it.
    """
    zstd = zstd_module()
    options = {zstd.CompressionParameter.checksum_flag: 1}
    return cast(BinaryIO, zstd.open(path, "xb", options=options))
