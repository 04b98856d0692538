"""The launcher: the program of ours that confines QEMU and becomes it, compiled once."""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
from contextlib import suppress
from pathlib import Path

from microvm import arches, cache, guest_pack
from microvm.arches import Arch
from microvm.cache import lock
from microvm.errors import ConfinementError, ImageError
from microvm.sha256 import sha256
from microvm.system import compiler
from microvm.system.capacity import SHORTAGES

NAME = "confine"

_WHAT = "the launcher"
_DIGEST = 32
# the names of launchers in the cache, also of those of older versions; the machine is between both
_NAMES = re.compile(r"(confine|launcher)-(?:.*-)?([0-9a-f]+)")
_MFD_EXEC = 0x10  # memfd_create(2); Linux 6.3
_compiling = threading.Lock()
_whole: dict[Path, tuple[int, ...]] = {}  # what has been compared, and which file that was
_kept: dict[Path, int] = {}  # where the cache cannot have it: memory files, for as long as we live


def sources() -> Path:
    """Return the folder of its sources.

    :raises ImageError: they are missing.
    """
    package = Path(__file__).resolve().parents[1]
    return compiler.sources(package / "_confine", package.parent / "confine", _WHAT)


def find() -> Path:
    """Return the path by which it can be executed; where there is none, it is compiled first.

    :raises ConfinementError: it cannot be compiled.
    """
    try:
        path = _path()
        with _compiling:
            if not _is_kept(path):
                _keep(path, _packed() or compiled())
    except ImageError as error:
        message = f"QEMU cannot be started: {error.message}"
        raise ConfinementError(message, hint=error.hint, detail=error.detail) from error
    if path in _kept:
        # It is executed by a child, in which our descriptors are closed by then.
        return Path(f"/proc/{os.getpid()}/fd/{_kept[path]}")
    return path


def is_ready() -> bool:
    """Tell whether it is compiled, or nobody needs it here."""
    try:
        return sys.platform != "linux" or _is_kept(_path())
    except ImageError:
        return False  # `find` says why


def _path() -> Path:
    # The name is not `confine-…`: under that name, older versions kept the launcher of any guest
    # pack that Python found, even of a pack in the working folder.
    return cache.folder("programs") / f"launcher-{os.uname().machine}-{_digest(sources())[:32]}"


def superseded() -> list[Path]:
    """Return the launchers in the cache that were compiled from other sources than ours.

    :raises ImageError: the sources are missing, or the cache cannot be trusted.
    """
    current = _digest(sources())[:32]
    return [
        path
        for path in sorted(cache.folder("programs").glob("*"))
        if (found := _NAMES.fullmatch(path.name)) and (found[1], found[2]) != ("launcher", current)
    ]


@functools.cache
def _digest(folder: Path) -> str:
    return compiler.source_digest(folder)


def _is_kept(path: Path) -> bool:
    return path in _kept or (_is_whole(path) and _can_be_executed(path))


def _is_whole(path: Path) -> bool:
    """Tell whether it is what was put there: behind the program is its digest."""
    try:
        status = path.stat()
        facts = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        if _whole.get(path) == facts:
            return True
        data = cache.read(path)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        return False
    if data[-_DIGEST:] != _sealed(data[:-_DIGEST])[-_DIGEST:]:
        return False
    _whole[path] = facts
    return True


def _sealed(program: bytes) -> bytes:
    """Return a program with its digest behind it, which is nothing to whoever executes it."""
    return program + sha256(program).digest()


def _can_be_executed(path: Path) -> bool:
    return (
        os.access(path, os.X_OK, effective_ids=True) and not os.statvfs(path).f_flag & os.ST_NOEXEC
    )


def _packed() -> bytes:
    """Return the program as the guest pack has it; nothing if that has none of our sources."""
    digest = _digest(sources())
    return guest_pack.files(arches.find(), guest_pack.LAUNCHER, digest, [NAME]).get(NAME, b"")


def compiled(arch: Arch | None = None) -> bytes:
    """Compile the program.

    :param arch: the architecture of the host that it is for; by default this one's.
    :raises ImageError: there is no compiler for it, or it failed.
    """
    command = compiler.compiler(arch or arches.find(), _WHAT)
    return compiler.make_one(sources(), command, name=NAME, what=_WHAT)


def _keep(path: Path, program: bytes) -> None:
    """Keep it in the cache, or where that cannot be, in memory."""
    with suppress(ImageError, OSError), lock.attempt(path) as ours:
        if ours:
            with cache.staging(path) as staged:
                staged.write_bytes(_sealed(program))
                staged.chmod(0o755)
    if not _is_kept(path):
        descriptor = _memory_file()
        with open(descriptor, "wb", closefd=False) as file:
            file.write(program)
        _kept[path] = descriptor


def _memory_file() -> int:
    """Return a file in memory that can be executed.

    :raises ConfinementError: this host has none.
    """
    name = f"microvm-{NAME}"
    try:
        with suppress(OSError):  # of a kernel that does not know the flag: there all can
            return os.memfd_create(name, os.MFD_CLOEXEC | _MFD_EXEC)
        return os.memfd_create(name, os.MFD_CLOEXEC)
    except PermissionError as error:
        raise ConfinementError(
            "QEMU cannot be started: neither the cache nor memory may hold a program",
            hint="MICROVM_CACHE names a folder where programs may be executed; or "
            "`sysctl vm.memfd_noexec=1`",
        ) from error


def _forget_others() -> None:
    """Let go, in a process that was forked, of what a thread of its parent had."""
    global _compiling  # noqa: PLW0603 - the one that is held is nobody's now
    _compiling = threading.Lock()


os.register_at_fork(after_in_child=_forget_others)
