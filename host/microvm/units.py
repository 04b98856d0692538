"""Sizes as people write them."""

from __future__ import annotations

import re

from .errors import UsageError

#: The least memory a guest gets, in MiB: Debian's kernel with Alpine panics below 88.
MINIMUM_MEMORY = 96

_SIZE = re.compile(r"(?P<number>[0-9]{1,12})(?:(?P<unit>[KMGT])(?:iB)?)?", re.IGNORECASE)
_KIB = {"K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}


def parse_memory(text: str) -> int:
    """Read a guest's memory size.

    :param text: a whole number with K, M, G or T (or KiB, MiB, …), powers of 1024; MiB without one.
    :return: MiB.
    :raise UsageError: if it is no size, no whole number of MiB, or below `MINIMUM_MEMORY`.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a memory size", hint="write 512M or 2G")
    mebibytes, rest = divmod(int(match["number"]) * _KIB[(match["unit"] or "M").upper()], 1 << 10)
    if mebibytes < MINIMUM_MEMORY:
        raise UsageError(f"{text!r} is too little memory", hint=f"at least {MINIMUM_MEMORY}M")
    if rest:
        raise UsageError(f"{text!r} is not a whole number of MiB")
    return mebibytes
