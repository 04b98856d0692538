"""A view of a stream of frames for people: each field with its bytes, and where and why one breaks.

Everything is shown as printable ASCII, so that no frame can send escapes to a terminal.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import click

from microvm_proto.frame import Incomplete, Malformed, Part, message_of, read
from microvm_proto.schema import HEADER_SIZE, Schema
from microvm_proto.types import ByteList, Enum

_WIDTH = 8
"""Bytes in hexadecimal that stand on a line."""

_MAX_TEXT = 48
_MAX_ITEMS = 8

_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", '"': '\\"'}


class BrokenStream(Exception):
    """The stream does not end with the end of a frame; all that can be shown has been."""


def explain(schema: Schema, data: bytes, sender: str | None = None) -> Iterator[str]:
    """Yield the lines that describe each frame in `data`.

    :param sender: one of the schema's ends; None: whoever may send each.
    :raises BrokenStream: a frame is malformed, or the last one is not whole.
    """
    at = 0
    for number in itertools.count(1):
        if at == len(data):
            return
        length = int.from_bytes(data[at : at + 4], "little")
        frame = data[at : at + HEADER_SIZE + min(length, schema.max_body)]
        parts: list[Part] = []
        broken: Malformed | Incomplete | None = None
        try:
            for part in read(schema, frame, sender):
                parts.append(part)
        except (Malformed, Incomplete) as error:
            broken = error
        yield click.style(_title(schema, number, at, parts), bold=True)
        yield from _rows(schema, parts, frame, broken)
        if isinstance(broken, Malformed):
            yield from _reason(broken)
            raise BrokenStream(f"frame {number} is malformed: {broken.fault.name}")
        if broken:
            raise BrokenStream(f"frame {number} is not whole: {broken}")
        yield ""
        at += len(frame)


def _header(parts: list[Part]) -> dict[str, int]:
    return {p.name: p.value for p in parts if not p.number and isinstance(p.value, int)}


def _title(schema: Schema, number: int, at: int, parts: list[Part]) -> str:
    message = message_of(schema, _header(parts).get("type", 0))
    if message is None:
        return f"frame {number}, at {at}"
    sender = "either side" if message.sender == "both" else message.sender
    return f"frame {number}, at {at}: {message.name}, sent by {sender}"


def _rows(
    schema: Schema, parts: list[Part], frame: bytes, broken: Malformed | Incomplete | None
) -> Iterator[str]:
    for part in parts:
        if part.item is None or part.item < _MAX_ITEMS:
            data = frame[part.offset : part.offset + part.size]
            yield _row(part.offset, data, part.name, _value(schema, part))
        elif part.item == _MAX_ITEMS:
            yield _row(None, b"", "", "...")
        if isinstance(broken, Malformed) and broken.offset == part.offset < HEADER_SIZE:
            yield _caret(0, broken)
    if isinstance(broken, Malformed) and broken.offset >= HEADER_SIZE:
        # The bytes of the field in front of the fault are shown, too.
        start = max(parts[-1].offset + parts[-1].size, broken.offset - _WIDTH // 2)
        yield _row(start, frame[start:], broken.name, "")
        yield _caret(broken.offset - start, broken)
    elif isinstance(broken, Incomplete):
        rest = frame[parts[-1].offset + parts[-1].size if parts else 0 :]
        yield _row(len(frame) - len(rest), rest, "", f"{broken.missing} bytes are missing")


def _row(offset: int | None, data: bytes, name: str, value: str) -> str:
    shown = data[:_WIDTH].hex(" ") + (" ..." if len(data) > _WIDTH else "")
    where = "" if offset is None else str(offset)
    hexadecimal = click.style(f"{shown:<{3 * _WIDTH + 3}}", dim=True)
    return f"{where:>8}  {hexadecimal}  {name:<16} {value}".rstrip()


def _value(schema: Schema, part: Part) -> str:
    if isinstance(part.value, bytes):
        return _text(part.value)
    if part.field is None and part.name == "type":
        message = message_of(schema, part.value)
        return f"{part.value} ({message.name if message else 'unknown'})"
    kind = part.kind
    if isinstance(kind, Enum):
        names = [value.name for value in kind.values if value.number == part.value]
        return f"{part.value} ({names[0] if names else 'unknown'})"
    if isinstance(kind, ByteList):
        return f"{part.value} item{'' if part.value == 1 else 's'}"
    return str(part.value) if part.value <= 0xFFFF else f"{part.value} ({part.value:#x})"


def _text(data: bytes) -> str:
    r"""Show bytes as printable ASCII in quotes, escaped as in Python and C; long ones in part."""
    shown = "".join(map(_escaped, data[:_MAX_TEXT]))
    rest = f"... {len(data)} bytes" if len(data) > _MAX_TEXT else ""
    return f'"{shown}"{rest}'


def _escaped(byte: int) -> str:
    char = chr(byte)
    return _ESCAPES.get(char) or (char if " " <= char <= "~" else f"\\x{byte:02x}")


def _caret(behind: int, broken: Malformed) -> str:
    return " " * (10 + 3 * behind) + click.style(f"^^ {broken.fault.name}", fg="red", bold=True)


def _reason(broken: Malformed) -> Iterator[str]:
    fault = broken.fault
    yield f"          {fault.name} ({fault.number}) at {broken.offset}: {fault.doc}"
    yield f"          expected {broken.expected}"
