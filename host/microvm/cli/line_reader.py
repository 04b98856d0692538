"""Reads lines from a file or a pipe, and returns each line as soon as it is complete."""

from __future__ import annotations

from collections.abc import AsyncIterator

from microvm.errors import UsageError
from microvm.guest.stdio import read
from microvm.units import exact_size


async def read_lines(descriptor: int, limit: int) -> AsyncIterator[bytes]:
    """Read lines of at most `limit` bytes; yield each when it is complete, without its newline."""
    rest = bytearray()
    while data := await read(descriptor):
        *whole, last = data.split(b"\n")
        for line in whole:
            yield bytes(rest) + line
            rest.clear()
        rest += last
        if len(rest) > limit:
            raise UsageError(f"a line is longer than {exact_size(limit)}")
    if rest:
        yield bytes(rest)
