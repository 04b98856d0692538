"""Sizes as people write them."""

from __future__ import annotations

import re

from .errors import UsageError

#: The least memory a guest gets, in MiB: Debian's kernel with Alpine panics below 88.
MINIMUM_MEMORY = 96

_SIZE = re.compile(r"(?P<number>[0-9]{1,12})(?:(?P<unit>[KMGT])(?:iB)?)?", re.IGNORECASE)
_BYTES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text: str) -> int:
    """Read a size of memory.

    :param text: a whole number with K, M, G or T (or KiB, MiB, …), powers of 1024; MiB without one.
    :return: bytes.
    :raise UsageError: if it is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a memory size", hint="write 512M or 2G")
    return int(match["number"]) * _BYTES[(match["unit"] or "M").upper()]


def parse_memory(text: str) -> int:
    """Read a guest's memory size, as `parse_size` does.

    :return: MiB.
    :raise UsageError: if it is no size, no whole number of MiB, or below `MINIMUM_MEMORY`.
    """
    mebibytes, rest = divmod(parse_size(text), 1 << 20)
    if mebibytes < MINIMUM_MEMORY:
        raise UsageError(f"{text!r} is too little memory", hint=f"at least {MINIMUM_MEMORY}M")
    if rest:
        raise UsageError(f"{text!r} is not a whole number of MiB")
    return mebibytes
