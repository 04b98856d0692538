"""The framing of a protocol: a frame's header and check, and where one frame ends on the wire.

All sizes and offsets are bytes. A *bare* frame is a header, a body and a check; on the wire it may
have more: COBS takes the zeros out of it, so that a zero can end it.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct

KINDS = ("stream", "cobs", "datagram")
SIZES = {"none": 0, "u8": 1, "u16": 2, "u32": 4}
"""The sizes of the integers in a header, by the names of their types."""

DELIMITER = b"\0"
_BLOCK = 254
"""Bytes that one byte of COBS can announce."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check at the end of a frame.

    :ivar size: of what it adds to a frame; 0 for none.
    :ivar function: what it computes from a header and a body.
    :ivar doc: its name and parameters, for the specification.
    """

    size: int
    function: Callable[[bytes], int]
    doc: str


def crc16(data: bytes) -> int:
    """Return the CRC-16/IBM-3740 of `data`, which is also known as CCITT-FALSE."""
    return binascii.crc_hqx(data, 0xFFFF)


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data`, which is also known as Castagnoli's."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _crc32c_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC32C = tuple(map(_crc32c_of, range(256)))

CHECKS = {
    "none": Check(0, lambda _: 0, ""),
    "crc16": Check(
        2,
        crc16,
        "CRC-16/IBM-3740 (also called CCITT-FALSE): polynomial 0x1021, initial value 0xFFFF, "
        "nothing reflected, no final XOR; of the bytes `123456789` it is 0x29B1",
    ),
    "crc32c": Check(
        4,
        crc32c,
        "CRC-32C (Castagnoli): polynomial 0x1EDC6F41, initial value and final XOR 0xFFFFFFFF, "
        "input and output reflected; of the bytes `123456789` it is 0xE3069283",
    ),
}


@dataclass(frozen=True, slots=True)
class HeaderField:
    """A field of the header, an unsigned integer."""

    name: str
    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class Framing:
    """The framing of a protocol: how frames look and follow one another.

    :ivar kind: `stream`: the header says how long a frame is; `cobs`: a zero ends it; `datagram`:
        the datagram does.
    :ivar length: the size of the body's length in the header of a stream.
    :ivar type: the size of a message's number, and of a stream's flags.
    :ivar id: the size of an id; 0 when no message has one.
    :ivar sequence: whether frames are numbered, modulo 256.
    :ivar check: the name of one of :data:`CHECKS`.
    :ivar mtu: the longest that a frame may be on the wire; None: as long as it is.
    :ivar given: whether the schema has a table for it, and so wants a receiver in C.
    :ivar header: the fields of the header, in their order.
    :ivar layout: the header as `struct` has it.
    """

    kind: str = "stream"
    length: int = 4
    type: int = 2
    id: int = 4
    sequence: bool = False
    check: str = "none"
    mtu: int | None = field(default=None, compare=False)
    given: bool = field(default=False, compare=False)
    header: tuple[HeaderField, ...] = field(init=False, compare=False)
    layout: Struct = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Lay out the header."""
        stream = self.kind == "stream"
        sizes = {
            "body_length": self.length if stream else 0,
            "type": self.type,
            "flags": self.type if stream else 0,
            "id": self.id,
            "sequence": int(self.sequence),
        }
        placed: list[HeaderField] = []
        offset = 0
        for name, size in sizes.items():
            if size:
                placed.append(HeaderField(name, size, offset))
                offset += size
        object.__setattr__(self, "header", tuple(placed))
        object.__setattr__(self, "layout", Struct(f"<{self.letters}"))

    @property
    def letters(self) -> str:
        """The letters that `struct` has for the fields of the header."""
        return "".join({1: "B", 2: "H", 4: "I"}[each.size] for each in self.header)

    @property
    def header_size(self) -> int:
        """The size of the header."""
        return self.layout.size

    @property
    def check_size(self) -> int:
        """The size of the check; 0 without one."""
        return CHECKS[self.check].size

    @property
    def max_type(self) -> int:
        """The highest number of a message."""
        return (1 << (8 * self.type)) - 1

    @property
    def max_length(self) -> int:
        """The highest length of a body that a header can have; 0 when it has none."""
        return (1 << (8 * self.length)) - 1 if self.kind == "stream" else 0

    @property
    def max_id(self) -> int:
        """The highest id; 0 when no message has one."""
        return (1 << (8 * self.id)) - 1

    @property
    def check_doc(self) -> str:
        """The name and the parameters of the check; empty without one."""
        return CHECKS[self.check].doc

    @property
    def resynchronises(self) -> bool:
        """Whether a receiver finds the next frame behind one that it refuses."""
        return self.kind != "stream" or self.check != "none"

    @property
    def seals(self) -> bool:
        """Whether there is more to a frame on the wire than a header and a body."""
        return self.kind == "cobs" or self.check_size > 0

    def offset(self, name: str) -> int:
        """Return the offset of a field of the header; 0 when it has none of that name."""
        return next((each.offset for each in self.header if each.name == name), 0)

    @property
    def features(self) -> frozenset[str]:
        """Names for what there is in this framing, for text that is only for some."""
        names = {self.kind, self.check, *(each.name for each in self.header)}
        names |= {"check"} if self.check_size else set()
        return frozenset(names)

    def bare_size(self, body: int) -> int:
        """Return the size of a bare frame with a body of so many bytes."""
        return self.header_size + body + self.check_size

    def stuffing(self, body: int) -> int:
        """Return how much longer the frame with such a body can be on the wire than it is bare."""
        return -(-self.bare_size(body) // _BLOCK) + len(DELIMITER) if self.kind == "cobs" else 0

    def wire_size(self, body: int) -> int:
        """Return the size of the frame with such a body on the wire, at the most."""
        return self.bare_size(body) + self.stuffing(body)

    def seal(self, frame: bytes, seed: int) -> bytes:
        """Return a header and body with the check of a protocol whose seed is `seed`."""
        value = CHECKS[self.check].function(frame) ^ seed
        return frame + (value % (1 << 8 * self.check_size)).to_bytes(self.check_size, "little")

    def seed_of(self, frame: bytes) -> int:
        """Return the seed for which the check of a bare frame is right."""
        data, check = frame[: -self.check_size], frame[-self.check_size :]
        return CHECKS[self.check].function(data) ^ int.from_bytes(check, "little")

    def wire(self, frame: bytes) -> bytes:
        """Return a bare frame as it is on the wire."""
        return stuff(frame) + DELIMITER if self.kind == "cobs" else frame


PLAIN = Framing()
"""What frames are without a `[framing]`."""


def stuff(data: bytes) -> bytes:
    """Return `data` without its zeros, as Consistent Overhead Byte Stuffing has it.

    Each run of other bytes, of 254 at the most, stands behind its length plus one. Behind a run
    that is shorter, and not the last, there was a zero.
    """
    stuffed = bytearray()
    at = 0
    while True:
        zero = data.find(DELIMITER, at, at + _BLOCK)
        run = data[at : at + _BLOCK if zero < 0 else zero]
        stuffed += bytes([len(run) + 1]) + run
        at += len(run)
        if zero >= 0:
            at += 1
        elif at == len(data):
            return bytes(stuffed)


def unstuff(data: bytes, most: int) -> bytes | None:
    """Return what :func:`stuff` made `data` of, or None when a run goes beyond its end.

    :param most: bytes beyond which nothing is looked at; one more than these are returned then.
    """
    bare = bytearray()
    at = 0
    while at < len(data):
        end = at + data[at]
        bare += data[at + 1 : end]
        if len(bare) > most:
            break
        if end > len(data):
            return None
        if end < len(data) and end - at <= _BLOCK:
            bare += DELIMITER
        at = end
    return bytes(bare[: most + 1])
