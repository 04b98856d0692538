"""A reader that splits the bytes of a host into frames in the same way as the daemon."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from microvm.wire import codec

HEADER = struct.Struct("<IHHI")
HELLO = codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, 1).encode()
HELLO_START = HELLO[:20]


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Split bytes at the given positions, into the pieces that are written one after another."""
    return [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)]) if a < b]


def agreed(hello: codec.Hello) -> int:
    """Return the version that the daemon speaks after this `hello`."""
    return max(1, min(hello.version, codec.VERSION))


@dataclass(frozen=True)
class Event:
    """A frame that a decoder accepted or refused.

    :ivar data: Bytes of the frame; only the header if the decoder refused the header.
    :ivar outcome: The decoded message, or the reason why the frame was refused.
    :ivar dropped: Number of bytes that were skipped before the frame, since the stream began.
    """

    data: bytes
    type: int
    id: int
    outcome: codec.Message | codec.DecodeError
    dropped: int


class FrameReader:
    """A reader that splits the bytes of a host into frames, as guest/stream.c does.

    :ivar dropped: Number of bytes that were skipped in search of a `hello`.
    :ivar version: Version that both sides speak since the last `hello`.
    :ivar closing: True after a `shutdown`. The daemon then accepts no message, not even a `hello`.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.version = codec.VERSION
        self.closing = False
        self._decoder: codec.Decoder | None = None  # None while it searches for a hello
        self.rest = b""

    def fork(self) -> FrameReader:
        """Return an independent copy of the reader in its present state."""
        other = FrameReader()
        other.dropped, other.version, other.rest = self.dropped, self.version, self.rest
        other.closing = self.closing
        if self._decoder:
            other._decoder = codec.Decoder("host", self.version)
            other._decoder.receive_data(self.rest)
        return other

    def feed(self, data: bytes) -> Iterator[Event]:
        """Add bytes, and yield the frames that they complete."""
        self.rest += data
        while self._decoder or self._seek():
            if self._decoder is None:
                self._decoder, data = codec.Decoder("host", self.version), self.rest
            self._decoder.receive_data(data)
            while event := self._next(self._decoder):
                yield event
                if isinstance(event.outcome, codec.DecodeError):
                    self._decoder, self.closing = None, False
                    break
            else:
                return

    def _next(self, decoder: codec.Decoder) -> Event | None:
        outcome: codec.Message | codec.DecodeError | None
        try:
            outcome = decoder.next_message()
        except codec.DecodeError as error:
            outcome = error
        if outcome is None:
            return None
        length, type_, _, id_ = HEADER.unpack_from(self.rest)
        size = codec.HEADER_SIZE + length
        if isinstance(outcome, codec.DecodeError):
            whole = outcome.offset >= codec.HEADER_SIZE
            data = self.rest[: size if whole else codec.HEADER_SIZE]
        else:
            data, self.rest = self.rest[:size], self.rest[size:]
        if isinstance(outcome, codec.Hello) and not self.closing:
            self.version = decoder.version = agreed(outcome)
        self.closing |= isinstance(outcome, codec.Shutdown)
        return Event(data, type_, id_, outcome, self.dropped)

    def _seek(self) -> bool:
        at = found = self.rest.find(HELLO_START)
        if found < 0:
            tail = max(0, len(self.rest) - len(HELLO_START) + 1)
            ends = range(tail, len(self.rest) + 1)
            at = next(end for end in ends if HELLO_START.startswith(self.rest[end:]))
        self.dropped += at
        self.rest = self.rest[at:]
        return found >= 0

    def listens(self) -> bool:
        """Return whether the next byte begins a frame of any type."""
        return self._decoder is not None and not self.rest

    def missing(self) -> int:
        """Return the number of bytes that the current frame lacks; 0 at a frame boundary."""
        if self._decoder is None or not self.rest:
            return 0
        size = codec.HEADER_SIZE
        if len(self.rest) >= size:
            size += HEADER.unpack_from(self.rest)[0]
        return size - len(self.rest)
