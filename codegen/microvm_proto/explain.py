"""A view of a stream of frames for people: each field with its bytes, and where and why one breaks.

Everything is shown as printable ASCII, so that no frame can send escapes to a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from microvm_proto.frame import Incomplete, Malformed, Part, Value, read
from microvm_proto.schema import Message, Schema
from microvm_proto.types import ByteList, Enum

_WIDTH = 8
"""Bytes in hexadecimal that stand on a line."""

_MAX_TEXT = 48
_MAX_ITEMS = 8

_ESCAPES = {byte: f"\\x{byte:02x}" for byte in range(256) if not 0x20 <= byte < 0x7F}
_ESCAPES |= str.maketrans({"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", '"': '\\"'})

_STYLES = ("\x1b[1m", "\x1b[2m", "\x1b[1;31m", "\x1b[0m")


class BrokenStream(Exception):
    """The stream does not end with the end of a frame; all that can be shown has been."""


class Foreign(BrokenStream):
    """The stream does not even begin with the header of a frame, so it may be something else."""


def explain(
    schema: Schema, pieces: Iterable[bytes], sender: str | None = None, *, colour: bool = False
) -> Iterator[str]:
    """Yield the lines that describe each frame of a stream, as soon as it is whole.

    :param pieces: the stream, in pieces of any size.
    :param sender: one of the schema's ends; None: whoever may send each.
    :raises BrokenStream: a frame is malformed, or the last one is not whole.
    """
    stream = Stream(View(schema, colour=colour), sender)
    for piece in pieces:
        yield from stream.feed(piece)
    yield from stream.end()


class Splitter:
    """A splitter of a stream into frames, for pieces as they come.

    What can be no frame is given out as one, for :func:`microvm_proto.frame.read` to say why;
    nothing behind it can be made out.

    :ivar at: the offset in the stream of the first byte that is in no frame yet.
    :ivar rest: the bytes from there on.
    """

    def __init__(self, schema: Schema, at: int = 0) -> None:
        self._header_size = schema.framing.header_size
        self._max_body = {message.number: message.max_body for message in schema.messages}
        self.at = at
        self.rest = bytearray()

    def feed(self, piece: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the frames that end in this piece, each with its offset in the stream."""
        self.rest += piece
        data, at = self.rest, 0
        while (body := at + self._header_size) <= len(data):
            length = int.from_bytes(data[at : at + 4], "little")
            number = int.from_bytes(data[at + 4 : at + 6], "little")
            end = body + length
            if end > len(data) and length <= self._max_body.get(number, -1):
                break
            yield self.at + at, bytes(data[at:end])
            at = end
        del data[:at]
        self.at += at


class Stream:
    """A stream of frames, of which each is shown when its last byte has come.

    :ivar name: what stands behind the offsets in the titles, where there are several streams.
    :ivar frames: how many were shown, with those that are malformed.
    :ivar at: the offset of the last of them.
    """

    def __init__(self, view: View, sender: str | None = None) -> None:
        self.view = view
        self.sender = sender
        self.splitter = Splitter(view.schema)
        self.name = ""
        self.frames = 0
        self.at = 0

    def feed(self, piece: bytes) -> Iterator[str]:
        """Yield the lines of the frames that end in this piece.

        :raises BrokenStream: behind those of one that is malformed.
        """
        for at, frame in self.splitter.feed(piece):
            yield from self._frame(at, frame)

    def end(self) -> Iterator[str]:
        """Yield the lines of a frame that is not whole.

        :raises BrokenStream: behind them.
        """
        if self.splitter.rest:
            yield from self._frame(self.splitter.at, bytes(self.splitter.rest))

    def _frame(self, at: int, frame: bytes) -> Iterator[str]:
        self.frames += 1
        self.at = at
        title = f"frame {self.frames}, at {at}{self.name}"
        lines, broken = self.view.frame(title, frame, self.sender)
        yield from lines
        if broken:
            header_size = self.view.schema.framing.header_size
            if isinstance(broken, Malformed):
                reason, header = f"malformed: {broken.fault.name}", broken.offset < header_size
            else:
                reason, header = f"not whole: {broken}", len(frame) < header_size
            error = Foreign if self.frames == 1 and header else BrokenStream
            raise error(f"frame {self.frames} is {reason}")
        yield ""


class View:
    """What the frames of a schema look like, with or without the styles of a terminal."""

    def __init__(self, schema: Schema, *, colour: bool) -> None:
        self.schema = schema
        self._header_size = schema.framing.header_size
        self._bold, self._dim, self._red, self._plain = _STYLES if colour else [""] * 4
        self._messages: dict[Value, Message] = {
            message.number: message for message in schema.messages
        }
        self._enums = {
            enum.name: {value.number: value.name for value in enum.values} for enum in schema.enums
        }

    def frame(
        self, title: str, frame: bytes, sender: str | None
    ) -> tuple[list[str], Malformed | Incomplete | None]:
        """Return the lines of a frame, and what is wrong with it."""
        parts: list[Part] = []
        broken: Malformed | Incomplete | None = None
        try:
            for part in read(self.schema, frame, sender):
                parts.append(part)
        except (Malformed, Incomplete) as error:
            broken = error
        lines = [self._bold + title + self._sent(parts) + self._plain]
        for part in parts:
            if part.item is None or part.item < _MAX_ITEMS:
                data = frame[part.offset : part.offset + part.size]
                lines.append(self._row(part.offset, data, part.name, self._value(part)))
            elif part.item == _MAX_ITEMS:
                lines.append(self._row("", b"", "", "..."))
            if isinstance(broken, Malformed) and broken.offset == part.offset < self._header_size:
                lines.append(self._caret(0, broken))
        if broken:
            lines += self._break(frame, parts[-1].offset + parts[-1].size if parts else 0, broken)
        return lines, broken

    def _sent(self, parts: list[Part]) -> str:
        numbers = [part.value for part in parts if not part.number and part.name == "type"]
        message = self._messages.get(numbers[0]) if numbers else None
        if message is None:
            return ""
        sender = "either side" if message.sender == "both" else message.sender
        return f": {message.name}, sent by {sender}"

    def _row(self, offset: int | str, data: bytes, name: str, value: str) -> str:
        shown = data.hex(" ") if len(data) <= _WIDTH else data[:_WIDTH].hex(" ") + " ..."
        row = f"{offset:>8}  {self._dim}{shown:<27}{self._plain}  {name:<16} {value}"
        return row if value else row.rstrip()

    def _value(self, part: Part) -> str:
        value = part.value
        if isinstance(value, bytes):
            return _text(value)
        kind = part.kind
        if part.field is None and part.name == "type":
            message = self._messages.get(value)
            return f"{value} ({message.name if message else 'unknown'})"
        if isinstance(kind, Enum):
            return f"{value} ({self._enums[kind.name].get(value, 'unknown')})"
        if isinstance(kind, ByteList):
            return f"{value} item{'' if value == 1 else 's'}"
        return str(value) if value <= 0xFFFF else f"{value} ({value:#x})"

    def _break(self, frame: bytes, behind: int, broken: Malformed | Incomplete) -> Iterator[str]:
        """Yield the lines of what is no part of a frame any more."""
        if isinstance(broken, Incomplete):
            yield self._row(behind, frame[behind:], "", f"{broken.missing} bytes are missing")
            return
        if broken.offset >= self._header_size:
            # The bytes of the field in front of the fault are shown, too.
            start = max(behind, broken.offset - _WIDTH // 2)
            yield self._row(start, frame[start:], broken.name, "")
            yield self._caret(broken.offset - start, broken)
        fault = broken.fault
        yield f"          {fault.name} ({fault.number}) at {broken.offset}: {fault.doc}"
        yield f"          expected {broken.expected}"

    def _caret(self, behind: int, broken: Malformed) -> str:
        return f"{' ' * (10 + 3 * behind)}{self._red}^^ {broken.fault.name}{self._plain}"


def _text(data: bytes) -> str:
    r"""Show bytes as printable ASCII in quotes, escaped as in Python and C; long ones in part."""
    shown = data[:_MAX_TEXT].decode("latin-1").translate(_ESCAPES)
    rest = f"... {len(data)} bytes" if len(data) > _MAX_TEXT else ""
    return f'"{shown}"{rest}'
