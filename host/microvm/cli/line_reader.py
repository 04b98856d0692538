"""Reads the lines of a file or a pipe without waiting for its end."""

from __future__ import annotations

from collections.abc import AsyncIterator

from microvm.errors import UsageError
from microvm.guest.stdio import read
from microvm.units import exact_size


async def read_lines(descriptor: int, limit: int) -> AsyncIterator[bytes]:
    """Yield the lines of a file descriptor, without their newlines, as soon as they are complete.

    :raises UsageError: Raised if a line is longer than `limit` bytes.
    """
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
