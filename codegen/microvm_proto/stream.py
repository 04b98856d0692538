"""A receiver of the frames that an end sends, which goes on behind a bad one and counts.

As :mod:`microvm_proto.frame`, it is slow and obvious, and what the generated receivers are tested
against.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from microvm_proto.frame import Incomplete, Malformed, Part, read
from microvm_proto.framing import DELIMITER, unstuff
from microvm_proto.schema import Schema


@dataclass(slots=True)
class Counts:
    """What a receiver has seen; bytes are those on the wire.

    :ivar frames: frames that were handed on.
    :ivar bad: frames, or runs of bytes that make none, that were refused.
    :ivar foreign: those of them whose check is right for the seed for which that of the last frame
        was, which is how frames of another schema look.
    :ivar skipped: the bytes of all that was refused.
    :ivar lost: frames that are missing by the numbers of those that came.
    """

    frames: int = 0
    bad: int = 0
    foreign: int = 0
    skipped: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """A frame on the wire, or bytes that make none.

    :ivar at: the offset of its first byte.
    :ivar size: how many bytes it has there.
    :ivar frame: the bare frame, or what there is of it.
    :ivar parts: the parts of the frame, up to the fault.
    :ivar error: why it is refused; None when it is not.
    :ivar foreign: whether it is a frame of another schema.
    """

    at: int
    size: int
    frame: bytes
    parts: tuple[Part, ...] = ()
    error: Malformed | None = None
    foreign: bool = False

    def header(self, name: str) -> int:
        """Return the value of a field of the header; 0 when there is none."""
        values = (part.value for part in self.parts if not part.number and part.name == name)
        value = next(values, 0)
        return value if isinstance(value, int) else 0


@dataclass(slots=True)
class Receiver:
    """A receiver of what `sender` sends, or of what either end does when that is None.

    :ivar schema: as it is in the version.
    :ivar version: the one that is spoken; None: the newest.
    :ivar rest: how many bytes at the end belong to a frame that is not whole.
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
        """Look up the longest bare frame of any version, beyond which nothing is kept."""
        ends = (self.sender,) if self.sender else self.schema.ends
        longest = max(map(self.schema.max_body_from, ends))
        self._longest = self.schema.framing.bare_size(longest)
        if self.version is not None:
            self.schema = self.schema.at(self.version)
        self._seed = self.schema.seed

    def receive(self, data: bytes) -> Iterator[Piece]:
        """Yield the pieces of a whole stream, or the one of a datagram, and count them."""
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
                error = Malformed("bad_stuffing", 0, "runs that end before the delimiter")
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
                # No frame begins here; one may begin at the next byte, where that can be told.
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
        """Return the frame there, or where none can be so long its header, which says so.

        No more than that, since in noise one seems to begin at each byte.
        """
        framing = self.schema.framing
        size = framing.bare_size(int.from_bytes(data[at : at + framing.length], "little"))
        return data[at : at + (size if size <= self._longest else framing.header_size)]

    def _ends(self, piece: Piece, error: Malformed) -> bool:
        """Tell whether it is certain where a bad frame of a stream ends."""
        framing = self.schema.framing
        checked = framing.check_size > 0 and error.fault.name != "bad_check"
        return piece.foreign or (checked and error.offset >= framing.header_size)

    def _piece(self, at: int, size: int | None, frame: bytes) -> Piece:
        """Read a frame of `size` bytes on the wire; None: as many as its header says."""
        framing = self.schema.framing
        parts: list[Part] = []
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
            # A number that is behind is that of a datagram which was overtaken.
            if gap < 128:
                counts.lost += gap
                self._next = number + 1
