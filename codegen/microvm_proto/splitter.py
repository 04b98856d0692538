"""A splitter of streams into frames, for pieces of a stream as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from microvm_proto.frame import Incomplete, Malformed, Part, read
from microvm_proto.framing import DELIMITER
from microvm_proto.schema import Schema
from microvm_proto.stream import Receiver


class Frame(NamedTuple):
    """A frame of a stream, as far as it can be read; or bytes that make none.

    :ivar at: the offset in the stream of its first byte.
    :ivar broken: what is wrong behind the parts.
    """

    at: int
    data: bytes
    parts: Sequence[Part]
    broken: Malformed | Incomplete | None


class Splitter:
    """A splitter of a stream into frames, for pieces of it as they come.

    What can be no frame is given out as one; nothing behind it can be made out.

    :ivar at: the offset in the stream of the first byte that is in no frame yet.
    :ivar rest: the bytes from there on.
    """

    def __init__(self, schema: Schema, sender: str | None) -> None:
        self.at = 0
        self.rest = bytearray()
        self._schema = schema
        self._sender = sender
        self._max_body = {message.number: message.max_body for message in schema.messages}

    def begin(self, at: int) -> None:
        """Begin again, with a frame at this offset."""
        self.at = at
        self.rest.clear()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that end in these bytes."""
        self.rest += data
        rest, layout, at = self.rest, self._schema.framing.layout, 0
        while (body := at + layout.size) <= len(rest):
            length, number, *_ = layout.unpack_from(rest, at)
            end = body + length
            if end > len(rest) and length <= self._max_body.get(number, -1):
                break
            yield self._read(self.at + at, bytes(rest[at:end]))
            at = end
        del rest[:at]
        self.at += at

    def end(self) -> Iterator[Frame]:
        """Yield the last frame, if it is not whole."""
        if self.rest:
            yield self._read(self.at, bytes(self.rest))

    def _read(self, at: int, data: bytes) -> Frame:
        parts: list[Part] = []
        try:
            for part in read(self._schema, data, self._sender):
                parts.append(part)
        except (Malformed, Incomplete) as broken:
            return Frame(at, data, parts, broken)
        return Frame(at, data, parts, None)


class ResumingSplitter(Splitter):
    """A splitter that goes on behind what is no frame, as the framing lets it."""

    def __init__(self, schema: Schema, sender: str | None) -> None:
        super().__init__(schema, sender)
        self.receiver = Receiver(schema, sender)
        self._most = schema.framing.wire_size(schema.max_body)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that end in these bytes, and what lies between them."""
        self.rest += data
        for piece in self.receiver.receive(bytes(self.rest)):
            wire = bytes(self.rest[piece.at : piece.at + piece.size])
            yield Frame(self.at + piece.at, piece.frame or wire, piece.parts, piece.error)
        taken = len(self.rest) - self.receiver.rest
        del self.rest[:taken]
        self.at += taken
        if len(self.rest) > self._most:
            why = Malformed("bad_stuffing", 0, f"a zero within {self._most} bytes")
            yield Frame(self.at, bytes(self.rest), (), why)
            self.begin(self.at + len(self.rest))

    def end(self) -> Iterator[Frame]:
        """Yield the last frame, if it is not whole."""
        if self.rest and self._schema.framing.kind == "cobs":
            yield Frame(self.at, bytes(self.rest), (), Incomplete(len(DELIMITER)))
        else:
            yield from super().end()
