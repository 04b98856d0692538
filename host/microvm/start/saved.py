"""Saved guests on the disk: their files, and how these are written, checked and opened.

A saved guest is a folder of the cache. The folder is created complete or not at all, and contains:

- `ram`: the memory of the guest, as a sparse file. Clones map it, and share unchanged pages.
- `state`: the rest of the machine, as written by QEMU.
- `scratch`: the disk for changes of the root file system, as a sparse file, unless these changes
  are held in memory.
- `manifest.json`: the origin of the guest, and digests of the files.

QEMU does not check these files. So the state is compared with its SHA-256 before each use, which
takes 0.1 ms, and QEMU loads the copy that was compared. The RAM has 40 to 100 MB of data, and
hashing it would take 0.1 s, as long as a start, and read pages that no clone needs. So it is
verified once for each copy of the file; see `microvm.cache.verified`.

A clone cannot change these files, because its QEMU gets the RAM as a read-only file and maps it
copy-on-write. QEMU before 8.2 cannot do that, so its clones get their own copies, which takes less
than 0.1 s, and memory. Each clone gets a copy of the scratch disk, which takes no time if the file
system can share blocks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from microvm import cache
from microvm.cache import record, verified
from microvm.qemu.command_line import Memory
from microvm.sha256 import sha256
from microvm.start import scratch, sparse
from microvm.start.origin import Origin
from microvm.system import platform
from microvm.system.capacity import SHORTAGES

T = TypeVar("T")

FORMAT = 7
"""Version of the format of saved guests. Guests in the format of another version cannot be used."""

Flaw = Literal["damaged", "outdated", "unreadable"]
"""The kinds of flaws of a saved guest; another version of microvm saved an `outdated` one."""

LOST = ("damaged", "outdated")
"""Flaws with which a saved guest can never be used again."""

RAM, STATE, SCRATCH = "ram", "state", "scratch"
"""Names of the files in the folder of a saved guest."""

STATE_LIMIT = 64 << 20
"""Maximum number of bytes in the file `state`."""

_MANIFEST = "manifest.json"
_MANIFEST_LIMIT = 1 << 16


class SavedManifest(NamedTuple):
    """The manifest of a saved guest: its origin, and the digests of its files.

    :ivar copied: True if each clone needs a copy of the memory, because QEMU cannot share the file.
    :ivar ram_sha256: Digest of the file `ram`, in hexadecimal; see `sparse.digest`.
    :ivar scratch_sha256: Digest of the file `scratch` in the same form; empty if it does not exist.
    """

    format: int
    name: str
    origin: Origin
    copied: bool
    state_sha256: str
    ram_sha256: str
    scratch_sha256: str


class SavedGuest(NamedTuple):
    """A saved guest in the cache: its manifest, or the reason why the guest cannot be used.

    :ivar manifest: Manifest of the guest; None if the guest has a flaw.
    :ivar size: Number of bytes that the guest occupies on the disk.
    :ivar used: Time at which the guest was last cloned, in seconds since 1970.
    """

    name: str
    manifest: SavedManifest | None
    flaw: Flaw | None
    size: int
    used: float


class FlawError(Exception):
    """Error: a saved guest cannot be used, because its files are damaged, outdated or unreadable.

    The text explains the flaw further, or is empty.
    """

    def __init__(self, flaw: Flaw, why: str = "") -> None:
        super().__init__(why)
        self.flaw: Flaw = flaw


class OpenedGuest(NamedTuple):
    """The manifest of a saved guest, the content of its file `state`, and its other open files."""

    manifest: SavedManifest
    ram: int
    state: bytes
    disk: int | None


@contextmanager
def blank(scratch_size: int = 0) -> Iterator[Memory]:
    """Context manager that yields unnamed files in which QEMU saves a guest and its scratch disk.

    The files are closed after the block. A `scratch_size` of 0 means that there is no such disk.
    """
    with ExitStack() as files:
        ram, state = (_memfd(name, files) for name in (RAM, STATE))
        disk = files.enter_context(scratch.blank(scratch_size)) if scratch_size else None
        yield Memory(ram, state, saved=False, scratch=disk)


@contextmanager
def restorable(ram: int, state: bytes, disk: int | None, *, copied: bool) -> Iterator[Memory]:
    """Context manager that yields copies of a saved guest's files; `ram` is shared unless `copied`.

    One QEMU restores the guest from these files.
    """
    with ExitStack() as files:
        original = os.fstat(ram)
        if copied:
            saved_ram, ram = ram, _memfd(RAM, files)
            sparse.copy(saved_ram, ram)
        yield Memory(
            ram,
            _copy(state, files),
            saved=True,
            scratch=None if disk is None else files.enter_context(scratch.copied(disk)),
            copied=copied,
            identity=(original.st_ino, original.st_ctime_ns),
        )


def write(
    memory: Memory, folder: Path, *, name: str, origin: Origin, copied: bool, base: int | None
) -> None:
    """Write a guest that QEMU has saved in `memory`, and the guest's manifest, to a new folder.

    See `Store.save` for the arguments.
    """
    folder.mkdir()
    state = os.pread(memory.state, os.fstat(memory.state).st_size, 0)
    (folder / STATE).write_bytes(state)
    ram = _keep(memory.ram, folder / RAM, base)
    disk = "" if memory.scratch is None else _keep(memory.scratch, folder / SCRATCH)
    manifest = SavedManifest(FORMAT, name, origin, copied, sha256(state).hexdigest(), ram, disk)
    complete(folder, manifest)


def complete(folder: Path, manifest: SavedManifest) -> None:
    """Write the manifest of a saved guest, whose other files are already in the folder."""
    for file in folder.iterdir():
        file.chmod(cache.READ_ONLY_MODE)
    (folder / _MANIFEST).write_text(json.dumps(record.members(manifest), indent=2) + "\n")
    with (folder / RAM).open("rb") as saved:
        verified.remember(folder / RAM, saved.fileno(), manifest.ram_sha256)


def open_checked(path: Path, files: ExitStack, *, deep: bool = True) -> OpenedGuest:
    """Open the files of a saved guest and check their sizes; if `deep`, also their digests.

    :raises FlawError: If the saved guest has a flaw.
    :raises OSError: If this process has reached a limit, such as its number of open files.
    """

    def read() -> OpenedGuest:
        with ExitStack() as own_files:
            opened = _open(path, own_files, deep=deep)
            files.push(own_files.pop_all())
            return opened

    return _stable(path, read)


def read_manifest(path: Path) -> SavedManifest:
    """Return the manifest of a saved guest; see `open_checked` for the errors."""
    return _stable(path, lambda: _manifest(path))


def _stable(path: Path, read: Callable[[], T]) -> T:
    """Call `read`, which reads a saved guest; call it again if the guest was replaced meanwhile."""
    while True:
        before = _inode(path)
        try:
            with _flaws(path):
                return read()
        except FlawError:
            if _inode(path) == before:
                raise


def _open(path: Path, files: ExitStack, *, deep: bool) -> OpenedGuest:
    manifest = _manifest(path)
    state = cache.read(path / STATE, STATE_LIMIT)
    if sha256(state).hexdigest() != manifest.state_sha256:
        raise FlawError("damaged", "its state has changed since it was saved")

    def open_file(name: str, label: str, size: int, sha256: str) -> int:
        file = cache.open_file(path / name)
        files.callback(os.close, file)
        same = os.fstat(file).st_size == size
        if not same or (deep and not verified.check(path / name, file, sha256, sparse.digest)):
            raise FlawError("damaged", f"its {label} has changed since it was saved")
        return file

    ram = open_file(RAM, "memory", manifest.origin.memory << 20, manifest.ram_sha256)
    disk = None
    if digest := manifest.scratch_sha256:
        disk = open_file(SCRATCH, "disk", manifest.origin.scratch, digest)
    return OpenedGuest(manifest, ram, state, disk)


def _manifest(path: Path) -> SavedManifest:
    try:
        members = record.read(path / _MANIFEST, _MANIFEST_LIMIT)
        if members.get("format") != FORMAT:
            raise FlawError("outdated")
        manifest = record.make(SavedManifest, members)
    except ValueError:
        raise FlawError("damaged", "its manifest cannot be read") from None
    if manifest.name != path.name:
        raise FlawError("damaged", f"its name is {manifest.name}")
    return manifest


@contextmanager
def _flaws(path: Path) -> Iterator[None]:
    """Context manager that converts file system errors about a saved guest to a `FlawError`."""
    try:
        yield
    except FileNotFoundError:
        if path.exists():
            raise FlawError("damaged", "incomplete") from None
        raise
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        raise FlawError("unreadable", error.strerror or str(error)) from error


def _inode(path: Path) -> int | None:
    with suppress(OSError):
        return path.stat().st_ino
    return None


def _keep(source: int, path: Path, base: int | None = None) -> str:
    """Copy `source` to `path`, sharing disk blocks with the similar file `base`; return its digest.

    `source` and `base` are descriptors. Blocks are shared only if the file system supports that.
    """
    with path.open("w+b") as target:
        if base is not None and sparse.share(base, target.fileno()):
            sparse.copy_changes(source, base, target.fileno())
        else:
            sparse.copy_without_zeros(source, target.fileno())
        return sparse.digest(target.fileno())


def _copy(state: bytes, files: ExitStack) -> int:
    copy = _memfd(STATE, files)
    # os.write() might write only some of the bytes; a file object writes all
    with open(copy, "wb", closefd=False) as file:
        file.write(state)
    os.lseek(copy, 0, os.SEEK_SET)
    return copy


def _memfd(name: str, files: ExitStack) -> int:
    file = platform.memory_file(f"microvm-{name}", sealable=True)
    files.callback(os.close, file)
    return file
