"""A reader of bytes as people have them: raw, in hexadecimal, or as a dump with offsets.

A dump is what `xxd`, `hexdump -C`, `od -t x1`, `tshark -x` and Wireshark print. It is checked
against itself: each offset has to be where the bytes before it end, and a column of text has to
show the bytes beside it. Input that could be read in two ways is refused.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_SIZE = 1 << 26
"""Bytes that a dump may stand for: a line `*` stands for any number of them."""

MAX_TEXT = 1 << 26
"""Bytes of a text."""

_MAX_GROUPS = 256
"""Bytes on a line of a dump."""

FORMS = (
    "give raw bytes, a capture (pcap or pcapng), hexadecimal, or what `xxd`, `hexdump -C` or "
    "`od -A x -t x1` prints"
)

_ROW = re.compile(r"\s*([0-9A-Fa-f]{4,16})(:?)(?:[ \t]+(.*))?", re.ASCII)
_GROUP = re.compile(r"[ \t]*([0-9A-Fa-f]+)(?=[ \t]|$)", re.ASCII)
_PAIRS = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_HEX = re.compile(r"[0-9A-Fa-f\s]*", re.ASCII)


class Unreadable(ValueError):
    """The input is in no known form.

    The text continues a sentence that starts with the name of the input.
    """


def stream_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes that a file stands for: what its text shows, or its own, as they come.

    It is text until a byte says otherwise. The header of a frame has such bytes: its flags are
    zeros.

    :param pieces: the file, in pieces of any size.
    :raises Unreadable: it is text, but of no known form, or it can be read in two ways.
    """
    source = iter(pieces)
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = bytearray()
    while len(read) <= MAX_TEXT:
        piece = next(source, b"")
        read += piece
        try:
            binary = bool(_CONTROL.search(decoder.decode(piece, final=not piece)))
        except UnicodeDecodeError:
            binary = True
        if binary:
            yield bytes(read)
            yield from source
            return
        if not piece:
            yield bytes_of(read.decode("utf-8-sig"))
            return
    raise Unreadable(f"is a text of more than {MAX_TEXT >> 20} MiB; give the raw bytes")


def bytes_of(text: str) -> bytes:
    """Return the bytes that a text shows, as hexadecimal or as a dump.

    :raises Unreadable: it is neither, or can be read in two ways.
    """
    rows = _rows(text)
    if rows and (found := _read(rows)) is not None:
        return found
    words = [word.replace(":", "") if _PAIRS.fullmatch(word) else word for word in text.split()]
    digits = "".join(words)
    if not _HEX.fullmatch(digits):
        raise Unreadable(f"is text, but neither hexadecimal nor a dump that is known; {FORMS}")
    if len(words) > 1 and any(len(word) % 2 for word in words):
        raise Unreadable(f"has half bytes, as in octal or behind offsets; {FORMS}")
    if len(digits) % 2:
        raise Unreadable("ends in the middle of a byte")
    return bytes.fromhex(digits)


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a dump.

    :ivar offset: the digits of its offset, in any base; empty for `*`, which repeats a line.
    :ivar groups: the groups of digits behind it; the last may be text that looks like digits.
    :ivar ends: where in `rest` each of the groups ends.
    """

    offset: str
    colon: bool
    rest: str
    groups: tuple[str, ...]
    ends: tuple[int, ...]

    def readings(self) -> Iterator[tuple[bytes, bool]]:
        """Yield the bytes that the line can mean, and whether a column of text confirms them."""
        for count in range(len(self.groups), 0, -1):
            digits = "".join(self.groups[:count])
            if len(digits) % 2:
                continue
            data, behind = bytes.fromhex(digits), self.rest[self.ends[count - 1] :].rstrip()
            if not behind:
                yield data, False
            elif _is_text_of(behind, data):
                yield data, True

    def is_swapped(self) -> bool:
        """Tell whether the column of text has the bytes of each group in reverse."""
        for count in range(len(self.groups), 0, -1):
            groups = self.groups[:count]
            if any(len(group) > 2 for group in groups) and all(len(g) % 2 == 0 for g in groups):
                data = b"".join(bytes.fromhex(group)[::-1] for group in groups)
                if _is_text_of(self.rest[self.ends[count - 1] :].rstrip(), data):
                    return True
        return False


def _is_text_of(behind: str, data: bytes) -> bool:
    """Tell whether a column of text shows these bytes."""
    shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    for column in (shown.rstrip(), f"|{shown}|", f">{shown}<"):
        margin = behind.removesuffix(column)
        if behind.endswith(column) and margin.isspace():
            return True
    return False


def _rows(text: str) -> list[_Row]:
    """Split a text into the lines of a dump; an empty list when it is none."""
    rows = []
    for line in text.splitlines():
        if line.strip() == "*":
            rows.append(_Row("", False, "", (), ()))
        elif line.strip():
            match = _ROW.fullmatch(line)
            if match is None:
                return []
            rest = match[3] or ""
            groups: list[re.Match[str]] = []
            at = 0
            while group := _GROUP.match(rest, at):
                groups.append(group)
                at = group.end()
            if len(groups) > _MAX_GROUPS:
                return []
            digits, ends = tuple(g[1] for g in groups), tuple(g.end() for g in groups)
            rows.append(_Row(match[1], bool(match[2]), rest, digits, ends))
    return rows


def _read(rows: list[_Row]) -> bytes | None:
    """Return the bytes of a dump, or None when it is none.

    :raises Unreadable: it is one, but not one of single bytes in their order.
    """
    marked = any(row.colon for row in rows)
    bases = (16,) if marked else (16, 8, 10)
    readers = [reader for base in bases if (reader := _Reader(rows, base)).read()]
    texts = any(shown for row in rows for _, shown in row.readings())
    if not readers:
        if any(row.is_swapped() for row in rows):
            raise Unreadable(f"is a dump of words whose bytes are swapped; {FORMS}")
        if marked or texts or _is_numbered(rows):
            raise Unreadable(f"looks like a dump, but its offsets and bytes do not agree; {FORMS}")
        return None
    narrow = all(len(group) == 2 for row in rows for group in row.groups[:-1])
    if not (marked or texts or any(reader.agreed for reader in readers)):
        # A frame in groups of digits begins with zeros, too.
        if narrow and len(rows[0].groups) > 1:
            raise Unreadable(
                "is a line of a dump, or hexadecimal that begins with zeros: leave out the offset, "
                "or the spaces"
            )
        return None
    if not narrow and not (marked or texts):
        raise Unreadable(f"is a dump of words, whose bytes may be swapped; {FORMS}")
    wide = any(len(group) > 4 for row in rows for group in row.groups[:-1])
    if wide and all(row.is_swapped() for row in rows if row.groups):
        raise Unreadable("is a dump of words, whose bytes may be swapped; give `xxd -g1`")
    if len({bytes(reader.data) for reader in readers}) > 1:
        raise Unreadable(f"has offsets that can be read in two ways; {FORMS}")
    data = bytes(readers[0].data)
    if _is_packet(data):
        raise Unreadable(
            "is a whole packet, with the headers of Ethernet and IP; copy no more than its "
            "payload, such as `tcp.payload` as a hex stream"
        )
    return data


def _is_packet(data: bytes) -> bool:
    """Tell whether the bytes are an Ethernet header with a valid IP header behind it."""
    kind, ip = data[12:14], data[14:]
    if kind == b"\x08\x00" and len(ip) >= 20 and ip[0] >> 4 == 4:
        header = ip[: 4 * (ip[0] & 15)]
        words = (int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2))
        total = sum(words)
        return (total & 0xFFFF) + (total >> 16) in (0xFFFF, 0x1FFFE)
    return (
        kind == b"\x86\xdd"
        and len(ip) >= 40
        and ip[0] >> 4 == 6
        and int.from_bytes(ip[4:6], "big") == len(ip) - 40
    )


def _is_numbered(rows: list[_Row]) -> bool:
    """Tell whether the lines begin with rising numbers of one width, and end with one alone."""
    offsets = [row.offset for row in rows]
    return (
        len({len(offset) for offset in offsets}) == 1
        and offsets == sorted(set(offsets))
        and not offsets[0].strip("0")
        and bool(rows[0].groups)
        and not rows[-1].rest.strip()
    )


class _Reader:
    """A reader of the lines of a dump, with the offsets in one base."""

    def __init__(self, rows: list[_Row], base: int) -> None:
        self.rows = rows
        self.base = base
        self.data = bytearray()
        self.at = 0
        self.last = b""
        self.agreed = 0
        """Offsets that are where they should be; 0 is always."""

    def read(self) -> bool:
        """Read all lines; tell whether the offsets agree with the bytes."""
        repeats = False
        for number, row in enumerate(self.rows):
            if not row.offset:
                repeats = True
                continue
            offset = self._offset(row)
            if offset is None or not self._move_to(offset, repeats, first=number == 0):
                return False
            repeats = False
            if row.rest.strip() and not self._take(row, number):
                return False
        return bool(self.data) and not repeats

    def _offset(self, row: _Row) -> int | None:
        try:
            return int(row.offset, self.base)
        except ValueError:
            return None

    def _move_to(self, offset: int, repeats: bool, *, first: bool) -> bool:
        """Go to the offset of a line; tell whether it can follow what was read."""
        gap = offset - self.at
        if repeats:
            if not self.last or gap < 0 or gap % len(self.last) or gap > MAX_SIZE:
                return False
            self.data += self.last * (gap // len(self.last))
        elif gap and offset and not first:
            return False
        # The first may be anywhere, and each packet of several begins at 0.
        self.agreed += bool(offset) and not first
        self.at = offset
        return len(self.data) <= MAX_SIZE

    def _take(self, row: _Row, number: int) -> bool:
        following = self.rows[number + 1] if number + 1 < len(self.rows) else None
        end = self._offset(following) if following is not None and following.offset else None
        readings = sorted(row.readings(), key=lambda reading: not reading[1])
        for data, _ in readings:
            if end in (None, 0, self.at + len(data)):
                self.data += data
                self.at += len(data)
                self.last = data
                return True
        return False
