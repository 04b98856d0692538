"""The record of files whose digests have been compared, so that this is done once.

Computing a digest takes as long as a clone to start. So it is compared once, and what is kept is
which file that was: its inode, size, and the times of its last write and change. That finds
whatever went through the file system, also where somebody has put the time of writing back: only
root can set that of changing. It does not find a disk that lies, which a hash of what is in the
page cache would not find either, nor root. The device is not compared: its number may be another
after a reboot. A copy is another file, and compared once again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from microvm import cache
from microvm.cache import record
from microvm.log import Area

_logger = Area("cache")

RECORD = "verified.json"
"""A file beside the others: by their names, the digest of each and which file had it."""

_LIMIT = 1 << 12
_memory: dict[tuple[Path, str], list[str | int]] = {}  # for folders that we cannot write to


def sha256(file: int) -> str:
    """Return the digest of all that is in a file, in hex."""
    import hashlib  # QEMU is spawned without it, unless there is something to compare

    with os.fdopen(os.dup(file), "rb") as whole:
        whole.seek(0)
        return hashlib.file_digest(whole, "sha256").hexdigest()


def check(path: Path, file: int, expected: str, digest: Callable[[int], str] = sha256) -> bool:
    """Tell whether a file is what was made, by its record or else by its digest.

    :param path: the path of the file, beside which the record is.
    :param file: a descriptor of the file.
    :param expected: the digest that it should have, in hex.
    :param digest: the function that computes a digest from a descriptor.
    """
    known = _facts(file, expected)
    if _memory.get((path.parent, path.name)) == known or _record(path).get(path.name) == known:
        return True
    _logger.debug("comparing %s with its digest", path)
    if digest(file) != expected:
        return False
    remember(path, file, expected)
    return True


def remember(path: Path, file: int, expected: str) -> None:
    """Record that a file has this digest, in the folder or else as long as we live."""
    known = _facts(file, expected)
    _memory[path.parent, path.name] = known
    with suppress(OSError):
        known_here = _record(path) | {path.name: known}
        cache.write(path.with_name(RECORD), json.dumps(known_here).encode())


def _facts(file: int, expected: str) -> list[str | int]:
    status = os.fstat(file)
    identity = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return [expected, *identity]


def _record(path: Path) -> dict[str, object]:
    try:
        return record.read(path.with_name(RECORD), _LIMIT)
    except (OSError, ValueError):
        return {}
