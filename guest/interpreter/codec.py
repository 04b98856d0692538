"""The frames of the interpreter's protocol, encoded and decoded by the generated tables."""

from __future__ import annotations

import struct

from interpreter.tables import MESSAGES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

HEADER = struct.Struct("<IHHI")
"""The header of a frame: the length of the body, the type, the flags, and the id."""

FORMATS = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "bool": "<B"}


class MalformedFrame(Exception):
    """Raised if a frame breaks a rule of the protocol."""


def _number(kind: list[Any]) -> tuple[Callable[..., Any], Callable[..., bytes]]:
    form = struct.Struct(FORMATS[kind[0]])
    values = frozenset(value for value, _ in kind[1]) if len(kind) > 1 else None
    if kind[0] == "bool":
        values = frozenset((0, 1))

    def read(frame: bytes, at: int) -> tuple[int, int]:
        (value,) = form.unpack_from(frame, at)
        if values is not None and value not in values:
            raise MalformedFrame(f"unknown value {value}")
        return value, at + form.size

    return read, form.pack


def _string(kind: list[Any]) -> tuple[Callable[..., Any], Callable[..., bytes]]:
    length = struct.Struct("<I")
    name, most, has_nul = kind

    def read(frame: bytes, at: int) -> tuple[Any, int]:
        (size,) = length.unpack_from(frame, at)
        start, end = at + 4, at + 4 + size
        data = frame[start:end]
        if size > most or len(data) != size or not (has_nul or 0 not in data):
            raise MalformedFrame(f"a string of {size} bytes")
        return (data.decode() if name == "text" else data), end

    def write(value: Any) -> bytes:
        data = cut(value, most) if name == "text" else value
        return length.pack(len(data)) + data

    return read, write


def _tail(kind: list[Any]) -> tuple[Callable[..., Any], Callable[..., bytes]]:
    most = kind[1]

    def read(frame: bytes, at: int) -> tuple[bytes, int]:
        if len(frame) - at > most:
            raise MalformedFrame(f"a tail of {len(frame) - at} bytes")
        return frame[at:], len(frame)

    return read, bytes


def _array(kind: list[Any]) -> tuple[Callable[..., Any], Callable[..., bytes]]:
    count = kind[2]

    def read(frame: bytes, at: int) -> tuple[bytes, int]:
        if len(frame) < at + count:
            raise MalformedFrame("a short array")
        return frame[at : at + count], at + count

    return read, bytes


KINDS = {"text": _string, "bytes": _string, "tail": _tail, "array": _array}

READERS: dict[tuple[int, str], tuple[str, list[Callable[..., Any]]]] = {}
"""For each number of a message and each of its senders, its name and the readers of its fields."""

WRITERS: dict[str, tuple[int, list[Callable[..., bytes]]]] = {}
"""For each message, its number and the writers of its fields."""

for _key, (_name, _sender, _, _fields) in MESSAGES.items():
    _both = [KINDS.get(kind[0], _number)(kind) for _, kind in _fields]
    for _end in ("host", "guest"):
        if _sender in (_end, "both"):
            READERS[_key, _end] = _name, [read for read, _ in _both]
    WRITERS[_name] = _key, [write for _, write in _both]

MAX_FRAME = 65536
"""Maximum number of bytes in a frame."""


def cut(text: str, most: int) -> bytes:
    """Return a text in UTF-8, cut to at most `most` bytes."""
    data = str.encode(text, "utf-8", "backslashreplace")  # of a subclass, too
    if len(data) <= most:
        return data
    return data[: most - 3].decode("utf-8", "ignore").encode() + "…".encode()


def encode(name: str, *values: Any) -> bytes:
    """Return the frame of a message with these values of its fields. Texts are cut if necessary."""
    number, writers = WRITERS[name]
    body = b"".join([write(value) for write, value in zip(writers, values)])
    return HEADER.pack(len(body), number, 0, 0) + body


def size_of(data: bytes, sender: str) -> int:
    """Return the number of bytes of the frame that begins with this header.

    :raises MalformedFrame: The header is not valid.
    """
    length, number, flags, ident = HEADER.unpack_from(data)
    if (number, sender) not in READERS or flags or ident or length > MAX_FRAME - HEADER.size:
        raise MalformedFrame("a bad header")
    size: int = HEADER.size + length
    return size


def decode(frame: bytes, sender: str) -> tuple[str, list[Any]]:
    """Return the name of the message in a frame, and the values of its fields.

    :raises MalformedFrame: The frame is not valid.
    """
    if len(frame) < HEADER.size:
        raise MalformedFrame("no header")
    length, number, flags, ident = HEADER.unpack_from(frame)
    known = READERS.get((number, sender))
    if known is None or flags or ident or length != len(frame) - HEADER.size:
        raise MalformedFrame("a bad header")
    name, readers = known
    at, values = HEADER.size, []
    try:
        for read in readers:
            value, at = read(frame, at)
            values.append(value)
    except (struct.error, UnicodeDecodeError) as error:
        raise MalformedFrame("a bad field") from error
    if at != len(frame):
        raise MalformedFrame("bytes behind the last field")
    return name, values
