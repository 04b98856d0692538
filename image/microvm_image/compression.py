"""The decompression of a layer, into a file without a name and within bounds; and the way back."""

from __future__ import annotations

import bz2
import importlib
import lzma
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Protocol, cast

from microvm import cache
from microvm.concurrency.threads import check_stopped
from microvm.errors import ImageError, how_to_install
from microvm_image.extent import CHUNK, Extent
from microvm_image.limits import Budget

_XZ_MEMORY = 160 << 20
_ZSTD_WINDOW = 27
"""What a decompressor may use: enough for `xz -9` and `zstd --long`, 65 and 128 MiB."""

DAMAGED = "it is damaged or was cut short; get it again"
"""The hint for an archive that cannot be read."""

_ZEROS = bytes(CHUNK)

# An archive may have at most _FREE_STREAMS compressed streams, and one more for each _STREAM_BYTES
# bytes of it. Some tools make a stream of each file, and such a stream is longer than that.
_FREE_STREAMS = 1024
_STREAM_BYTES = 64

# Maximum number of zeros between and behind the compressed streams of an archive. Tapes and tools
# pad an archive to a multiple of their block size, which is at most some hundred KiB.
_PADDING = 1 << 20

_READ = 1 << 17
# size of the first piece that a new stream gets; a decoder copies the bytes after its stream
_PIECE = 1 << 12


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


class TooManyStreamsError(Exception):
    """An archive has too many compressed streams for its size, so reading it would take long."""


class PaddingError(EOFError):
    """A compressed archive has more zeros behind its streams than any tool adds."""


class NotZstdError(EOFError):
    """A file is not compressed by zstd."""


class _Zstd:
    """The one of zstd, whose errors would have to be imported to be caught."""

    def __init__(self, window: int = _ZSTD_WINDOW) -> None:
        zstd = zstd_module()
        options = {zstd.DecompressionParameter.window_log_max: window}
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
            raise NotZstdError(str(error)) from error


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
    packed: Extent,
    name: str,
    files: ExitStack,
    budget: Budget,
    *,
    key: str = "",
    any_ratio: bool = False,
) -> Extent:
    """Return a layer in decompressed form: the layer itself, or a file that is closed with `files`.

    :param name: the layer's name, for messages.
    :param key: the layer's digest, if it is known.
    :param any_ratio: whether the layer may be any number of times as large as its compressed form.
    :raises ImageError: the layer is damaged or incomplete, or is beyond what is left of the budget.
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


def _named(packed: Extent, new: Callable[[], _Decoder], name: str) -> Iterator[bytes]:
    try:
        yield from _decoded(packed.chunks(), new)
    except OSError as error:
        if error.errno is not None:  # of the file; that of bz2 has no number
            raise
        raise ImageError(f"{name}: damaged archive: {error}", hint=DAMAGED) from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise ImageError(f"{name}: damaged archive: {error}", hint=DAMAGED) from error
    except TooManyStreamsError as error:
        raise ImageError(f"{name}: {error}", hint="compress it again, as one stream") from error


def _decoded(chunks: Iterable[bytes], new: Callable[[], _Decoder]) -> Iterator[bytes]:
    """Yield the content of all streams in turn; accept some zeros behind them, as gzip(1) does.

    :raises EOFError: the last stream is incomplete.
    :raises PaddingError: there are too many zeros behind the streams.
    :raises TooManyStreamsError: there are too many streams for their size.
    """
    decoder: _Decoder | None = None
    streams = size = padding = 0
    for chunk in chunks:
        check_stopped()
        size += len(chunk)
        at, step = 0, CHUNK
        while at < len(chunk):
            data = chunk[at : at + step]
            at += len(data)
            if decoder is None:
                if streams:
                    rest = data.lstrip(b"\0")
                    padding += len(data) - len(rest)
                    if padding > _PADDING:
                        raise PaddingError(
                            f"more than {_PADDING >> 20} MiB of zeros follow its compressed streams"
                        )
                    if not rest:
                        continue
                    data = rest
                streams += 1
                if streams > _FREE_STREAMS + size // _STREAM_BYTES:
                    raise TooManyStreamsError(
                        f"it has more than {_FREE_STREAMS:,} compressed streams, and more than one "
                        f"for each {_STREAM_BYTES} bytes"
                    )
                decoder = new()
            yield from _parts(decoder, data)
            step = min(2 * step, CHUNK)
            if decoder.eof:
                at -= len(decoder.unused_data)
                decoder, step = None, _PIECE
    if decoder is not None or not streams:
        raise EOFError("it is cut short")


def _parts(decoder: _Decoder, data: bytes) -> Iterator[bytes]:
    """Yield the output of a decoder for some more input."""
    while True:
        part = decoder.decompress(data, CHUNK)
        if part:
            yield part
        if decoder.eof or (decoder.needs_input and len(part) < CHUNK):
            return
        data = b""


class ZstdReader:
    """A reader of a file that zstd has compressed; it keeps one piece of the content in memory."""

    def __init__(self, file: BinaryIO, window: int) -> None:
        """Prepare to read.

        :param window: the binary logarithm of the memory that decompression may take, in bytes.
        """
        # if the file is a pipe, a read waits for that many bytes
        chunks = iter(partial(file.read, _READ), b"")
        self._parts = _decoded(chunks, partial(_Zstd, window))
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; b"" only at the end of the file.

        :raises EOFError: the file is incomplete.
        :raises NotZstdError: the file is not compressed by zstd.
        :raises PaddingError: too many zeros follow the content.
        :raises TooManyStreamsError: the file has too many streams for its size.
        """
        while not self._rest:
            check_stopped()
            if (part := next(self._parts, None)) is None:
                return b""
            self._rest = memoryview(part)
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data


def compressed(path: Path) -> BinaryIO:
    """Return a new file to write to, of which zstd's is on the disk, with a checksum.

    :raises ImageError: this Python cannot write it.
    """
    zstd = zstd_module()
    options = {zstd.CompressionParameter.checksum_flag: 1}
    return cast(BinaryIO, zstd.open(path, "xb", options=options))
