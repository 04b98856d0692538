"""Puts the bytes in a network capture in order, separately for each direction of each connection.

TCP and UDP over IPv4 and IPv6 are supported. Packets with the private link types `USER0` to
`USER15` contain the bytes of a serial line.
"""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import NamedTuple

from microvm_proto.capture import Packet
from microvm_proto.dump import Unreadable

MAX_FLOWS = 1024
"""Maximum number of flows.

If there are more, the one without packets for the longest time is ended.
"""

MAX_WAITING = 1 << 17
"""Maximum number of bytes that a flow keeps while it waits for earlier bytes."""

_MAX_WAITING_SEGMENTS = 256

_USER = range(147, 163)
# Offset of the IP header in a packet, by type of link. The version in that header shows whether it
# is IPv4 or IPv6.
_BARE = {0: 4, 12: 0, 14: 0, 101: 0, 108: 4, 228: 0, 229: 0}
# Offsets of the IP header and of the EtherType in a packet, by type of link, for Ethernet and for
# Linux's interface "any".
_TYPED = {1: (14, 12), 113: (16, 14), 276: (20, 0)}
_VLAN = (0x8100, 0x88A8, 0x9100)
_IP = (0x0800, 0x86DD)

# Numbers of the extension headers that may follow an IPv6 header. They are skipped.
_OPTIONS = (0, 43, 60)
_MAX_OPTIONS = 8
_FRAGMENT = 44

_TCP, _UDP = 6, 17
_SYN, _ACK = 0x02, 0x10


@dataclass(frozen=True, eq=False, slots=True)
class Flow:
    """A flow: the bytes or datagrams that one side of a connection sends to the other.

    :ivar name: Addresses of sender and receiver, in the format of tcpdump.
    :ivar ports: Ports of sender and receiver; empty for a serial line.
    :ivar whole: True if the capture contains the first byte of the flow.
    """

    name: str
    ports: tuple[int, ...] = ()
    datagrams: bool = False
    whole: bool = True


class Segment(NamedTuple):
    """Consecutive bytes of a flow from one captured packet, or the end of the flow.

    :ivar missing: Number of bytes directly before these that the capture lacks.
    """

    flow: Flow
    packet: int
    data: bytes | None
    missing: int = 0


class Segments:
    """A reader that sorts the packets of a capture into flows, and puts each flow in order."""

    def __init__(self) -> None:
        self.ignored: Counter[str] = Counter()
        self._directions: dict[object, _Direction] = {}
        """Flows by addresses and ports. The first one has had no packet for the longest time."""

    def read(self, packets: Iterable[Packet]) -> Iterator[Segment]:
        """Yield the segments of all flows; those of each flow are in the order of their bytes.

        A segment is yielded as soon as all bytes before it in its flow have been yielded.
        """
        number, damage = 0, None
        try:
            for packet in packets:
                number = packet.number
                try:
                    yield from self._packet(packet)
                except (struct.error, IndexError):
                    self.ignored["truncated header"] += 1
        except Unreadable as error:
            damage = error
        for direction in self._directions.values():
            yield from direction.end(number)
        if damage:
            raise damage

    def _packet(self, packet: Packet) -> Iterator[Segment]:
        data = packet.data
        if packet.link in _TYPED:
            start, at = _TYPED[packet.link]
            (kind,) = struct.unpack_from(">H", data, at)
            while kind in _VLAN:
                (kind,) = struct.unpack_from(">H", data, start + 2)
                start += 4
            if kind in _IP:
                yield from self._ip(packet.number, data[start:])
        elif packet.link in _BARE:
            yield from self._ip(packet.number, data[_BARE[packet.link] :])
        elif packet.link in _USER:
            name = f"USER{packet.link - _USER.start}"
            yield from self._unordered(name, Flow(name), packet.number, data)
        else:
            self.ignored[f"link type {packet.link}"] += 1

    def _ip(self, number: int, ip: bytes) -> Iterator[Segment]:
        version = ip[0] >> 4
        if version == 4:
            size, fragment, kind = struct.unpack_from(">2xH2xHxB", ip)
            start, source, target = 4 * (ip[0] & 15), ip[12:16], ip[16:20]
            fragment &= 0x3FFF
        elif version == 6:
            size, kind = struct.unpack_from(">4xHB", ip)
            start, source, target = 40, ip[8:24], ip[24:40]
            size += start if size else 0
            for _ in range(_MAX_OPTIONS):
                if kind in _OPTIONS:
                    kind, start = ip[start], start + 8 + 8 * ip[start + 1]
            fragment = kind == _FRAGMENT
        else:
            return
        # The size in the IP header is 0 if the sender left it to the network adapter to split the
        # packet. Then the data extends to the end of the captured packet.
        data = ip[start : size or None]
        if fragment:
            self.ignored["IP fragments"] += 1
        elif kind == _TCP:
            yield from self._tcp(number, source, target, data)
        elif kind == _UDP:
            yield from self._udp(number, source, target, data)

    def _udp(self, number: int, source: bytes, target: bytes, udp: bytes) -> Iterator[Segment]:
        from_port, to_port, size = struct.unpack_from(">HHH2x", udp)
        key = (_UDP, source, from_port, target, to_port)
        yield from self._unordered(key, _flow(key, whole=True), number, udp[8 : size or None])

    def _unordered(self, key: object, flow: Flow, number: int, data: bytes) -> Iterator[Segment]:
        """Yield `data` of packet `number` as a segment of the flow `key`, or of the new `flow`."""
        direction = self._find(key)
        if direction is None:
            direction = _Direction(flow)
            yield from self._add(key, direction, number)
        yield Segment(direction.flow, number, data)

    def _tcp(self, number: int, source: bytes, target: bytes, tcp: bytes) -> Iterator[Segment]:
        from_port, to_port, sequence, ack, start, flags = struct.unpack_from(">HHIIBB6x", tcp)
        key = (_TCP, source, from_port, target, to_port)
        data = tcp[4 * (start >> 4) :]
        begins = bool(flags & _SYN)
        sequence += begins
        direction = self._find(key)
        if begins and direction and not direction.begins_at(sequence):
            # This SYN packet opens a new connection between the same ports, so the flow of the old
            # connection has ended.
            yield from self._directions.pop(key).end(number)
            direction = None
        if direction is None and (begins or data):
            direction = _Direction(_flow(key, whole=begins), sequence)
            yield from self._add(key, direction, number)
        if direction:
            yield from direction.take(number, sequence, data)
        back = self._directions.get((_TCP, target, to_port, source, from_port))
        if back and flags & _ACK:
            yield from back.acknowledge(ack)

    def _find(self, key: object) -> _Direction | None:
        """Return the flow with this key, if it exists, and mark it as the most recently used."""
        direction = self._directions.pop(key, None)
        if direction:
            self._directions[key] = direction
        return direction

    def _add(self, key: object, direction: _Direction, number: int) -> Iterator[Segment]:
        self._directions[key] = direction
        if len(self._directions) > MAX_FLOWS:
            silent = next(iter(self._directions))
            yield from self._directions.pop(silent).end(number)


def _flow(key: tuple[int, bytes, int, bytes, int], *, whole: bool) -> Flow:
    protocol, source, from_port, target, to_port = key
    name = f"{_end(source, from_port)} > {_end(target, to_port)}"
    return Flow(name, (from_port, to_port), datagrams=protocol == _UDP, whole=whole)


def _end(address: bytes, port: int) -> str:
    shown = ipaddress.ip_address(address)
    return f"{shown}:{port}" if shown.version == 4 else f"[{shown}]:{port}"


class _Direction:
    """A flow, with a buffer for TCP segments that have arrived before earlier ones."""

    def __init__(self, flow: Flow, first: int = 0) -> None:
        self.flow = flow
        self._first = first
        """Sequence number of the first byte of the flow."""
        self._at = 0
        """Number of bytes of the flow that were yielded, or are known to be missing."""
        self._waiting: list[tuple[int, int, bytes]] = []
        """Heap of segments that wait for earlier bytes, each as offset, packet number, and data."""
        self._size = 0

    def begins_at(self, sequence: int) -> bool:
        """Return True if the flow begins with this sequence number, as in a repeated SYN packet."""
        return (sequence - self._first) % (1 << 32) == 0

    def take(self, packet: int, sequence: int, data: bytes) -> Iterator[Segment]:
        """Add a TCP segment of packet number `packet`; yield all segments that are in order."""
        offset = self._offset(sequence)
        if data and offset + len(data) > self._at:
            heappush(self._waiting, (offset, packet, data))
            self._size += len(data)
        yield from self._in_order()
        while self._size > MAX_WAITING or len(self._waiting) > _MAX_WAITING_SEGMENTS:
            yield from self._skip()

    def acknowledge(self, sequence: int) -> Iterator[Segment]:
        """Skip bytes before `sequence` that are not captured; yield segments that wait for them."""
        while self._waiting and self._waiting[0][0] <= self._offset(sequence):
            yield from self._skip()

    def end(self, packet: int) -> Iterator[Segment]:
        """End the flow at packet number `packet`: yield waiting segments and an end segment."""
        while self._waiting:
            yield from self._skip()
        yield Segment(self.flow, packet, None)

    def _offset(self, sequence: int) -> int:
        """Convert a TCP sequence number, which has 32 bits, into an offset in the flow."""
        ahead = (sequence - self._first - self._at) % (1 << 32)
        return self._at + ahead - (1 << 32 if ahead >> 31 else 0)

    def _skip(self) -> Iterator[Segment]:
        missing = self._waiting[0][0] - self._at
        self._at += missing
        return self._in_order(missing)

    def _in_order(self, missing: int = 0) -> Iterator[Segment]:
        while self._waiting and self._waiting[0][0] <= self._at:
            offset, packet, data = heappop(self._waiting)
            self._size -= len(data)
            data = data[self._at - offset :]
            if data:
                self._at += len(data)
                yield Segment(self.flow, packet, data, missing)
                missing = 0
