"""The lines of a file or a pipe, as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator

from microvm.errors import UsageError
from microvm.guest.stdio import read
from microvm.units import exact_size


async def lines(descriptor: int, limit: int) -> AsyncIterator[bytes]:
    """Give a descriptor's lines without their ends, as they come.

    :raises UsageError: a line is longer than `limit` bytes.
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
