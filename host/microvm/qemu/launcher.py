"""The launcher, a C program that confines itself and then executes QEMU. It is compiled once."""

from __future__ import annotations

import functools
import os
import re
import threading
from contextlib import suppress
from pathlib import Path

from microvm import arches, cache, guest_pack
from microvm.arches import Arch
from microvm.cache import lock
from microvm.errors import CacheError, ConfinementError, ImageError
from microvm.sha256 import sha256
from microvm.system import compiler, platform
from microvm.system.capacity import SHORTAGES

NAME = "confine"

_NAME_IN_MESSAGES = "the launcher"
_DIGEST = 32
# The file names of launchers in the cache, including those of older versions of microvm. The name
# of the architecture is in the middle.
_NAMES = re.compile(r"(confine|launcher)-(?:.*-)?([0-9a-f]+)")
_compiling = threading.Lock()
# The launchers whose digest this process has checked: the inode, size and times of each file at the
# check, by its path. If they have changed since, the digest is checked again.
_checked: dict[Path, tuple[int, ...]] = {}
# The launchers that cannot be executed in the cache, for example because it is mounted with
# `noexec`. For each path: descriptor of a copy in memory, which exists until this process exits.
_in_memory: dict[Path, int] = {}


def sources() -> Path:
    """Return the folder of the launcher's source code."""
    package = Path(__file__).resolve().parents[1]
    return compiler.sources(package / "_confine", package.parent / "confine", _NAME_IN_MESSAGES)


def find() -> Path:
    """Return the path of the launcher; a missing one is taken from the guest pack, or compiled."""
    try:
        path = _path()
        with _compiling:
            if not _is_stored(path):
                _store(path, _packed() or compiled())
    except (CacheError, ImageError) as error:
        message = f"QEMU cannot be started: {error.message}"
        raise ConfinementError(message, hint=error.hint, detail=error.detail) from error
    if path in _in_memory:
        # Do not use `/proc/self`: the child that executes this path has closed the descriptor.
        return Path(f"/proc/{os.getpid()}/fd/{_in_memory[path]}")
    return path


def is_ready() -> bool:
    """Return whether the launcher can be executed at once, or this system needs no launcher."""
    try:
        return bool(platform.lack(platform.CONFINEMENT)) or _is_stored(_path())
    except (CacheError, ImageError):
        return False  # not ready; `find` raises an error with the reason


def _path() -> Path:
    # Use no name `confine-…`, under which older versions stored launchers of untrusted packs.
    return cache.folder("programs") / f"launcher-{arches.native()}-{_digest(sources())[:32]}"


def superseded() -> list[Path]:
    """Return the paths of the cache's launchers that do not match our current source code."""
    current = _digest(sources())[:32]
    return [
        path
        for path in sorted(cache.folder("programs").glob("*"))
        if (found := _NAMES.fullmatch(path.name)) and (found[1], found[2]) != ("launcher", current)
    ]


@functools.cache
def _digest(folder: Path) -> str:
    return compiler.source_digest(folder)


def _is_stored(path: Path) -> bool:
    return path in _in_memory or (_is_undamaged(path) and _can_be_executed(path))


def _is_undamaged(path: Path) -> bool:
    """Return whether a launcher's file is undamaged: it ends with a digest of all bytes before."""
    try:
        status = path.stat()
        facts = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        if _checked.get(path) == facts:
            return True
        data = cache.read(path)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        return False
    if data[-_DIGEST:] != _sealed(data[:-_DIGEST])[-_DIGEST:]:
        return False
    _checked[path] = facts
    return True


def _sealed(program: bytes) -> bytes:
    """Return a program with its digest appended, by which `_is_undamaged` checks a stored file."""
    return program + sha256(program).digest()


def _can_be_executed(path: Path) -> bool:
    return os.access(path, os.X_OK, effective_ids=True) and not platform.forbids_execution(path)


def _packed() -> bytes:
    """Return the guest pack's launcher; empty if it was not compiled from our source code."""
    digest = _digest(sources())
    return guest_pack.files(arches.find(), guest_pack.LAUNCHER, digest, [NAME]).get(NAME, b"")


def compiled(arch: Arch | None = None) -> bytes:
    """Compile the launcher for hosts of this or another architecture, and return the program."""
    command = compiler.compiler(arch or arches.find(), _NAME_IN_MESSAGES, libc=True)
    return compiler.make_one(sources(), command, name=NAME, what=_NAME_IN_MESSAGES)


def _store(path: Path, program: bytes) -> None:
    """Store the launcher in the cache, or in memory if the cache does not allow execution."""
    with suppress(CacheError, OSError), lock.attempt(path) as ours:
        if ours:
            with cache.staging(path) as staged:
                staged.write_bytes(_sealed(program))
                staged.chmod(0o755)
    if not _is_stored(path):
        descriptor = _memory_file()
        with open(descriptor, "wb", closefd=False) as file:
            file.write(program)
        _in_memory[path] = descriptor


def _memory_file() -> int:
    """Return the descriptor of a new file in memory that can be executed."""
    try:
        return platform.memory_file(f"microvm-{NAME}", executable=True)
    except PermissionError as error:
        raise ConfinementError(
            "QEMU cannot be started: this host forbids executing programs in the cache and in "
            "memory",
            hint="set MICROVM_CACHE to a folder where programs may be executed, or run "
            "`sysctl vm.memfd_noexec=1`",
        ) from error


def _replace_lock() -> None:
    """In a forked child, replace the lock `_compiling`, which a thread of the parent may hold."""
    global _compiling  # noqa: PLW0603
    _compiling = threading.Lock()


os.register_at_fork(after_in_child=_replace_lock)
