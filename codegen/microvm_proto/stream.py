"""A simple, slow receiver of frames, which continues after a bad frame, and counts both kinds.

Tests compare the generated receivers with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from microvm_proto.frame import FramePart, Incomplete, Malformed, read
from microvm_proto.framing import DELIMITER, unstuff
from microvm_proto.schema import Schema


@dataclass(slots=True)
class Counts:
    """Counters of a receiver.

    :ivar frames: Number of valid frames.
    :ivar bad: Number of refused frames, and of runs of bytes that are no frame.
    :ivar foreign: Number of refused frames that seem to be from another schema: their check is
        valid with the same seed as the previous frame's check.
    :ivar skipped: Number of refused bytes, as counted on the wire.
    :ivar lost: Number of frames that the gaps in the sequence numbers show to be missing.
    """

    frames: int = 0
    bad: int = 0
    foreign: int = 0
    skipped: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """A frame on the wire, or a run of bytes that is not a frame.

    :ivar at: Offset of the first byte on the wire.
    :ivar size: Number of bytes on the wire.
    :ivar frame: The bare frame, or as much of it as could be decoded.
    :ivar parts: Parts of the frame, up to the fault.
    :ivar error: Reason why the frame is refused; None if it is valid.
    :ivar foreign: True if the frame seems to be from another schema.
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
    """A receiver that finds the frames in a stream or in datagrams.

    :ivar schema: The schema, in the version that the peers speak.
    :ivar sender: Side that sends the frames, one of the schema's `ends`; None for either side.
    :ivar version: Version that the peers speak; None for the newest.
    :ivar rest: Number of bytes at the end of the data that belong to an incomplete frame.
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
        """Compute the maximum size of a bare frame in any version, and select the version."""
        ends = (self.sender,) if self.sender else self.schema.ends
        longest = max(map(self.schema.max_body_from, ends))
        self._longest = self.schema.framing.bare_size(longest)
        if self.version is not None:
            self.schema = self.schema.at(self.version)
        self._seed = self.schema.seed

    def receive(self, data: bytes) -> Iterator[Piece]:
        """Yield and count the pieces of a complete stream, or the single piece of a datagram."""
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
                # No valid frame begins here. If frames have a check, try the next byte; otherwise,
                # nothing can tell where the next frame begins.
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
        """Return the frame at an offset, or only its header if the length in it is too large.

        Noise seems to contain a frame at every byte, so copying more than this would be slow.
        """
        framing = self.schema.framing
        size = framing.bare_size(int.from_bytes(data[at : at + framing.length], "little"))
        return data[at : at + (size if size <= self._longest else framing.header_size)]

    def _ends(self, piece: Piece, error: Malformed) -> bool:
        """Return True if the end of a bad frame in a stream is known for certain."""
        framing = self.schema.framing
        checked = framing.check_size > 0 and error.fault.name != "bad_check"
        return piece.foreign or (checked and error.offset >= framing.header_size)

    def _piece(self, at: int, size: int | None, frame: bytes) -> Piece:
        """Read a frame that has `size` bytes on the wire; None if the header holds its length."""
        framing = self.schema.framing
        parts: list[FramePart] = []
        error: Malformed | None = None
        try:
            for part in read(self.schema, frame, self.sender):
                parts.append(part)
        except Malformed as malformed:
            error = malformed
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
            # A gap of 128 or more means a number before the expected one: a late datagram.
            if gap < 128:
                counts.lost += gap
                self._next = number + 1
