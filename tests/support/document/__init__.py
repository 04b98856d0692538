"""A codec that is built at run time from a generated specification alone.

It reads the tables of the document. The rules that the document states in prose are written here.
They follow the document and not the generator, so a wrong or incomplete specification makes test
vectors fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from .framing import CHECKS, stuff, unstuff
from .types import Array, Body, Items, Kind, Malformed, Number, Octets, Struct, Tail


class Message(NamedTuple):
    """A message with its fields, in the order of the body."""

    number: int
    sender: str
    id: str
    since: int
    fields: Sequence[Field]

    def layout(self, version: int) -> list[Field]:
        """Return the fields of the message in a version."""
        return [field for field in self.fields if field.since <= version]


class Field(NamedTuple):
    """A field of a message. Faults refer to it by its number."""

    number: int
    name: str
    kind: Kind
    since: int


class Document:
    """A specification that was read.

    :ivar digests: digest of each version.
    :ivar longest: length of the longest frame on the wire, by its sender.
    :ivar codes: number of each fault.
    """

    def __init__(self, text: str) -> None:
        parts = _sections(text, "##")
        title, framing = text.partition("\n## ")[0], parts["Framing"]
        self.version = int(_find(r", version (\d+)", title))
        newest = _find(r"digest `(\w+)`", title)
        older = re.findall(r"version (\d+) was `(\w+)`", title)
        self.digests = {int(n): int(digest, 16) for n, digest in [(self.version, newest), *older]}
        longest = re.findall(r"(\d+) bytes from the (\w+)", framing)
        self.longest = {end: int(size) for size, end in longest}
        rows = _rows(parts["Malformed frames"])
        self.codes = {fault: int(code) for _, _, fault, code, _ in rows if code}
        self._header = [(name, _number(kind)) for _, name, kind, _ in _rows(framing)]
        self._check = next((check for name, check in CHECKS.items() if name in framing), None)
        seeds = re.findall(r"`(0x\w+)`(?: since version (\d+))?", framing.partition(" use:")[2])
        self._seeds = [(int(since or 1), int(seed, 16)) for seed, since in seeds]
        self._is_stuffed = "Consistent Overhead Byte Stuffing" in framing
        self._prefix = _number(_find(r"\| `bytes` \| `(\w+)` length", parts["Types"]))
        self._enums, self._flags, self._structs = (
            _sections(parts.get(name, ""), "###") for name in ("Enums", "Flags", "Structs")
        )
        self.messages = dict(self._messages(_sections(parts["Messages"], "###")))

    def _messages(self, sections: Mapping[str, str]) -> Iterator[tuple[str, Message]]:
        about = r"Type (\d+), sent by (\w+), id (\w+)(?:, since version (\d+))?"
        for name, text in sections.items():
            number, sender, id_, since = re.findall(about, text)[0]
            fields = [
                Field(int(n), field, self._kind(kind), _since(meaning))
                for n, _, field, kind, meaning in _rows(text)
            ]
            yield name, Message(int(number), sender, id_, int(since or 1), fields)

    def _kind(self, text: str) -> Kind:
        head, *rules = text.split(", ")
        nul = "no NUL" not in rules
        if many := re.fullmatch(r"(array of|list of at most) (\d+): (.*)", text):
            each, count = self._kind(many[3]), int(many[2])
            if many[1] == "array of":
                return Array(count, each, raw=re.match(r"u8(?!, \[)", many[3]) is not None)
            return Items(self._prefix, count, each, count * each.longest)
        numbers = [int(number) for number in re.findall(r"\d+", ", ".join(rules))]
        match head:
            case "list<bytes>":
                count, size, in_all, *_ = numbers
                return Items(self._prefix, count, Octets(self._prefix, size, nul), in_all)
            case "bytes" | "text":
                return Octets(self._prefix, numbers[0], nul, head == "text")
            case "tail":
                return Tail(numbers[0])
        if struct := re.match(r"\[(\w+)\]", head):
            rows = _rows(self._structs[struct[1]])
            return Struct([(name, self._kind(kind)) for _, name, kind, _ in rows])
        return self._restricted(_number(head), text)

    def _restricted(self, number: Number, text: str) -> Number:
        if constant := re.search(r", always (-?0x\w+)", text):
            return replace(number, constant=int(constant[1], 16))
        named = re.search(r", \[(\w+)\]", text)
        enum = self._enums.get(named[1], "") if named else ""
        flags = self._flags.get(named[1], "") if named else ""
        if "closed: other values" in enum:
            return replace(number, known=_values(enum))
        if "closed: other bits" in flags:
            return replace(number, bits=_values(flags))
        return replace(number, finite=", finite" in text)

    def decode(
        self, data: bytes, sender: str, version: int = 0
    ) -> tuple[str, int, dict[str, Any], int] | None:
        """Decode the first frame of these bytes.

        :return: the message's name, its id, its fields except constants, and the frame's length;
            None while the frame is incomplete.
        """
        version = version or self.version
        frame = unstuff(data) if self._is_stuffed else data
        size = sum(number.longest for _, number in self._header)
        check_size, check = self._check or (0, None)
        is_stream = self._header[0][0] == "body_length"
        if len(frame) < size + (0 if is_stream else check_size):
            if is_stream:
                return None
            raise Malformed("truncated", len(frame))
        start = Body(frame, 0, version)
        offsets, header = {}, {"flags": 0, "id": 0}
        for name, number in self._header:
            offsets[name] = start.at
            header[name] = number.read(start)
        length = header.get("body_length", len(frame) - size - check_size)
        name, message = self._known(header, offsets, sender, version)
        if length > sum(field.kind.longest for field in message.layout(version)):
            raise Malformed("body_too_long", 0)
        end = size + length
        if len(frame) < end + check_size:
            return None
        if check and self._seal(frame[:end], version) != frame[end : end + check_size]:
            raise Malformed("bad_check", end)
        body = Body(frame[:end], size, version)
        fields = {}
        for body.number, field, kind, _ in message.layout(version):
            fields[field] = kind.read(body)
        if body.left:
            raise Malformed("trailing_bytes", body.at)
        fields = {key: value for key, value in fields.items() if key not in _constants(message)}
        return name, header["id"], fields, end + check_size

    def _known(
        self, header: Mapping[str, int], offsets: Mapping[str, int], sender: str, version: int
    ) -> tuple[str, Message]:
        """Return the message that a header names; raise if the header is invalid."""
        known = {each.number: name for name, each in self.messages.items() if each.since <= version}
        if header["type"] not in known:
            raise Malformed("unknown_type", offsets["type"])
        name = known[header["type"]]
        message = self.messages[name]
        if message.sender not in (sender, "both"):
            raise Malformed("bad_direction", offsets["type"])
        if header["flags"]:
            raise Malformed("reserved_flags", offsets["flags"])
        if message.id != "any" and (message.id == "required") != (header["id"] != 0):
            raise Malformed("bad_id", offsets["id"])
        return name, message

    def _seal(self, frame: bytes, version: int) -> bytes:
        if self._check is None:
            return b""
        size, check = self._check
        seed = [seed for since, seed in self._seeds if since <= version][-1]
        return (check(frame) ^ seed).to_bytes(size, "little")

    def encode(
        self, name: str, id_: int, fields: Mapping[str, Any], version: int = 0, sequence: int = 0
    ) -> bytes:
        """Encode a frame as it is on the wire. Fields without a value are 0 or empty."""
        version = version or self.version
        message = self.messages[name]
        assert fields.keys() <= {field.name for field in message.fields}, name
        values = _constants(message) | dict(fields)
        body = b"".join(
            kind.write(values[field]) if field in values else bytes(_least(kind))
            for _, field, kind, _ in message.layout(version)
        )
        header = {"body_length": len(body), "type": message.number, "flags": 0, "id": id_}
        header["sequence"] = sequence
        frame = b"".join(number.write(header[key]) for key, number in self._header) + body
        frame += self._seal(frame, version)
        return stuff(frame) if self._is_stuffed else frame


def _constants(message: Message) -> dict[str, int]:
    return {
        field.name: field.kind.constant
        for field in message.fields
        if isinstance(field.kind, Number) and field.kind.constant is not None
    }


def _least(kind: Kind) -> int:
    """Return the size of the shortest value of a type, which consists of zeros."""
    match kind:
        case Octets() | Items():
            return kind.prefix.longest
        case Tail():
            return 0
    return kind.longest


def _sections(text: str, mark: str) -> dict[str, str]:
    parts = re.split(rf"^{mark} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _rows(text: str) -> list[list[str]]:
    """Return the rows of the table of a section, without its heading and code marks."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line.replace("`", ""))[1:-1] for line in lines[2:]]
    return [[cell.strip() for cell in row] for row in cells]


def _values(section: str) -> list[tuple[int, int]]:
    """Return the values or bits of a section, with the versions that introduced them."""
    return [(int(value), _since(meaning)) for value, _, meaning in _rows(section)]


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found, pattern
    return found[1]


def _since(meaning: str) -> int:
    found = re.search(r"Since version (\d+)(; in older versions, .*)?\.$", meaning)
    return int(found[1]) if found else 1


def _number(name: str) -> Number:
    if name == "bool":
        return Number(1, known=[(0, 1), (1, 1)])
    return Number(int(name[1:]) // 8, signed=name.startswith("i"))
