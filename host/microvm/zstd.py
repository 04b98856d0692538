"""The decompression of zstd files, and of other files that consist of several compressed streams.

The author of such a file may be hostile. So the number of streams in a file is limited, and so is
the number of zeros after a stream.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import ModuleType
from typing import BinaryIO, Protocol, cast

from microvm.concurrency.threads import check_stopped
from microvm.errors import ImageError, how_to_install

CHUNK = 1 << 20
"""Maximum size of a piece of decompressed content, in bytes."""

# An archive may contain at most `_FREE_STREAMS` compressed streams, and in addition one for each
# `_STREAM_BYTES` bytes of its size. Some tools write a separate stream for each file. This limit
# allows their archives, because the stream of a file is longer than `_STREAM_BYTES`.
_FREE_STREAMS = 1024
_STREAM_BYTES = 64

# Maximum number of zeros between and after the compressed streams of an archive. Some tools add
# zeros until the size is a multiple of their block size, which is at most some hundred KiB.
_PADDING = 1 << 20

_READ = 1 << 17
# Number of bytes that a new stream's decoder gets first. It is small, because the stream may be
# short, and the decoder copies all bytes that follow the end of the stream.
_PIECE = 1 << 12


class StreamDecoder(Protocol):
    """A decompressor of one compressed stream. Classes of `bz2`, `lzma` and `zstd` are examples."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class TooManyStreamsError(Exception):
    """Raised if an archive has so many compressed streams that reading it could take too long."""


class PaddingError(EOFError):
    """Raised if a compressed archive has more zeros after its streams than any tool adds."""


class NotZstdError(EOFError):
    """Raised if a file is not compressed by zstd."""


class ZstdDecoder:
    """A decompressor of one zstd stream, which may use at most 2 ** `window` bytes of memory."""

    def __init__(self, window: int) -> None:
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
    """Return the zstd module of the standard library, or in older Pythons its backport."""
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        return importlib.import_module(name)
    except ImportError:
        message = "this Python cannot read zstd: backports.zstd is missing"
        raise ImageError(message, hint=how_to_install("vm")) from None


def decoded(chunks: Iterable[bytes], new: Callable[[], StreamDecoder]) -> Iterator[bytes]:
    """Decompress all streams of a file, and yield its content; `new` creates a stream's decoder.

    Some zeros after a stream are ignored, as gzip(1) does.

    :param new: Function that returns a decoder for the next stream.
    :raises PaddingError: There are too many zeros behind the streams.
    :raises TooManyStreamsError: There are too many streams for their size.
    """
    decoder: StreamDecoder | None = None
    streams = size = padding = 0
    for chunk in chunks:
        check_stopped()
        size += len(chunk)
        position, step = 0, CHUNK
        while position < len(chunk):
            data = chunk[position : position + step]
            position += len(data)
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
            yield from _pieces(decoder, data)
            step = min(2 * step, CHUNK)
            if decoder.eof:
                position -= len(decoder.unused_data)
                decoder, step = None, _PIECE
    if decoder is not None or not streams:
        raise EOFError("it is cut short")


def _pieces(decoder: StreamDecoder, data: bytes) -> Iterator[bytes]:
    """Give more compressed input to a decoder, and yield its output in pieces of limited size."""
    while True:
        part = decoder.decompress(data, CHUNK)
        if part:
            yield part
        if decoder.eof or (decoder.needs_input and len(part) < CHUNK):
            return
        data = b""


class ZstdReader:
    """A reader of a file that zstd has compressed. Only a piece of the file is in memory."""

    def __init__(self, file: BinaryIO, window: int) -> None:
        """Prepare to read a file from its position, using at most 2 ** `window` bytes of memory."""
        # If the file is a pipe, `file.read` returns only when `_READ` bytes have arrived, or at the
        # end of the pipe. So decompression lags behind the pipe's writer by up to `_READ` bytes.
        chunks = iter(partial(file.read, _READ), b"")
        self._parts = decoded(chunks, partial(ZstdDecoder, window))
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes of the decompressed content; b"" only at its end.

        :raises NotZstdError: The file is not compressed by zstd. See `decoded` for other errors.
        """
        while not self._rest:
            check_stopped()
            if (part := next(self._parts, None)) is None:
                return b""
            self._rest = memoryview(part)
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data
