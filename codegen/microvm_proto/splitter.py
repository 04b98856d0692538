"""Splits a stream of bytes, which arrives in pieces, into frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from microvm_proto.frame import FramePart, Incomplete, Malformed, examine
from microvm_proto.framing import DELIMITER
from microvm_proto.schema import Schema
from microvm_proto.stream import FrameReceiver


class Frame(NamedTuple):
    """A frame of a stream, or a run of bytes that is not a frame."""

    at: int
    data: bytes
    parts: Sequence[FramePart]
    broken: Malformed | Incomplete | None


class Splitter:
    """Splits a stream of bytes, which arrives in pieces, into frames.

    Bytes that cannot be a frame are yielded as a broken frame. The frames after a broken one are
    unreliable.

    :ivar at: Offset in the stream of the first byte that does not belong to a complete frame yet.
    """

    def __init__(self, schema: Schema, sender: str | None) -> None:
        self.at = 0
        self.rest = bytearray()
        self._schema = schema
        self._sender = sender
        self._max_body = {message.number: message.max_body for message in schema.messages}

    def begin(self, at: int) -> None:
        """Discard all buffered bytes, and expect a frame at the offset `at` of the stream."""
        self.at = at
        self.rest.clear()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that these bytes complete."""
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
        """Yield the incomplete frame at the end of the stream, if there is one."""
        if self.rest:
            yield self._read(self.at, bytes(self.rest))

    def _read(self, at: int, data: bytes) -> Frame:
        return Frame(at, data, *examine(self._schema, data, self._sender))


class ResumingSplitter(Splitter):
    """A splitter that continues after a broken frame, which only some framings allow."""

    def __init__(self, schema: Schema, sender: str | None) -> None:
        super().__init__(schema, sender)
        self.receiver = FrameReceiver(schema, sender)
        self._most = schema.framing.wire_size(schema.max_body)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that these bytes complete, and runs of bytes that are not a frame."""
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
        """Yield the incomplete frame at the end of the stream, if there is one."""
        if self.rest and self._schema.framing.kind == "cobs":
            yield Frame(self.at, bytes(self.rest), (), Incomplete(len(DELIMITER)))
        else:
            yield from super().end()
