"""A simple, slow receiver, which finds and counts frames, and continues after a bad frame.

Tests compare the generated receivers with this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from microvm_proto.frame import FramePart, Incomplete, Malformed, examine
from microvm_proto.framing import DELIMITER, unstuff
from microvm_proto.schema import Schema


@dataclass(slots=True)
class Counts:
    """The counters of a receiver, such as the number of valid and of refused frames.

    :ivar bad: Number of refused frames, and of runs of bytes that are not a frame.
    :ivar foreign: Number of refused frames that seem to be from a program with another schema:
        their checksum would be valid with the seed that fits the checksum of the frame before.
    :ivar lost: Number of frames that must be missing, because of gaps in the sequence numbers.
    """

    frames: int = 0
    bad: int = 0
    foreign: int = 0
    skipped: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """A frame as it was received, or a run of bytes that is not a frame.

    :ivar frame: Frame without COBS encoding, or as much of it as could be decoded.
    :ivar error: Reason why the frame is refused; None if it is valid.
    """

    at: int
    size: int
    frame: bytes
    parts: tuple[FramePart, ...] = ()
    error: Malformed | None = None
    foreign: bool = False

    def header(self, name: str) -> int:
        """Return the value of a header field; 0 if the frame has no field of that name."""
        values = (part.value for part in self.parts if not part.number and part.name == name)
        value = next(values, 0)
        return value if isinstance(value, int) else 0


@dataclass(slots=True)
class FrameReceiver:
    """A receiver, which finds the frames in a stream of bytes or in datagrams.

    :ivar sender: Side that sends the frames, one of the schema's `ends`; None for either side.
    :ivar rest: Number of bytes at the end of the received data that may begin a frame.
    """

    schema: Schema
    sender: str | None = None
    version: int | None = None
    counts: Counts = field(default_factory=Counts)
    rest: int = 0
    _longest: int = 0
    _next: int | None = None
    _seed: int = 0

    def __post_init__(self) -> None:
        """Compute the maximum size of a frame. If `version` is given, reduce the schema to it."""
        ends = (self.sender,) if self.sender else self.schema.ends
        longest = max(map(self.schema.max_body_from, ends))
        self._longest = self.schema.framing.bare_size(longest)
        if self.version is not None:
            self.schema = self.schema.at(self.version)
        self._seed = self.schema.seed

    def receive(self, data: bytes) -> Iterator[Piece]:
        """Yield and count the frames, good and bad, of a complete stream or of one datagram."""
        split = {"datagram": self._datagram, "cobs": self._stuffed}
        for piece in split.get(self.schema.framing.kind, self._stream)(data):
            self._count(piece)
            yield piece

    def _datagram(self, data: bytes) -> Iterator[Piece]:
        yield self._piece(0, len(data), data)

    def _stuffed(self, data: bytes) -> Iterator[Piece]:
        at = 0
        *chunks, rest = data.split(DELIMITER)
        for chunk in chunks:
            size = len(chunk) + 1
            frame = unstuff(chunk, self._longest)
            if frame is None:
                error = Malformed("bad_stuffing", 0, "a last run that ends at the delimiter")
                yield Piece(at, size, b"", error=error)
            elif chunk:
                yield self._piece(at, size, frame)
            at += size
        self.rest = len(rest)

    def _stream(self, data: bytes) -> Iterator[Piece]:
        framing = self.schema.framing
        start = at = 0
        why: Malformed | None = None
        while True:
            try:
                piece = self._piece(at, None, self._frame_at(data, at))
            except Incomplete:
                break
            if piece.error and not self._ends(piece, piece.error):
                # No valid frame begins at this byte. If frames have a checksum, try each later
                # byte, because a valid checksum proves that a frame begins there. Otherwise, refuse
                # all bytes that remain.
                why = why or piece.error
                at = at + 1 if framing.resynchronises else len(data)
                continue
            if why:
                yield Piece(start, at - start, data[start:at], error=why)
            yield piece
            start = at = at + piece.size
            why = None
        if why:
            yield Piece(start, at - start, data[start:at], error=why)
        self.rest = len(data) - at

    def _frame_at(self, data: bytes, at: int) -> bytes:
        """Return the frame at the offset `at`, or only its header if the frame would be too long.

        In random data, each byte seems to begin a frame, so copying more bytes than this would be
        slow.
        """
        framing = self.schema.framing
        size = framing.bare_size(int.from_bytes(data[at : at + framing.length], "little"))
        return data[at : at + (size if size <= self._longest else framing.header_size)]

    def _ends(self, piece: Piece, error: Malformed) -> bool:
        """Return True if it is certain where `piece`, a frame with this error, ends."""
        framing = self.schema.framing
        checked = framing.check_size > 0 and error.fault.name != "bad_check"
        return piece.foreign or (checked and error.offset >= framing.header_size)

    def _piece(self, at: int, size: int | None, frame: bytes) -> Piece:
        """Read the parts of a frame (`size` is None if unknown) at the offset `at`; find its fault.

        :param size: Number of received bytes of the frame; None to compute it from the length in
            the header.
        """
        framing = self.schema.framing
        parts, error = examine(self.schema, frame, self.sender)
        if isinstance(error, Incomplete):
            raise error
        piece = Piece(at, size or 0, frame, tuple(parts), error)
        if size is None:
            size = framing.bare_size(piece.header("body_length"))
            piece = replace(piece, size=size, frame=frame[:size])
        if error is None:
            self._seed = self.schema.seed
        elif error.fault.name == "bad_check":
            seed = framing.seed_of(piece.frame)
            piece = replace(piece, foreign=seed == self._seed)
            self._seed = seed
        return piece

    def _count(self, piece: Piece) -> None:
        counts = self.counts
        if piece.error:
            counts.bad += 1
            counts.foreign += piece.foreign
            counts.skipped += piece.size
            return
        counts.frames += 1
        if self.schema.framing.sequence:
            number = piece.header("sequence")
            gap = (number - self._next) % 256 if self._next is not None else 0
            # Sequence numbers are modulo 256. So a gap of 128 or more means that the number is
            # lower than the expected one, for example because a datagram arrives late. In this
            # case, no frames are counted as lost.
            if gap < 128:
                counts.lost += gap
                self._next = number + 1
