"""Sizes and durations as text, for the command line, the Python API and jobs.

A size is a number with K, M, G or T, which are powers of 1024 (`64M`, `1.5G`). `64MB` and `64MiB`
mean the same. A number alone is in bytes. A duration is a number with ms, s, m, h or d (`500ms`,
`2m`), or several of them (`1h30m`). A number alone is in seconds. Both can also be given as
numbers.
"""

from __future__ import annotations

import math
import re

from microvm.errors import UsageError

Size = int | str
"""A size: a number of bytes, or text such as `64M`."""

Duration = float | str
"""A duration: a number of seconds, or text such as `500ms` or `2m`."""

MINIMUM_MEMORY = 96 << 20
"""Minimum memory of a guest in bytes. Debian's kernel with Alpine panics below 88 MiB."""

MINIMUM_DISK = 16 << 20
"""Minimum size of a disk in bytes. A smaller file system would mostly contain its own metadata."""

MINIMUM_LIMIT = 1 << 20
"""Minimum memory limit of a command in bytes. With less, a command can hardly be started."""

_MEBIBYTE = 1 << 20
_NUMBER = r"([0-9]{1,18}(?:\.[0-9]{1,9})?)"
_SIZE = re.compile(_NUMBER + r"(?:([KMGT])(?:i?B)?|B)?", re.ASCII | re.IGNORECASE)
_BYTES = {None: 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_END = 1 << 63

_UNITS = ("d", "h", "m", "s", "ms")
_DURATION = re.compile(
    _NUMBER + "|(?=.)" + "".join(rf"(?:{_NUMBER}{unit}(?!s))?" for unit in _UNITS), re.ASCII
)
_DURATIONS = "write 5s, 500ms or 1h30m; a number alone is seconds"
# seconds in one unit, for each group of the regular expression `_DURATION`, in the same order
_SECONDS = (1, 86400, 3600, 60, 1, 1e-3)


def parse_size(value: Size) -> int:
    """Convert a size to a number of bytes."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        unit = match[2] and match[2].upper()
        if match[1].isdigit():
            size = int(match[1]) * _BYTES[unit]
        else:
            size = int(float(match[1]) * _BYTES[unit]) if unit else -1  # bytes have no fraction
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        size = -1
    if not 0 <= size < _END:
        hint = "write 64M, 1K or 2G; a number alone is bytes"
        raise UsageError(f"{value!r} is not a size", hint=hint)
    return size


def parse_duration(value: Duration) -> float:
    """Convert a duration to a positive number of seconds."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        parts = zip(match.groups("0"), _SECONDS, strict=True)
        seconds = math.fsum(float(part) * unit for part, unit in parts)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < _END else math.inf
    else:
        seconds = math.nan
    if seconds == 0:
        raise UsageError(
            f"{value!r} is not a positive duration", hint=f"leave it out, or {_DURATIONS}"
        )
    if not 0 < seconds < math.inf:
        raise UsageError(f"{value!r} is not a duration", hint=_DURATIONS)
    return seconds


def parse_count(value: int, *, least: int, most: float = math.inf) -> int:
    """Check that a value is a whole number from `least` to `most`, and return it."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        bounds = f"from {least} on" if most == math.inf else f"from {least} to {most}"
        raise UsageError(f"{value!r} is not a whole number {bounds}")
    return value


def parse_memory(value: Size) -> int:
    """Convert a memory size of a guest to a number of bytes, which is a whole number of MiB."""
    return _sufficient(value, MINIMUM_MEMORY, "memory for a guest", in_mebibytes=True)


def parse_disk(value: Size) -> int:
    """Convert the size of a disk to bytes, a whole number of MiB; 0 means that there is no disk."""
    return _sufficient(value, MINIMUM_DISK, "for a disk", or_none=True, in_mebibytes=True)


def parse_memory_limit(value: Size) -> int:
    """Convert the memory limit of a command to a number of bytes; 0 means no limit."""
    return _sufficient(value, MINIMUM_LIMIT, "memory for a command", or_none=True)


def _sufficient(
    value: Size, least: int, purpose: str, *, or_none: bool = False, in_mebibytes: bool = False
) -> int:
    """Convert a size to bytes, and check that it is at least `least`, or 0 if `or_none` is True.

    :param purpose: Use of the size, for error messages.
    :param in_mebibytes: True to accept only a whole number of MiB.
    """
    size = parse_size(value)
    if size < least and not (or_none and size == 0):
        hint = f"at least {format_size(least)}; a number alone is bytes"
        raise UsageError(f"{value!r} is too little {purpose}", hint=hint)
    if in_mebibytes and size % _MEBIBYTE:
        raise UsageError(f"{value!r} is not a whole number of MiB", hint="write 512M or 2G")
    return size


def format_size(size: int) -> str:
    """Return a size as text that `parse_size` accepts, such as `1.5G`, with at most one decimal."""
    for unit in "TGMK":
        if size >= _BYTES[unit]:
            return f"{size / _BYTES[unit]:.1f}".removesuffix(".0") + unit
    return str(size)


def exact_size(size: int) -> str:
    """Return a size as text that is not rounded, such as `20M`, `1.5G` or `1000 bytes`.

    The largest possible unit is used, which is usually the one that the user has typed.
    """
    for name, unit in reversed(_BYTES.items()):
        if name and size >= unit and 10 * size % unit == 0:
            return f"{size / unit:.1f}".removesuffix(".0") + name
    return f"{size} bytes"


def format_duration(seconds: float) -> str:
    """Return a duration as text for the user, such as `0.5 s` or, from a minute on, `1h30m`.

    A duration that is not a whole number of seconds is always in seconds, such as `90.5 s`.
    """
    if seconds < 60 or seconds % 1:
        return f"{seconds:g} s"
    rest, text = int(seconds), ""
    for name, unit in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, unit)
        text += f"{count}{name}" if count else ""
    return text
