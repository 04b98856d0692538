"""Records of files whose digests were verified, so that no file is read twice to verify it.

Computing a digest takes as long as starting a clone. So we compute it once for each file, and
record the inode, the size, and the times of the last write and of the last change. A later change
of the file changes at least one of these; only root can set the time of the last change.

A faulty disk is not noticed, but neither would a new digest notice it, because the file is read
from the page cache. The device is not recorded, because its number may differ after a reboot. A
copy of a file is another file, and its digest is compared again.
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
"""Name of the record in a folder: for each file, its digest and its inode, size and times."""

_LIMIT = 1 << 12
# Records of verified digests in memory, for a process that cannot write files in the cache.
_memory: dict[tuple[Path, str], list[str | int]] = {}


def sha256(file: int) -> str:
    """Return the SHA-256 of an open file, in hex."""
    import hashlib  # loaded only here, since most starts of QEMU compute no digest

    with os.fdopen(os.dup(file), "rb") as copy:
        copy.seek(0)
        return hashlib.file_digest(copy, "sha256").hexdigest()


def check(path: Path, file: int, expected: str, digest: Callable[[int], str] = sha256) -> bool:
    """Return True if `path`, open as `file`, has the digest `expected`, which `digest` computes.

    If a record says that the file has this digest, the file is not read.
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
    """Record that `path`, open as `file`, has the digest `expected`.

    The record is kept in memory and, if possible, in a file in the folder of `path`.
    """
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
