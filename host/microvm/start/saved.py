"""Saved guests on the disk: what they consist of, and how that is written, checked and opened.

A saved guest is a folder of the cache, whole or not there:

- `ram`: the guest's memory, sparse; clones map it, and share what they do not change.
- `state`: the rest of the machine, as QEMU writes it.
- `scratch`: the disk that the guest writes its root to, if that is not in memory; sparse, too.
- `manifest.json`: what it is made of, and how to tell that it is still the same.

QEMU does not check what it loads. So the state is compared with its SHA-256 before each use, which
takes 0.1 ms, and what is then loaded is the copy that was compared. Hashing the RAM, 40 to 100 MB
of data, would take 0.1 s, as long as the start that it is for, and read pages that no clone
touches: that is done once for each copy of the file, see `microvm.cache.verified`.

A clone cannot harm it: QEMU inherits the RAM open for reading only, and maps it copied on write.
QEMU before 8.2 cannot do that, so its clones get a copy each: less than 0.1 s, and memory. Of the
scratch disk each clone has a copy, which costs nothing where the file system shares blocks.
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
from microvm.system.capacity import SHORTAGES

T = TypeVar("T")

FORMAT = 6
"""The version of what is saved; what has another cannot be used."""

Flaw = Literal["damaged", "outdated", "unreadable"]
"""What can be wrong with a saved guest; an outdated one is of another version of microvm."""

LOST = ("damaged", "outdated")
"""The flaws with which it is good for nothing, whatever changes outside of it."""

RAM, STATE, SCRATCH = "ram", "state", "scratch"
"""The names of the files."""

STATE_LIMIT = 64 << 20
"""The most bytes that a state may have."""

_MANIFEST = "manifest.json"
_MANIFEST_LIMIT = 1 << 16


class SavedManifest(NamedTuple):
    """The manifest of a saved guest.

    :ivar name: the name of its folder.
    :ivar copied: whether a clone needs a copy of the RAM, since its QEMU cannot share the file.
    :ivar state_sha256: the digest of the state, in hex.
    :ivar ram_sha256: the digest of the RAM, in hex; see `sparse.digest`.
    :ivar scratch_sha256: the same of the scratch disk; empty where there is none.
    """

    format: int
    name: str
    origin: Origin
    copied: bool
    state_sha256: str
    ram_sha256: str
    scratch_sha256: str


class SavedGuest(NamedTuple):
    """A saved guest on the disk.

    :ivar manifest: the manifest; None where there is something wrong with it.
    :ivar flaw: what that is; None where there is nothing.
    :ivar size: the bytes that it takes on the disk.
    :ivar used: the time of its last clone, in seconds since 1970.
    """

    name: str
    manifest: SavedManifest | None
    flaw: Flaw | None
    size: int
    used: float


class FlawError(Exception):
    """There is something wrong with a saved guest; the text says what, if a word does not.

    :ivar flaw: that word.
    """

    def __init__(self, flaw: Flaw, why: str = "") -> None:
        super().__init__(why)
        self.flaw: Flaw = flaw


class OpenedGuest(NamedTuple):
    """A saved guest whose files are open."""

    manifest: SavedManifest
    ram: int
    state: bytes
    disk: int | None


@contextmanager
def blank(scratch_size: int = 0) -> Iterator[Memory]:
    """Make files for QEMU to save a guest in; they are in no folder, and gone afterwards.

    :param scratch_size: see `QemuConfig.scratch`.
    :raises ImageError, QemuError: as `scratch.blank`.
    """
    with ExitStack() as files:
        ram, state = (_memfd(part, files) for part in (RAM, STATE))
        disk = files.enter_context(scratch.blank(scratch_size)) if scratch_size else None
        yield Memory(ram, state, saved=False, scratch=disk)


@contextmanager
def restorable(ram: int, state: bytes, disk: int | None, *, copied: bool) -> Iterator[Memory]:
    """Make of a saved guest the memory for one QEMU to inherit; arguments are what it is saved in.

    :raises ImageError: the disk is full, or the cache's folder cannot be written.
    """
    with ExitStack() as files:
        original = os.fstat(ram)
        yield Memory(
            _copy_ram(ram, files) if copied else ram,
            _copy(state, files),
            saved=True,
            scratch=None if disk is None else files.enter_context(scratch.copied(disk)),
            copied=copied,
            identity=(original.st_ino, original.st_ctime_ns),
        )


def write(
    memory: Memory, folder: Path, *, name: str, origin: Origin, copied: bool, base: int | None
) -> None:
    """Write the guest that QEMU has saved in `memory` to a new folder; see `Store.save`.

    :raises OSError: it cannot be written.
    """
    folder.mkdir()
    state = os.pread(memory.state, os.fstat(memory.state).st_size, 0)
    (folder / STATE).write_bytes(state)
    digests = {RAM: _keep(memory.ram, folder / RAM, base), SCRATCH: ""}
    if memory.scratch is not None:
        digests[SCRATCH] = _keep(memory.scratch, folder / SCRATCH)
    manifest = SavedManifest(
        format=FORMAT,
        name=name,
        origin=origin,
        copied=copied,
        state_sha256=sha256(state).hexdigest(),
        ram_sha256=digests[RAM],
        scratch_sha256=digests[SCRATCH],
    )
    complete(folder, manifest)


def complete(folder: Path, manifest: SavedManifest) -> None:
    """Make a saved guest of a folder whose files are what its manifest says.

    :raises OSError: it cannot be written.
    """
    for part in folder.iterdir():
        part.chmod(cache.READ_ONLY_MODE)
    (folder / _MANIFEST).write_text(json.dumps(record.members(manifest), indent=2) + "\n")
    with (folder / RAM).open("rb") as saved:
        verified.remember(folder / RAM, saved.fileno(), manifest.ram_sha256)


def open_checked(path: Path, files: ExitStack, *, deep: bool = True) -> OpenedGuest:
    """Open a saved guest, checked: by its digests or, not `deep`, its sizes.

    :param files: becomes the owner of its files.
    :raises FileNotFoundError: there is none.
    :raises FlawError: there is something wrong with it.
    :raises OSError: this process has run into a limit of its own.
    """

    def look() -> OpenedGuest:
        with ExitStack() as ours:
            opened = _open(path, ours, deep=deep)
            files.push(ours.pop_all())
            return opened

    return _steadily(path, look)


def read_manifest(path: Path) -> SavedManifest:
    """Return what a saved guest is made of.

    :raises FileNotFoundError, FlawError, OSError: as `open_checked`.
    """

    def look() -> SavedManifest:
        with _flaws(path):
            return _manifest(path)

    return _steadily(path, look)


def _steadily(path: Path, look: Callable[[], T]) -> T:
    """Look at a saved guest, once more where it is another one meanwhile: it has seen parts."""
    while True:
        before = _inode(path)
        try:
            return look()
        except FlawError:
            if _inode(path) == before:
                raise


def _open(path: Path, files: ExitStack, *, deep: bool) -> OpenedGuest:
    with _flaws(path):
        manifest = _manifest(path)
        state = cache.read(path / STATE, STATE_LIMIT)
        if sha256(state).hexdigest() != manifest.state_sha256:
            raise FlawError("damaged", "its state is not what was saved")

        def part(name: str, what: str, size: int, sha256: str) -> int:
            file = cache.open_file(path / name)
            files.callback(os.close, file)
            same = os.fstat(file).st_size == size
            if not same or (deep and not verified.check(path / name, file, sha256, sparse.digest)):
                raise FlawError("damaged", f"its {what} is not what was saved")
            return file

        made = manifest.origin
        ram = part(RAM, "memory", made.memory << 20, manifest.ram_sha256)
        disk = None
        if manifest.scratch_sha256:
            disk = part(SCRATCH, "disk", made.scratch, manifest.scratch_sha256)
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
    """Turn what the file system says of a saved guest into what is wrong with it."""
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
    """Copy a file to a path, and return its digest."""
    with path.open("w+b") as target:
        if base is not None and sparse.share(base, target.fileno()):
            sparse.copy_changes(source, base, target.fileno())
        else:
            sparse.copy_without_zeros(source, target.fileno())
        return sparse.digest(target.fileno())


def _copy(state: bytes, files: ExitStack) -> int:
    copy = _memfd(STATE, files)
    with open(copy, "wb", closefd=False) as file:  # os.write() may stop at a limit, and say nothing
        file.write(state)
    os.lseek(copy, 0, os.SEEK_SET)
    return copy


def _copy_ram(ram: int, files: ExitStack) -> int:
    copy = _memfd(RAM, files)
    sparse.copy(ram, copy)
    return copy


def _memfd(part: str, files: ExitStack) -> int:
    made = os.memfd_create(f"microvm-{part}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    files.callback(os.close, made)
    return made
