"""Frames by themselves, cut from a host's bytes as the daemon does."""

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
    """Cut bytes in these places, as they are to be written or read."""
    return [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)]) if a < b]


def agreed(hello: codec.Hello) -> int:
    """The version that a daemon speaks after this."""
    return max(1, min(hello.version, codec.VERSION))


@dataclass(frozen=True)
class Event:
    """A frame that a decoder took or refused.

    :ivar data: what there is of it: of one whose header is refused, only that.
    :ivar dropped: bytes skipped before it, since the stream began.
    """

    data: bytes
    type: int
    id: int
    outcome: codec.Message | codec.DecodeError
    dropped: int


class FrameReader:
    """A reader that cuts a host's bytes into frames as the daemon does; see guest/stream.c.

    :ivar dropped: bytes skipped in search of a hello.
    :ivar version: the version that is spoken since the last hello.
    :ivar rest: the beginning of a frame that is not whole yet.
    """

    def __init__(self) -> None:
        """Begin in search of a hello."""
        self.dropped = 0
        self.version = codec.VERSION
        self._decoder: codec.Decoder | None = None  # while it seeks
        self.rest = b""

    def fork(self) -> FrameReader:
        """Return one that goes on from here by itself."""
        other = FrameReader()
        other.dropped, other.version, other.rest = self.dropped, self.version, self.rest
        if self._decoder:
            other._decoder = codec.Decoder("host", self.version)
            other._decoder.receive_data(self.rest)
        return other

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take bytes, yield the frames that they complete."""
        self.rest += data
        while self._decoder or self._seek():
            if self._decoder is None:
                self._decoder, data = codec.Decoder("host", self.version), self.rest
            self._decoder.receive_data(data)
            while event := self._next(self._decoder):
                yield event
                if isinstance(event.outcome, codec.DecodeError):
                    self._decoder = None
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
        if isinstance(outcome, codec.Hello):
            self.version = decoder.version = agreed(outcome)
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
        """Tell whether the next byte begins a frame, of whatever type."""
        return self._decoder is not None and not self.rest

    def missing(self) -> int:
        """Return how many bytes the frame lacks that has begun; 0 where the next may begin."""
        if self._decoder is None or not self.rest:
            return 0
        size = codec.HEADER_SIZE
        if len(self.rest) >= size:
            size += HEADER.unpack_from(self.rest)[0]
        return size - len(self.rest)
