"""A reader of the packets in a capture of network traffic, a file in the pcap or pcapng format.

The formats are specified in draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. The reader ignores
times, names and comments.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from microvm_proto.dump import Unreadable

_PCAP = {
    b"\xd4\xc3\xb2\xa1": "<",
    b"\xa1\xb2\xc3\xd4": ">",
    b"\x4d\x3c\xb2\xa1": "<",  # a file with times in nanoseconds
    b"\xa1\xb2\x3c\x4d": ">",
}
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}

_INTERFACE, _OBSOLETE_PACKET, _SIMPLE_PACKET, _PACKET = 1, 2, 3, 6

MAX_PACKET = 1 << 18
"""Maximum number of bytes in a packet, the same as in tcpdump and Wireshark."""

_MAX_BLOCK = 1 << 24
_MAX_INTERFACES = 1 << 16


class Packet(NamedTuple):
    """A captured packet, which may be truncated.

    :ivar link: Type of the link, a number from the registry of LINKTYPE_ values, such as 1 for
        Ethernet.
    """

    number: int
    link: int
    data: bytes


def is_capture(head: bytes) -> bool:
    """Return True if the first four bytes of a file show that it is a pcap or pcapng capture."""
    return head == _PCAPNG or head in _PCAP


def packets(pieces: Iterable[bytes]) -> Iterator[Packet]:
    """Yield the packets of a capture file, each as soon as it is complete."""
    source = _Source(pieces)
    found = _pcapng(source) if source.head() == _PCAPNG else _pcap(source)
    for number, (link, data) in enumerate(found, 1):
        yield Packet(number, link, data)


class _Source:
    """A reader of exact numbers of bytes from a file that arrives in pieces of any size."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._data = bytearray()

    def head(self) -> bytes:
        """Return the first four bytes of the file without consuming them."""
        self._fill(4)
        return bytes(self._data[:4])

    def at_end(self) -> bool:
        self._fill(1)
        return not self._data

    def take(self, size: int) -> bytes:
        self._fill(size)
        if len(self._data) < size:
            raise Unreadable("is a capture that ends in the middle of a packet")
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    def _fill(self, size: int) -> None:
        while len(self._data) < size and (piece := next(self._pieces, b"")):
            self._data += piece


def _pcap(source: _Source) -> Iterator[tuple[int, bytes]]:
    order = _PCAP[source.head()]
    # Ignore the high 16 bits, which describe the checksum of packets. The low 16 bits are the type
    # of the link.
    link = struct.unpack(f"{order}20xI", source.take(24))[0] & 0xFFFF
    header = struct.Struct(f"{order}8xI4x")
    while not source.at_end():
        (size,) = header.unpack(source.take(header.size))
        yield link, source.take(_checked(size, MAX_PACKET))


def _pcapng(source: _Source) -> Iterator[tuple[int, bytes]]:
    order = "<"
    interfaces: list[tuple[int, int]] = []
    while not source.at_end():
        head = source.take(8)
        if head.startswith(_PCAPNG):
            mark = source.take(4)
            if mark not in _ORDERS:
                raise Unreadable("is a capture with an invalid byte-order mark, so it is damaged")
            order, interfaces = _ORDERS[mark], []
            _body(source, order, head, 4)
            continue
        body = _body(source, order, head)
        (kind,) = struct.unpack_from(f"{order}I", head)
        try:
            if kind == _INTERFACE and len(interfaces) < _MAX_INTERFACES:
                interfaces.append(struct.unpack_from(f"{order}H2xI", body))
            elif kind in (_PACKET, _OBSOLETE_PACKET):
                layout = f"{order}{'I' if kind == _PACKET else 'H2x'}8xI4x"
                interface, size = struct.unpack_from(layout, body)
                yield interfaces[interface][0], body[20 : 20 + _checked(size, len(body) - 20)]
            elif kind == _SIMPLE_PACKET:
                link, snap = interfaces[0]
                (size,) = struct.unpack_from(f"{order}I", body)
                yield link, body[4 : 4 + min(size, snap or size)]
        except (struct.error, IndexError):
            raise Unreadable("is a capture with a damaged block") from None


def _body(source: _Source, order: str, head: bytes, taken: int = 0) -> bytes:
    """Read the rest of a pcapng block after its first 8 bytes, `head`, and `taken` more; return it.

    The length at the end of the block is read, too, but is not part of the result.

    :param order: Byte order of the capture, as in a format of the module `struct`.
    :param taken: Number of bytes behind the head that have been read before. The result lacks them.
    """
    (size,) = struct.unpack(f"{order}4xI", head)
    if size % 4 or size < 12 + taken:
        raise Unreadable(f"is a capture with a damaged block: its size is {size} bytes")
    return source.take(_checked(size, _MAX_BLOCK) - 8 - taken)[:-4]


def _checked(size: int, limit: int) -> int:
    if size > limit:
        raise Unreadable(f"is a capture with a damaged packet: its size is {size} bytes")
    return size
