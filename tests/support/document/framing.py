"""Checksums and COBS, written from the text of the specifications."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from .types import Malformed


def _crc16(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc >> 15 else 0)) & 0xFFFF
    return crc


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)  # 0x1EDC6F41, reflected
    return crc ^ 0xFFFFFFFF


CHECKS: Mapping[str, tuple[int, Callable[[bytes], int]]] = {
    "CRC-16/IBM-3740": (2, _crc16),
    "CRC-32C": (4, _crc32c),
}


def stuff(frame: bytes) -> bytes:
    """Return a frame in COBS, with the zero that ends it."""
    runs = re.findall(rb"[^\0]{254}(?:\0\Z)?|[^\0]*\0", frame + b"\0")
    bare = [run.rstrip(b"\0") for run in runs]
    return b"".join(bytes([len(run) + 1]) + run for run in bare) + b"\0"


def unstuff(stuffed: bytes) -> bytes:
    """Return the frame that COBS encodes; the inverse of `stuff`."""
    frame, at, end = b"", 0, len(stuffed) - 1
    while at < end:
        length = stuffed[at]
        if at + length > end:
            raise Malformed("bad_stuffing", 0)
        frame += stuffed[at + 1 : at + length]
        at += length
        if length < 255 and at < end:
            frame += b"\0"
    return frame
