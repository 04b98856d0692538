"""The framing of a protocol: header and checksum of frames, and how a receiver finds frames.

Sizes and offsets are in bytes. A *bare* frame consists of a header, a body and a checksum, such as
a CRC. On the wire, a frame can be longer: Consistent Overhead Byte Stuffing (COBS) encodes a bare
frame without zero bytes, so that a zero byte can mark its end.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct

KINDS = ("stream", "cobs", "datagram")
SIZES = {"none": 0, "u8": 1, "u16": 2, "u32": 4}
"""Sizes of the integer types that a schema can choose for the fields of a frame's header."""

DELIMITER = b"\0"
_BLOCK = 254
"""Maximum number of bytes in a run of nonzero bytes in the encoding COBS."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """A kind of checksum, such as a CRC, which is appended to frames.

    :ivar size: Number of bytes that the checksum adds to a frame; 0 if there is no checksum.
    """

    size: int
    function: Callable[[bytes], int]
    doc: str


def crc16(data: bytes) -> int:
    """Return the CRC-16/IBM-3740 of `data`. This CRC is also known as CCITT-FALSE."""
    return binascii.crc_hqx(data, 0xFFFF)


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of `data`."""
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
    "none": Checksum(0, lambda _: 0, ""),
    "crc16": Checksum(
        2,
        crc16,
        "CRC-16/IBM-3740 (also called CCITT-FALSE): polynomial 0x1021, initial value 0xFFFF, "
        "nothing reflected, no final XOR; the CRC of the bytes `123456789` is 0x29B1",
    ),
    "crc32c": Checksum(
        4,
        crc32c,
        "CRC-32C (Castagnoli): polynomial 0x1EDC6F41, initial value and final XOR 0xFFFFFFFF, "
        "input and output reflected; the CRC of the bytes `123456789` is 0xE3069283",
    ),
}


@dataclass(frozen=True, slots=True)
class HeaderField:
    """A field of a frame's header, such as the body's length. Its type is an unsigned integer."""

    name: str
    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class Framing:
    """The framing of a protocol: the layout of frames, and how a receiver finds them.

    :ivar kind: Way in which a receiver finds the end of a frame. `stream`: the header holds the
        length of the body. `cobs`: a zero byte ends the frame. `datagram`: each datagram holds one
        frame.
    :ivar length: Size of the length of the body in the header, if the kind is `stream`.
    :ivar type: Size of the message's number in the header, and for a stream, also of the flags.
    :ivar id: Size of the id in the header; 0 if messages have no ids.
    :ivar check: Name of the kind of checksum in :data:`CHECKS`.
    :ivar given: True if the schema has a `[framing]` table, so that C code gets a receiver.
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
        """Compute the fields and the format of the header."""
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
        """Characters that describe the header in a `struct` format, such as `IHI`."""
        return "".join({1: "B", 2: "H", 4: "I"}[each.size] for each in self.header)

    @property
    def header_size(self) -> int:
        """Number of bytes in the header of a frame."""
        return self.layout.size

    @property
    def check_size(self) -> int:
        """Number of bytes in the checksum of a frame; 0 if frames have none."""
        return CHECKS[self.check].size

    @property
    def max_type(self) -> int:
        """The highest number of a message that fits into the header."""
        return (1 << (8 * self.type)) - 1

    @property
    def max_length(self) -> int:
        """Largest length of a body that the header can express; 0 if the header has no length."""
        return (1 << (8 * self.length)) - 1 if self.kind == "stream" else 0

    @property
    def max_id(self) -> int:
        """Maximum id that fits into the header; 0 if messages have no ids."""
        return (1 << (8 * self.id)) - 1

    @property
    def resynchronises(self) -> bool:
        """True if a receiver that refuses a frame can still find the next one."""
        return self.kind != "stream" or self.check != "none"

    @property
    def seals(self) -> bool:
        """True if frames have a checksum or a COBS encoding in addition to header and body."""
        return self.kind == "cobs" or self.check_size > 0

    def offset(self, name: str) -> int:
        """Return the offset of a header field; 0 if the header has no field of that name."""
        return next((each.offset for each in self.header if each.name == name), 0)

    @property
    def features(self) -> frozenset[str]:
        """Names of the framing's properties, such as `cobs`, which select parts of templates."""
        names = {self.kind, self.check, *(each.name for each in self.header)}
        names |= {"check"} if self.check_size else set()
        return frozenset(names)

    def bare_size(self, body: int) -> int:
        """Return the size of a frame with a body of `body` bytes, before COBS encoding."""
        return self.header_size + body + self.check_size

    def stuffing(self, body: int) -> int:
        """Return the maximum number of bytes that COBS adds to a frame with a body of this size."""
        return -(-self.bare_size(body) // _BLOCK) + len(DELIMITER) if self.kind == "cobs" else 0

    def wire_size(self, body: int) -> int:
        """Return the maximum size of a frame with a body of `body` bytes as it is sent."""
        return self.bare_size(body) + self.stuffing(body)

    def seal(self, frame: bytes, seed: int) -> bytes:
        """Return `frame`, a header and a body, with its checksum, which is XORed with `seed`.

        The seed is a number that identifies the sender's schema and version.
        """
        value = CHECKS[self.check].function(frame) ^ seed
        return frame + (value % (1 << 8 * self.check_size)).to_bytes(self.check_size, "little")

    def seed_of(self, frame: bytes) -> int:
        """Return the number with which the sender has XORed the checksum of `frame`: the seed."""
        data, check = frame[: -self.check_size], frame[-self.check_size :]
        return CHECKS[self.check].function(data) ^ int.from_bytes(check, "little")

    def wire(self, frame: bytes) -> bytes:
        """Return the bytes that are sent for a frame, with COBS encoding if the framing uses it."""
        return stuff(frame) + DELIMITER if self.kind == "cobs" else frame


PLAIN = Framing()
"""The default framing, which schemas without a `[framing]` table use."""


def stuff(data: bytes) -> bytes:
    """Encode data so that it contains no zero bytes, with Consistent Overhead Byte Stuffing (COBS).

    The encoding consists of runs of at most 254 nonzero bytes. A byte before each run holds its
    length plus one. After each run that is shorter than 254 bytes, except the last, the data has a
    zero byte.
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
    """Decode COBS data; return None if it is incomplete, `most` + 1 bytes if it is too long."""
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
