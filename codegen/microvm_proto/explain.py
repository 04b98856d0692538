"""Shows a stream of frames to people: each field with its bytes, and each fault of a frame.

The content of frames is shown in printable ASCII, so that it cannot control the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from microvm_proto.frame import FramePart, Incomplete, Malformed, Value
from microvm_proto.order import OrderCheck
from microvm_proto.schema import Message, Schema
from microvm_proto.splitter import Frame, ResumingSplitter, Splitter
from microvm_proto.types import Bool, Enum, Field, Flags, Float, Integer, Text

_WIDTH = 8
"""Maximum number of bytes that a line shows in hexadecimal digits."""

_MAX_DATAGRAM = (1 << 16) - 1
_MAX_TEXT = 48
_MAX_ITEMS = 8

_ESCAPES = {byte: f"\\x{byte:02x}" for byte in range(256) if not 0x20 <= byte < 0x7F}
_ESCAPES |= str.maketrans({"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", '"': '\\"'})

_STYLES = ("\x1b[1m", "\x1b[2m", "\x1b[1;31m", "\x1b[0m")


class BrokenStream(Exception):
    """A frame of the stream is malformed or incomplete, or a message is out of order."""


class Foreign(BrokenStream):
    """No frame of the stream has a valid header, so the stream probably has another protocol."""


def explain(
    schema: Schema, pieces: Iterable[bytes], sender: str | None = None, *, colour: bool = False
) -> Iterator[str]:
    """Yield lines that describe the frames of a stream, as soon as each frame is complete.

    :raises BrokenStream: Raised if a frame is malformed, if the stream ends within a frame, or, at
        the end of the stream, if a message was out of order.
    """
    if schema.framing.kind == "datagram":
        pieces = [_datagram(pieces)]
    stream = Stream(View(schema, colour=colour), sender)
    for piece in pieces:
        yield from stream.feed(piece)
    yield from stream.end()
    if stream.fault:
        raise BrokenStream(stream.fault)


def _datagram(pieces: Iterable[bytes]) -> bytes:
    data = bytearray()
    for piece in pieces:
        data += piece
        if len(data) > _MAX_DATAGRAM:
            raise BrokenStream(f"the input exceeds a datagram's maximum of {_MAX_DATAGRAM} bytes")
    return bytes(data)


class Stream:
    """Decodes a stream of frames, and shows each frame as soon as its last byte arrives.

    :ivar name: Text that follows the offset in the title of a frame, to distinguish streams.
    """

    def __init__(self, view: View, sender: str | None = None, *, known: bool = True) -> None:
        """Create a stream of frames from the side `sender`, `known` to be frames of this protocol.

        :param known: True if the stream certainly belongs to this protocol. Otherwise, bytes
            without a valid header are not shown before the first frame.
        """
        framing = view.schema.framing
        ordered = view.schema.conversations and framing.kind != "datagram"
        self._order = OrderCheck(view.schema, sender) if ordered else None
        self._lost = 0
        kind = ResumingSplitter if framing.resynchronises else Splitter
        self.splitter = kind(view.schema, sender)
        self.name = ""
        self.frames = 0
        self.at = 0
        self._view = view
        self._known = known
        self._header_size = framing.header_size
        self._bad = 0

    @property
    def fault(self) -> str:
        """One line about the first message that is out of order; empty if there is none."""
        return self._order.fault if self._order else ""

    def begin(self, at: int) -> None:
        """Discard all buffered bytes, and expect a frame at the offset `at` of the stream."""
        self.splitter.begin(at)
        self._lose()

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the lines of text about the frames that these bytes complete."""
        for frame in self.splitter.feed(data):
            yield from self._frame(frame)

    def rest(self) -> Iterator[str]:
        """Yield the lines about an incomplete frame at the end of the stream, if there is one."""
        for frame in self.splitter.end():
            yield from self._frame(frame)

    def end(self) -> Iterator[str]:
        """Yield the lines of text about an incomplete frame at the end, and about lost frames."""
        yield from self.rest()
        if not isinstance(self.splitter, ResumingSplitter):
            return
        counts = self.splitter.receiver.counts
        if counts.lost:
            yield f"{counts.lost} frames are lost, according to the sequence numbers"
        if self._bad:
            error = Foreign if self._bad == self.frames else BrokenStream
            raise error(self._with_fault(f"{self._bad} of {self.frames} frames are malformed"))

    def _frame(self, frame: Frame) -> Iterator[str]:
        broken, resumes = frame.broken, isinstance(self.splitter, ResumingSplitter)
        foreign = not self.frames and (resumes or self._is_headless(frame))
        if broken and foreign and not self._known:
            if resumes:
                return
            raise Foreign
        self.frames += 1
        self.at = frame.at
        yield from self._view.lines(f"frame {self.frames}, at {frame.at}{self.name}", frame)
        if isinstance(broken, Incomplete):
            reason = f"incomplete: {broken}"
        elif broken and not resumes:
            reason = f"malformed: {broken.fault.name}"
        else:
            self._bad += broken is not None
            yield from self._out_of_order(frame)
            yield ""
            return
        error = Foreign if foreign else BrokenStream
        raise error(self._with_fault(f"frame {self.frames} is {reason}"))

    def _out_of_order(self, frame: Frame) -> Iterator[str]:
        """Yield a line if this frame shows that a message is out of order, the first one only."""
        if self._order is None:
            return
        if isinstance(self.splitter, ResumingSplitter):
            lost = self.splitter.receiver.counts.lost
            if frame.broken or lost != self._lost:
                self._lose()
            self._lost = lost
        if not frame.broken and (fault := self._order.follow(self.frames, frame)):
            yield self._view.fault(fault)

    def _lose(self) -> None:
        """Make every state of the conversations possible, because frames are missing."""
        if self._order:
            self._order.lose()

    def _with_fault(self, reason: str) -> str:
        return f"{self.fault}; {reason}" if self.fault else reason

    def _is_headless(self, frame: Frame) -> bool:
        at = frame.broken.offset if isinstance(frame.broken, Malformed) else len(frame.data)
        return at < self._header_size


class View:
    """The format in which frames are shown, with or without colours."""

    def __init__(self, schema: Schema, *, colour: bool) -> None:
        self.schema = schema
        self._header_size = schema.framing.header_size
        self._type = [part.name for part in schema.framing.header].index("type")
        self._bold, self._dim, self._red, self._plain = _STYLES if colour else [""] * 4
        self._messages: dict[Value, Message] = {
            message.number: message for message in schema.messages
        }
        self._enums = {
            enum.name: {value.number: value.name for value in enum.members} for enum in schema.enums
        }
        self._more = self._row("", b"", "", "...")

    def lines(self, title: str, frame: Frame) -> list[str]:
        """Return the lines of text that describe a frame, with `title` on the first line."""
        data, broken = frame.data, frame.broken
        lines = [self._bold + title + self._sent(frame.parts) + self._plain]
        for part in frame.parts:
            if part.item is None or part.item < _MAX_ITEMS:
                octets = data[part.offset : part.offset + part.size]
                lines.append(self._row(part.offset, octets, part.name, self._value(part)))
            elif part.item == _MAX_ITEMS and lines[-1] != self._more:
                lines.append(self._more)
            if isinstance(broken, Malformed) and broken.offset == part.offset < self._header_size:
                lines.append(self._caret(0, broken))
        if broken:
            lines += self._break(frame, broken)
        return lines

    def fault(self, text: str) -> str:
        """Return a line of text about a message that is out of order."""
        return f"          {self._red}{text}{self._plain}"

    def _sent(self, parts: Sequence[FramePart]) -> str:
        message = self._messages.get(parts[self._type].value) if len(parts) > self._type else None
        if message is None:
            return ""
        sender = "either side" if message.sender == "both" else message.sender
        return f": {message.name}, sent by {sender}"

    def _row(self, offset: int | str, data: bytes, name: str, value: str) -> str:
        shown = data.hex(" ") if len(data) <= _WIDTH else data[:_WIDTH].hex(" ") + " ..."
        # This code runs for each line of output. So pad the texts with `rjust` and `ljust`, which
        # are twice as fast as formats such as `:>8`.
        where, octets, label = str(offset).rjust(8), shown.ljust(27), name.ljust(16)
        row = f"{where}  {self._dim}{octets}{self._plain}  {label} {value}"
        return row if value else row.rstrip()

    def _value(self, part: FramePart) -> str:
        value, kind, field = part.value, part.kind, part.field
        if isinstance(value, bytes):
            return _text(value, "utf-8" if isinstance(kind, Text) else "latin-1")
        if field is None:
            if part.name != "type":
                return _integer(value)
            message = self._messages.get(value)
            return f"{value} ({message.name if message else 'unknown'})"
        match kind:
            case Integer() | Float():
                if field.unit or field.scale or value == field.absent:
                    return _measured(field, kind, value)
                return _integer(value) if isinstance(kind, Integer) else _number(kind, value)
            case Enum(name=name):
                return f"{value} ({self._enums[name].get(value, 'unknown')})"
            case Flags():
                return f"{value:#x} ({_bits(kind, value)})"
            case Bool():
                return f"{value} ({'true' if value else 'false'})"
        return f"{value} item{'' if value == 1 else 's'}"

    def _break(self, frame: Frame, broken: Malformed | Incomplete) -> Iterator[str]:
        """Yield lines that show a frame's bytes after its last valid part, and name its fault."""
        data = frame.data
        behind = frame.parts[-1].offset + frame.parts[-1].size if frame.parts else 0
        if isinstance(broken, Incomplete):
            missing = "1 byte is" if broken.missing == 1 else f"{broken.missing} bytes are"
            yield self._row(behind, data[behind:], "", f"{missing} missing")
            return
        if not frame.parts:
            yield self._row(0, data, "", f"{len(data)} bytes that are not a frame")
        elif broken.offset >= self._header_size:
            # Begin some bytes before the fault, so that the first bytes of the faulty field are
            # shown, too.
            start = max(behind, broken.offset - _WIDTH // 2)
            yield self._row(start, data[start:], broken.name, "")
            yield self._caret(broken.offset - start, broken)
        fault = broken.fault
        yield f"          {fault.name} ({fault.number}) at {broken.offset}: {fault.doc}"
        yield f"          expected {broken.expected}"

    def _caret(self, behind: int, broken: Malformed) -> str:
        return f"{' ' * (10 + 3 * behind)}{self._red}^^ {broken.fault.name}{self._plain}"


def _integer(value: int) -> str:
    return str(value) if value <= 0xFFFF else f"{value} ({value:#x})"


def _measured(field: Field, kind: Integer | Float, value: int) -> str:
    """Return a field's number as text, with the quantity in the field's unit, or "absent"."""
    shown = _number(kind, value) if isinstance(kind, Float) else str(value)
    if value == field.absent:
        return f"{shown} (absent)"
    if not field.scale:
        return f"{shown} {field.unit}"
    number = kind.number(value) if isinstance(kind, Float) else value
    return f"{shown} ({f'{number * field.scale:.10g} {field.unit}'.rstrip()})"


def _number(kind: Float, bits: int) -> str:
    return f"{kind.number(bits):.{7 if kind.size == 4 else 15}g}"


def _bits(kind: Flags, value: int) -> str:
    names = [bit.name for bit in kind.members if value & bit.mask]
    unknown = value & ~kind.mask
    return ", ".join([*names, *([f"{unknown:#x}"] if unknown else [])]) or "none"


def _text(data: bytes, encoding: str) -> str:
    r"""Format a text in an `encoding` as ASCII in quotes, with C escapes; shorten long texts."""
    text = data[: 4 * (_MAX_TEXT + 1)].decode(encoding, "ignore")
    shown = text[:_MAX_TEXT].translate(_ESCAPES).encode("ascii", "backslashreplace").decode()
    rest = f"... {len(data)} bytes" if len(text) > _MAX_TEXT else ""
    return f'"{shown}"{rest}'
