"""A reader of bytes in many formats: raw bytes, hexadecimal digits, or a hex dump with offsets.

The reader accepts the hex dumps of `xxd`, `hexdump -C`, `od -t x1`, `tshark -x` and Wireshark. Each
offset in a hex dump must be the number of bytes before it, and a column of text must match the
bytes of its line. Ambiguous input is refused.
"""

from __future__ import annotations

import ast
import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_SIZE = 1 << 26
"""Maximum number of bytes that a dump is decoded to. A line `*` repeats bytes, without a limit."""

MAX_TEXT = 1 << 26
"""Maximum number of bytes in a text that is decoded."""

_MAX_LINE = 2000
"""Maximum number of characters on a line of a hex dump."""

FORMS = (
    "give raw bytes, a capture (pcap or pcapng), hexadecimal, or the output of `xxd`, "
    "`hexdump -C` or `od -A x -t x1`"
)

_LINE = re.compile(r"[^\r\n]+")
_ROW = re.compile(
    r"\s*([0-9A-Fa-f]{4,16})(:?)(?:[ \t]+((?:[0-9A-Fa-f]+(?:[ \t]+|$))*)(.*))?", re.ASCII
)
_COLONS = re.compile(r"\S*:\S*")
_PAIRS = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})++", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_HEX = re.compile(r"[0-9A-Fa-f\s]*", re.ASCII)

# Matches a C array, or only its elements, which `xxd -i` prints if it reads from a pipe.
_ARRAY = re.compile(r"([^{}]*\{)?\s*(?:0[xX][0-9A-Fa-f]{1,2}\s*(?:,\s*|(?=\}|$)))++(?(1)\}[^{}]*)")
_ELEMENT = re.compile(r"0[xX]([0-9A-Fa-f]{1,2})(?=[\s,}]|$)")
_ESCAPE = r"""\\(?:[\\'"abfnrtv]|x[0-9A-Fa-f]{2}|[0-3]?[0-7]{1,2})"""
_LITERAL = re.compile(
    rf"""\s*(b"(?:[ !#-\[\]-~]|{_ESCAPE})*+"|b'(?:[ -&(-\[\]-~]|{_ESCAPE})*+')\s*"""
)

_UNSHOWN = {byte: "." for byte in range(256) if not 0x20 <= byte < 0x7F}


class Unreadable(ValueError):
    """The input is not in a known format, or is damaged.

    The message of the error continues a sentence that begins with the name of the input.
    """


def stream_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a binary file as they arrive, or decode a text file such as a hex dump.

    A file is binary if it contains a control character, or is not UTF-8. A file of frames is
    binary, because the header or the delimiter of frames contains zero bytes.

    :raises Unreadable: Raised if the file is text that is ambiguous or not in a known format.
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
    """The text is not a hex dump, because a line of it cannot belong to one."""


def bytes_of(text: str) -> bytes:
    """Decode a text: a hex dump, hexadecimal digits, a C array, or a `bytes` literal of Python."""
    if (found := _dumped(text)) is not None:
        return found
    if _ARRAY.fullmatch(text):
        return bytes(int(element[1], 16) for element in _ELEMENT.finditer(text))
    if literal := _LITERAL.fullmatch(text):
        return bytes(ast.literal_eval(literal[1]))
    digits = _COLONS.sub(_without_colons, text) if ":" in text else text
    if not _HEX.fullmatch(digits):
        raise Unreadable(f"is text, but neither hexadecimal nor a known dump format; {FORMS}")
    try:
        return bytes.fromhex(digits)
    except ValueError:
        if len(digits.split(maxsplit=1)) > 1:
            text = "has groups with an odd number of digits, such as octal numbers or offsets"
            raise Unreadable(f"{text}; {FORMS}") from None
        raise Unreadable("has an odd number of hexadecimal digits") from None


def _without_colons(word: re.Match[str]) -> str:
    return word[0].replace(":", "") if _PAIRS.fullmatch(word[0]) else word[0]


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a hex dump: an offset, and digits and characters that show the same bytes.

    :ivar offset: Digits of the offset, in any base; empty for a line `*`, which repeats the line
        before.
    :ivar end: Index in `rest` at which the groups of digits end.
    """

    offset: str
    colon: bool = False
    rest: str = ""
    end: int = 0

    @property
    def groups(self) -> list[str]:
        """Groups of digits on the line. The last group may be text that looks like digits."""
        return self.rest[: self.end].split()

    def readings(self, *, swapped: bool = False) -> Iterator[tuple[bytes, bool]]:
        """Yield each way to read the line as bytes, and True if its text shows the same bytes.

        If `swapped` is True, the bytes of each group of digits are reversed first.
        """
        end, bare = self.end, None
        while end:
            digits, behind = self.rest[:end], self.rest[end:].rstrip()
            end = len(digits.rpartition(" ")[0].rstrip())
            if behind and not behind.startswith(("  ", "\t")):
                continue
            try:
                data = _reversed(digits) if swapped else bytes.fromhex(digits)
            except ValueError:  # the group has an odd number of digits
                continue
            if not behind:
                bare = data
            elif _is_text_of(behind, data):
                yield data, True
        if bare is not None:
            yield bare, False

    def is_swapped(self) -> bool:
        """Return True if the text on the line shows that the bytes of each group are reversed."""
        words = any(len(group) > 2 for group in self.groups)
        return words and any(shown for _, shown in self.readings(swapped=True))


def _reversed(digits: str) -> bytes:
    return b"".join(bytes.fromhex(group)[::-1] for group in digits.split())


def _is_text_of(behind: str, data: bytes) -> bool:
    """Return True if `behind`, the text after the digits on a line, shows `data` as characters."""
    shown = data.decode("latin-1").translate(_UNSHOWN)
    for column in (shown.rstrip(), f"|{shown}|", f">{shown}<"):
        if behind.endswith(column) and behind.removesuffix(column).isspace():
            return True
    return False


def _rows(text: str) -> Iterator[_Row]:
    """Yield the lines of a hex dump, split into offset, digits and text."""
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
    """Decode a hex dump; return None if the text is not one."""
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
    """A hex dump that is read line by line. At first, the base of its offsets is unknown.

    The offsets can have the base 16, 8 or 10. So one reader for each base reads the same lines,
    until the offsets show which base is right.
    """

    def __init__(self) -> None:
        self._readers = [_DumpReader(base) for base in (16, 8, 10)]
        self._first: _Row | None = None
        self._offset = ""
        self._marked = False
        """True if a colon follows the offset on some line."""
        self._shown = False
        """True if a column of text confirms the bytes of some line."""
        self._numbered = True
        """True if the offsets increase from zero and have the same number of digits."""
        self._widths: set[int] = set()
        """Numbers of digits in the groups, except each line's last group, which may be text."""
        self._swapped = self._straight = False
        """True if the column of text on some line shows the bytes in reverse order, or in order."""

    def take(self, row: _Row, following: _Row | None) -> None:
        """Read the line `row`. The next line is `following`, or None if `row` is the last line."""
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
        """Return the bytes of the dump that ends with the line `last`; None if it is not a dump."""
        bases = (16,) if self._marked else (16, 8, 10)
        readers = [each for each in self._readers if each.base in bases and each.is_done]
        narrow = self._widths <= {2}
        if not readers:
            if self._swapped:
                raise Unreadable(f"is a dump of words with swapped bytes; {FORMS}")
            ends = self._numbered and not last.rest.strip()
            if not (self._marked or self._shown or ends):
                return None
            if narrow:
                raise Unreadable(
                    f"looks like a dump, but its offsets and bytes do not agree; {FORMS}"
                )
            raise Unreadable(f"is a dump of words, or of numbers that are not hexadecimal; {FORMS}")
        if not (self._marked or self._shown or any(reader.agreed for reader in readers)):
            # The zeros at the beginning of the text could be an offset, or the first bytes of a
            # frame, and nothing shows which. So refuse the text.
            if narrow and self._first and len(self._first.groups) > 1:
                raise Unreadable(
                    "is ambiguous: the first zeros can be an offset, or bytes; remove the offset, "
                    "or the spaces"
                )
            return None
        if not narrow and not (self._marked or self._shown):
            raise Unreadable(f"is a dump of words, which may have swapped bytes; {FORMS}")
        if max(self._widths, default=0) > 4 and not self._straight:
            raise Unreadable("is a dump of words, which may have swapped bytes; use `xxd -g1`")
        if any(reader.data != readers[0].data for reader in readers):
            raise Unreadable(f"has ambiguous offsets; {FORMS}")
        data = bytes(readers[0].data)
        if _is_packet(data):
            raise Unreadable(
                "is a packet with Ethernet and IP headers; give the capture file, or only the "
                "payload, such as `tcp.payload` as a hex stream"
            )
        return data


def _is_packet(data: bytes) -> bool:
    """Return True if the bytes are a packet with an Ethernet header and a valid IP header."""
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


class _DumpReader:
    """A reader of a hex dump that assumes a base for the dump's offsets: 8, 10 or 16.

    :ivar agreed: Number of offsets that were correct, except offsets of 0, which prove nothing.
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
        """True if the dump may end here: it has bytes, and the last line that was read is not `*`.

        A line `*` stands for repeated lines, so another line must follow.
        """
        return bool(self.data) and not self._repeats

    def take(self, row: _Row, following: _Row | None) -> bool:
        """Read a line; return False if its offset or bytes do not fit the lines around it."""
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
        """Continue at the offset of the next line; return False if that offset is impossible."""
        gap = offset - self._at
        if self._repeats:
            if not self._last or gap < 0 or gap % len(self._last) or gap > MAX_SIZE:
                return False
            self.data += self._last * (gap // len(self._last))
        elif gap and offset and self._started:
            return False
        # Count this offset only if it shows that the number base of the offsets (8, 10 or 16) is
        # right. The first offset of a dump does not show that, because it may be any number. An
        # offset of 0 does not, either, because it is the same in every base.
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
