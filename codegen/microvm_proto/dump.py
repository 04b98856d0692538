"""A reader of bytes as people have them: raw, in hexadecimal, or as a dump with offsets.

A dump is what `xxd`, `hexdump -C`, `od -t x1`, `tshark -x` and Wireshark print. It is checked
against itself: each offset has to be where the bytes before it end, and a column of text has to
show the bytes beside it. Input that could be read in two ways is refused.
"""

from __future__ import annotations

import ast
import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_SIZE = 1 << 26
"""Bytes that a dump may stand for: a line `*` stands for any number of them."""

MAX_TEXT = 1 << 26
"""Bytes of a text."""

_MAX_LINE = 2000
"""Characters on a line of a dump."""

FORMS = (
    "give raw bytes, a capture (pcap or pcapng), hexadecimal, or what `xxd`, `hexdump -C` or "
    "`od -A x -t x1` prints"
)

_LINE = re.compile(r"[^\r\n]+")
_ROW = re.compile(
    r"\s*([0-9A-Fa-f]{4,16})(:?)(?:[ \t]+((?:[0-9A-Fa-f]+(?:[ \t]+|$))*)(.*))?", re.ASCII
)
_COLONS = re.compile(r"\S*:\S*")
_PAIRS = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})++", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_HEX = re.compile(r"[0-9A-Fa-f\s]*", re.ASCII)

# An array of C; `xxd -i` prints its elements alone for what it reads from a pipe.
_ARRAY = re.compile(r"([^{}]*\{)?\s*(?:0[xX][0-9A-Fa-f]{1,2}\s*(?:,\s*|(?=\}|$)))++(?(1)\}[^{}]*)")
_ELEMENT = re.compile(r"0[xX]([0-9A-Fa-f]{1,2})(?=[\s,}]|$)")
_ESCAPE = r"""\\(?:[\\'"abfnrtv]|x[0-9A-Fa-f]{2}|[0-3]?[0-7]{1,2})"""
_LITERAL = re.compile(
    rf"""\s*(b"(?:[ !#-\[\]-~]|{_ESCAPE})*+"|b'(?:[ -&(-\[\]-~]|{_ESCAPE})*+')\s*"""
)

_UNSHOWN = {byte: "." for byte in range(256) if not 0x20 <= byte < 0x7F}


class Unreadable(ValueError):
    """The input is in no known form.

    The text continues a sentence that starts with the name of the input.
    """


def stream_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes that a file stands for: what its text shows, or its own, as they come.

    It is text until a byte says otherwise, as the zeros do that are in a header or end a frame.

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


class _NoDump(Exception):
    """A line of the text is of no dump."""


def bytes_of(text: str) -> bytes:
    """Return the bytes that a text shows: as a dump, in hexadecimal, or as C or Python has them.

    :raises Unreadable: it does in none of these ways, or in two.
    """
    if (found := _dumped(text)) is not None:
        return found
    if _ARRAY.fullmatch(text):
        return bytes(int(element[1], 16) for element in _ELEMENT.finditer(text))
    if literal := _LITERAL.fullmatch(text):
        return bytes(ast.literal_eval(literal[1]))
    digits = _COLONS.sub(_without_colons, text) if ":" in text else text
    if not _HEX.fullmatch(digits):
        raise Unreadable(f"is text, but neither hexadecimal nor a dump that is known; {FORMS}")
    try:
        return bytes.fromhex(digits)
    except ValueError:
        if len(digits.split(maxsplit=1)) > 1:
            raise Unreadable(f"has half bytes, as in octal or behind offsets; {FORMS}") from None
        raise Unreadable("ends in the middle of a byte") from None


def _without_colons(word: re.Match[str]) -> str:
    return word[0].replace(":", "") if _PAIRS.fullmatch(word[0]) else word[0]


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a dump.

    :ivar offset: the digits of its offset, in any base; empty for `*`, which repeats a line.
    :ivar rest: what is behind it.
    :ivar end: where in `rest` the groups of digits end; the last may be text.
    """

    offset: str
    colon: bool = False
    rest: str = ""
    end: int = 0

    @property
    def groups(self) -> list[str]:
        """The groups of digits; the last may be text."""
        return self.rest[: self.end].split()

    def readings(self, *, swapped: bool = False) -> Iterator[tuple[bytes, bool]]:
        """Yield the bytes that the line can mean, and whether a column of text confirms them.

        :param swapped: whether the bytes of each group are in reverse.
        """
        end, bare = self.end, None
        while end:
            digits, behind = self.rest[:end], self.rest[end:].rstrip()
            end = len(digits.rpartition(" ")[0].rstrip())
            if behind and not behind.startswith(("  ", "\t")):
                continue
            try:
                data = _reversed(digits) if swapped else bytes.fromhex(digits)
            except ValueError:  # half a byte
                continue
            if not behind:
                bare = data
            elif _is_text_of(behind, data):
                yield data, True
        if bare is not None:
            yield bare, False

    def is_swapped(self) -> bool:
        """Tell whether the column of text has the bytes of each group in reverse."""
        words = any(len(group) > 2 for group in self.groups)
        return words and any(shown for _, shown in self.readings(swapped=True))


def _reversed(digits: str) -> bytes:
    return b"".join(bytes.fromhex(group)[::-1] for group in digits.split())


def _is_text_of(behind: str, data: bytes) -> bool:
    """Tell whether a column of text shows these bytes."""
    shown = data.decode("latin-1").translate(_UNSHOWN)
    for column in (shown.rstrip(), f"|{shown}|", f">{shown}<"):
        if behind.endswith(column) and behind.removesuffix(column).isspace():
            return True
    return False


def _rows(text: str) -> Iterator[_Row]:
    """Yield the lines of a dump.

    :raises _NoDump: behind the last line that can be one.
    """
    repeats = False
    for line in _LINE.finditer(text):
        if line[0].strip() == "*":
            if repeats:
                raise _NoDump
            repeats = True
            yield _Row("")
        elif line[0].strip():
            row = _ROW.fullmatch(line[0]) if len(line[0]) <= _MAX_LINE else None
            if row is None:
                raise _NoDump
            repeats = False
            offset, colon, digits, behind = row.groups("")
            yield _Row(offset, bool(colon), digits + behind, len(digits.rstrip()))


def _dumped(text: str) -> bytes | None:
    """Return the bytes of a dump, or None when it is none.

    :raises Unreadable: it is one, but not one of single bytes in their order.
    """
    dump, row = _Dump(), None
    try:
        for following in _rows(text):
            if row:
                dump.take(row, following)
            row = following
    except _NoDump:
        return None
    if row is None:
        return None
    dump.take(row, None)
    return dump.result(row)


class _Dump:
    """A dump that is read line by line, with the offsets in each base that they can be in."""

    def __init__(self) -> None:
        self._readers = [_Reader(base) for base in (16, 8, 10)]
        self._first: _Row | None = None
        self._offset = ""
        self._marked = False
        """Whether a colon is behind an offset."""
        self._shown = False
        """Whether a column of text confirms a line."""
        self._numbered = True
        """Whether the offsets rise from zero, all of one width."""
        self._widths: set[int] = set()
        """How many digits the groups have; but the last of a line, which may be text."""
        self._swapped = self._straight = False
        """Whether some line's column of text has the bytes of each group in reverse, or not."""

    def take(self, row: _Row, following: _Row | None) -> None:
        """Read a line."""
        self._first = self._first or row
        self._marked |= row.colon
        self._widths.update(map(len, row.groups[:-1]))
        if row.offset:
            rises = self._offset < row.offset if self._offset else not row.offset.strip("0")
            self._numbered &= rises and len(self._offset) in (0, len(row.offset))
            self._offset = row.offset
        if row.end and not self._straight:
            self._straight = not row.is_swapped()
        if self._readers:
            self._readers = [each for each in self._readers if each.take(row, following)]
            self._shown |= any(reader.shown for reader in self._readers)
            if not self._readers:
                self._shown |= any(shown for _, shown in row.readings())
                self._swapped = row.is_swapped()

    def result(self, last: _Row) -> bytes | None:
        """Return what `_dumped` does, behind the last line.

        :raises Unreadable: it is a dump, but not one of bytes in order.
        """
        bases = (16,) if self._marked else (16, 8, 10)
        readers = [each for each in self._readers if each.base in bases and each.is_done]
        narrow = self._widths <= {2}
        if not readers:
            if self._swapped:
                raise Unreadable(f"is a dump of words whose bytes are swapped; {FORMS}")
            ends = self._numbered and not last.rest.strip()
            if not (self._marked or self._shown or ends):
                return None
            if narrow:
                raise Unreadable(
                    f"looks like a dump, but its offsets and bytes do not agree; {FORMS}"
                )
            raise Unreadable(f"is a dump of words, or of numbers that are not hexadecimal; {FORMS}")
        if not (self._marked or self._shown or any(reader.agreed for reader in readers)):
            # A frame in groups of digits begins with zeros, too.
            if narrow and self._first and len(self._first.groups) > 1:
                raise Unreadable(
                    "is a line of a dump, or hexadecimal that begins with zeros: leave out the "
                    "offset, or the spaces"
                )
            return None
        if not narrow and not (self._marked or self._shown):
            raise Unreadable(f"is a dump of words, whose bytes may be swapped; {FORMS}")
        if max(self._widths, default=0) > 4 and not self._straight:
            raise Unreadable("is a dump of words, whose bytes may be swapped; give `xxd -g1`")
        if any(reader.data != readers[0].data for reader in readers):
            raise Unreadable(f"has offsets that can be read in two ways; {FORMS}")
        data = bytes(readers[0].data)
        if _is_packet(data):
            raise Unreadable(
                "is a whole packet, with the headers of Ethernet and IP; give the capture, or no "
                "more than its payload, such as `tcp.payload` as a hex stream"
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


class _Reader:
    """A reader of the lines of a dump, with the offsets in one base.

    :ivar agreed: offsets that are where they should be; 0 is always.
    :ivar shown: whether a column of text confirms what was read.
    """

    def __init__(self, base: int) -> None:
        self.base = base
        self.data = bytearray()
        self.agreed = 0
        self.shown = False
        self._at = 0
        self._started = False
        self._last = b""
        self._repeats = False

    @property
    def is_done(self) -> bool:
        """Whether the lines so far are all of a dump."""
        return bool(self.data) and not self._repeats

    def take(self, row: _Row, following: _Row | None) -> bool:
        """Read a line; tell whether its offset and bytes agree with those around it."""
        if not row.offset:
            self._started = self._repeats = True
            return True
        offset = self._offset(row)
        if offset is None or not self._move_to(offset):
            return False
        self._started, self._repeats = True, False
        return not row.rest.strip() or self._read(row, following)

    def _offset(self, row: _Row) -> int | None:
        try:
            return int(row.offset, self.base)
        except ValueError:
            return None

    def _move_to(self, offset: int) -> bool:
        """Go to the offset of a line; tell whether it can follow what was read."""
        gap = offset - self._at
        if self._repeats:
            if not self._last or gap < 0 or gap % len(self._last) or gap > MAX_SIZE:
                return False
            self.data += self._last * (gap // len(self._last))
        elif gap and offset and self._started:
            return False
        # The first may be anywhere, and each packet of several begins at 0.
        self.agreed += bool(offset) and self._started
        self._at = offset
        return len(self.data) <= MAX_SIZE

    def _read(self, row: _Row, following: _Row | None) -> bool:
        end = self._offset(following) if following and following.offset else None
        for data, shown in row.readings():
            if end in (None, 0, self._at + len(data)):
                self.data += data
                self._at += len(data)
                self._last = data
                self.shown |= shown
                return True
        return False
