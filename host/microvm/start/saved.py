"""Saved guests on the disk, and the stores of them: templates are one, snapshots another.

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

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from microvm.cache import lock, record, verified
from microvm.cache import store as cache
from microvm.errors import SnapshotError, TemplateError
from microvm.qemu.command import Memory
from microvm.start import scratch, sparse
from microvm.start.origin import Origin

FORMAT = 6
"""The version of what is saved; what has another cannot be used."""

Flaw = Literal["damaged", "outdated", "unreadable"]
"""What can be wrong with a saved guest; an outdated one is of another version of microvm."""

LOST = ("damaged", "outdated")
"""The flaws with which it is good for nothing, whatever changes outside of it."""

_NAME = re.compile(r"\w[\w.+~-]{0,199}", re.ASCII)
_LIMITS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_RAM, _STATE, _SCRATCH, _MANIFEST = "ram", "state", "scratch", "manifest.json"
_STATE_LIMIT = 64 << 20
_MANIFEST_LIMIT = 1 << 16
_SECTOR = 512  # what st_blocks counts, stat(2)


@dataclass(frozen=True, slots=True)
class Manifest:
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


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved guest on the disk.

    :ivar manifest: the manifest; None where there is something wrong with it.
    :ivar flaw: what that is; None where there is nothing.
    :ivar size: the bytes that it takes on the disk.
    :ivar used: the time of its last clone, in seconds since 1970.
    """

    name: str
    manifest: Manifest | None
    flaw: Flaw | None
    size: int
    used: float


class _FlawError(Exception):
    """There is something wrong with a saved guest; the text says what, if a word does not."""

    def __init__(self, flaw: Flaw, why: str = "") -> None:
        super().__init__(why)
        self.flaw: Flaw = flaw


@dataclass(frozen=True, slots=True)
class _Opened:
    """A saved guest whose files are open."""

    manifest: Manifest
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
        ram, state = (_memfd(part, files) for part in (_RAM, _STATE))
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


class Store:
    """A store of saved guests: a folder of the cache.

    :param folder: its name.
    :param noun: what is in it, for people.
    :param error: what is raised where one cannot be used.
    :param remedy: what a user does then; nothing where that is seen to.
    """

    def __init__(
        self,
        folder: str,
        noun: str,
        error: type[TemplateError] | type[SnapshotError],
        remedy: str = "",
    ) -> None:
        self._name = folder
        self._noun = noun
        self._error = error
        self._remedy = remedy

    @property
    def folder(self) -> Path:
        """The folder, there or not.

        :raises ImageError: others can change what is in it; see `cache.trust`.
        """
        return cache.folder(self._name)

    def path(self, name: str) -> Path:
        """Return the folder of a saved guest, there or not.

        :raises TemplateError, SnapshotError: none can have that name.
        """
        if not _NAME.fullmatch(name):
            raise self._error(f"not the name of a {self._noun}: {name!r}")
        return self.folder / name

    @contextmanager
    def opened(self, name: str, made: Origin | None = None) -> Iterator[Memory | None]:
        """Open one, checked, as memory for QEMU to inherit; None if there is none.

        :param made: the origin that it must have, if that is known.
        :raises TemplateError, SnapshotError: it is there, and is not what was saved.
        :raises OSError: this process may not have what it takes, such as one more file.
        """
        path = self.path(name)
        with ExitStack() as files:
            try:
                guest = self._open(path, files)
            except FileNotFoundError:
                yield None
                return
            if made is not None and guest.manifest.origin != made:
                message = f"{path}: another {self._noun} was saved there meanwhile"
                raise self._error(message, hint="look for it again")
            with suppress(OSError):
                os.utime(path)
            copied = guest.manifest.copied
            yield files.enter_context(restorable(guest.ram, guest.state, guest.disk, copied=copied))

    def check(self, name: str) -> Manifest:
        """Compare one with its digests, and return what it is made of.

        :raises TemplateError, SnapshotError: there is none, or it is not what was saved.
        """
        with ExitStack() as files:
            try:
                return self._open(self.path(name), files).manifest
            except FileNotFoundError:
                raise self.missing(name) from None

    def manifest(self, name: str) -> Manifest | None:
        """Return what one is made of; None if there is none.

        :raises TemplateError, SnapshotError: it cannot be read.
        """
        path = self.path(name)
        try:
            with _flaws(path):
                return _manifest(path)
        except FileNotFoundError:
            return None
        except _FlawError as flaw:
            raise self._said(path, flaw) from None

    def _open(self, path: Path, files: ExitStack) -> _Opened:
        while True:
            before = _inode(path)
            with ExitStack() as ours:
                try:
                    opened = _open(path, ours, deep=True)
                except _FlawError as flaw:
                    if _inode(path) == before:
                        raise self._said(path, flaw) from None
                    continue  # it is another one meanwhile, of which this has seen a part
                files.push(ours.pop_all())
                return opened

    def _said(self, path: Path, error: _FlawError) -> TemplateError | SnapshotError:
        said = {
            "damaged": f"damaged {self._noun}: {error}",
            "outdated": f"a {self._noun} of another version of microvm",
            "unreadable": f"cannot read the {self._noun}: {error}",
        }
        hint = self._remedy
        if hint and error.flaw in LOST:
            hint += f"; `microvm {self._noun} prune` removes this one"
        return self._error(f"{path}: {said[error.flaw]}", hint=hint)

    def save(
        self,
        memory: Memory,
        *,
        name: str,
        origin: Origin,
        copied: bool,
        base: int | None = None,
    ) -> None:
        """Keep the guest that QEMU has saved in `memory`; one of that name is replaced.

        The caller holds the lock of its `path`. Other arguments are what `Manifest` says.

        :param base: memory that this may be much like, to share blocks with where that is possible.
        :raises ImageError: the disk is full, or cannot be written. Nothing half made is left.
        """
        path = self.path(name)
        with cache.disk_errors(), cache.staging(path) as folder:
            folder.mkdir()
            state = os.pread(memory.state, os.fstat(memory.state).st_size, 0)
            (folder / _STATE).write_bytes(state)
            digests = {_RAM: _keep(memory.ram, folder / _RAM, base), _SCRATCH: ""}
            if memory.scratch is not None:
                digests[_SCRATCH] = _keep(memory.scratch, folder / _SCRATCH)
            for part in folder.iterdir():
                part.chmod(cache.READ_ONLY_MODE)
            manifest = Manifest(
                format=FORMAT,
                name=name,
                origin=origin,
                copied=copied,
                state_sha256=hashlib.sha256(state).hexdigest(),
                ram_sha256=digests[_RAM],
                scratch_sha256=digests[_SCRATCH],
            )
            (folder / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n")
            with (folder / _RAM).open("rb") as saved:
                verified.remember(folder / _RAM, saved.fileno(), manifest.ram_sha256)

    def installed(self, *, deep: bool = False) -> list[Saved]:
        """Return all that are there, the one that was used last first.

        :param deep: compare them with their digests, too, which reads all of what is new here.
        """
        found = []
        for path in self.folder.glob("[!.]*"):
            with suppress(FileNotFoundError, NotADirectoryError):  # removed meanwhile, or not ours
                size = sum(file.stat().st_blocks * _SECTOR for file in path.iterdir())
                manifest, flaw = _look(path, deep=deep)
                found.append(Saved(path.name, manifest, flaw, size, path.stat().st_mtime))
        return sorted(found, key=lambda saved: (-saved.used, saved.name))

    def remove(self, name: str) -> None:
        """Remove one; clones that run are not disturbed.

        :raises TemplateError, SnapshotError: there is none, or it is just being made.
        """
        path = self.path(name)
        if not path.exists():
            raise self.missing(name)
        with lock.attempt(path) as ours:
            if not ours:
                raise self._error(f"{name} is just being made by {lock.holder(path)}")
            # Renamed first, so that nobody ever finds half of it; another may have been faster.
            with cache.disk_errors(), cache.scratch(path) as gone, suppress(FileNotFoundError):
                path.replace(gone)

    def missing(self, name: str) -> TemplateError | SnapshotError:
        """Return the error to raise where there is none of that name."""
        return self._error(f"no {self._noun} {name}", hint=f"`microvm {self._noun} ls` lists them")


def _look(path: Path, *, deep: bool) -> tuple[Manifest | None, Flaw | None]:
    try:
        with ExitStack() as files:
            return _open(path, files, deep=deep).manifest, None
    except FileNotFoundError:
        raise
    except _FlawError as error:
        return None, error.flaw
    except OSError:  # a limit of this process
        return None, "unreadable"


def _open(path: Path, files: ExitStack, *, deep: bool) -> _Opened:
    """Open a saved guest, checked: its sizes, or by its digests.

    :raises FileNotFoundError: there is none.
    :raises _FlawError: there is something wrong with it.
    """
    with _flaws(path):
        manifest = _manifest(path)
        state = cache.read(path / _STATE, _STATE_LIMIT)
        if hashlib.sha256(state).hexdigest() != manifest.state_sha256:
            raise _FlawError("damaged", "its state is not what was saved")

        def part(name: str, what: str, size: int, sha256: str) -> int:
            file = cache.open_file(path / name)
            files.callback(os.close, file)
            same = os.fstat(file).st_size == size
            if not same or (deep and not verified.check(path / name, file, sha256, sparse.digest)):
                raise _FlawError("damaged", f"its {what} is not what was saved")
            return file

        made = manifest.origin
        ram = part(_RAM, "memory", made.memory << 20, manifest.ram_sha256)
        disk = None
        if manifest.scratch_sha256:
            disk = part(_SCRATCH, "disk", made.scratch, manifest.scratch_sha256)
        return _Opened(manifest, ram, state, disk)


def _manifest(path: Path) -> Manifest:
    try:
        members = record.read(path / _MANIFEST, _MANIFEST_LIMIT)
        if members.get("format") != FORMAT:
            raise _FlawError("outdated")
        manifest = record.make(Manifest, members)
    except ValueError:
        raise _FlawError("damaged", "its manifest cannot be read") from None
    if manifest.name != path.name:
        raise _FlawError("damaged", f"its name is {manifest.name}")
    return manifest


@contextmanager
def _flaws(path: Path) -> Iterator[None]:
    """Turn what the file system says of a saved guest into what is wrong with it.

    :raises FileNotFoundError: there is none.
    :raises OSError: this process has run into a limit of its own.
    """
    try:
        yield
    except FileNotFoundError:
        if path.exists():
            raise _FlawError("damaged", "incomplete") from None
        raise
    except OSError as error:
        if error.errno in _LIMITS:
            raise
        raise _FlawError("unreadable", error.strerror or str(error)) from error


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
    copy = _memfd(_STATE, files)
    with open(copy, "wb", closefd=False) as file:  # os.write() may stop at a limit, and say nothing
        file.write(state)
    os.lseek(copy, 0, os.SEEK_SET)
    return copy


def _copy_ram(ram: int, files: ExitStack) -> int:
    copy = _memfd(_RAM, files)
    sparse.copy(ram, copy)
    return copy


def _memfd(part: str, files: ExitStack) -> int:
    made = os.memfd_create(f"microvm-{part}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    files.callback(os.close, made)
    return made
