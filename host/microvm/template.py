"""Templates: guests that were booted and saved, for others to be cloned from.

A template is a folder of the cache, whole or not there:

- `ram`: the guest's memory; clones map it, and share what they do not change.
- `state`: the rest of the machine, as QEMU writes it.
- `manifest.json`: what it is made of, and how to tell that it is still the same.

QEMU does not check what it loads. So the state is compared with its SHA-256 before each use, which
takes 0.1 ms, and what is then loaded is the copy that was compared. Hashing the RAM, 40 to 100 MB
of data, would take 60 ms, as long as the start that it is for, and read pages that no clone
touches. It is compared by inode, size, and the times of its last write and change. That finds
whatever went through the file system, also where somebody has put the time of writing back: only
root can set that of changing. It does not find a disk that lies, which a hash of what is in the
page cache would not find either, nor root. The device is not compared: its number may be another
after a reboot.

A clone cannot harm it: QEMU inherits the RAM open for reading only, and maps it copied on write.
QEMU before 8.2 cannot do that, so its clones get a copy each: less than 0.1 s, and memory.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from microvm.errors import TemplateError, UsageError
from microvm.qemu_command import Memory
from microvm.units import parse_size
from microvm_image import cache

FORMAT = 3
"""Raised when what is saved changes: older templates are then made anew."""

LIMIT = "4G"
"""What all templates together may take on the disk, unless MICROVM_TEMPLATES says another size;
those that were not used for the longest go first."""

_RAM, _STATE, _MANIFEST = "ram", "state", "manifest.json"
_PAGE = 4096
_CHUNK = 1 << 20
_BLOCK = 512  # what st_blocks counts, stat(2)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a template is.

    :ivar name: its folder's; ends in a digest of everything that shapes the guest.
    :ivar image: the image that was booted, its name.
    :ivar qemu: the program that saved it, its path.
    :ivar accel: QEMU's accelerator.
    :ivar memory: the guest's, in MiB.
    :ivar cpus: the guest's.
    :ivar copied: whether a clone needs a copy of the RAM, since its QEMU cannot share the file.
    :ivar state_sha256: in hex.
    :ivar ram: inode, bytes, and times in nanoseconds of the last write and change.
    """

    format: int
    name: str
    image: str
    qemu: str
    accel: str
    memory: int
    cpus: int
    copied: bool
    state_sha256: str
    ram: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A template on the disk.

    :ivar manifest: None where it is damaged.
    :ivar size: bytes that it takes there.
    :ivar used: when it was last cloned, in seconds since 1970.
    """

    name: str
    manifest: Manifest | None
    size: int
    used: float


@contextmanager
def opened(name: str) -> Iterator[Memory | None]:
    """Give the memory of a template, checked, for QEMU to inherit; None if there is none.

    :raise TemplateError: it is there, and is not what was saved.
    """
    path = _path(name)
    with ExitStack() as files:
        try:
            manifest = _manifest(path)
            ram = os.open(path / _RAM, os.O_RDONLY | os.O_CLOEXEC)
            files.callback(os.close, ram)
            state = (path / _STATE).read_bytes()
        except FileNotFoundError:
            if path.exists():
                raise TemplateError(f"{path}: damaged template: incomplete") from None
            yield None
            return
        except OSError as error:
            raise TemplateError(f"{path}: cannot read the template: {error.strerror}") from error
        if hashlib.sha256(state).hexdigest() != manifest.state_sha256:
            raise TemplateError(f"{path}: damaged template: its state is not what was saved")
        if _identity(ram) != manifest.ram:
            raise TemplateError(f"{path}: damaged template: its memory is not what was saved")
        with suppress(OSError):
            os.utime(path)
        if manifest.copied:
            with cache.disk_errors():
                ram = _copy_ram(ram, files)
        yield Memory(ram, _copy(state, files), saved=True, copied=manifest.copied)


def _copy(state: bytes, files: ExitStack) -> int:
    copy = os.memfd_create("microvm-state", os.MFD_CLOEXEC)
    files.callback(os.close, copy)
    os.write(copy, state)
    os.lseek(copy, 0, os.SEEK_SET)
    return copy


def _copy_ram(ram: int, files: ExitStack) -> int:
    copy = os.memfd_create("microvm-ram", os.MFD_CLOEXEC)
    files.callback(os.close, copy)
    os.ftruncate(copy, os.fstat(ram).st_size)
    for start, end in _extents(ram):
        os.lseek(copy, start, os.SEEK_SET)
        at = start
        while at < end:
            at += os.sendfile(copy, ram, at, end - at)
    return copy


def _extents(file: int) -> Iterator[tuple[int, int]]:
    """Where a file has data, as offsets."""
    end = 0
    while True:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data from there on, lseek(2)
                return
            raise
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end


def _manifest(path: Path) -> Manifest:
    try:
        fields = json.loads((path / _MANIFEST).read_bytes())
        manifest = Manifest(**{**fields, "ram": tuple(fields["ram"])})
    except (ValueError, TypeError, LookupError):
        raise TemplateError(f"{path}: damaged template: its manifest cannot be read") from None
    if (manifest.format, manifest.name) != (FORMAT, path.name):
        raise TemplateError(f"{path}: a template of another version")
    return manifest


def _identity(file: int) -> tuple[int, ...]:
    status = os.fstat(file)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@contextmanager
def blank() -> Iterator[Memory]:
    """Give files for QEMU to save a guest in; they are in no folder, and gone afterwards."""
    with ExitStack() as files:
        ram, state = (os.memfd_create(f"microvm-{part}", os.MFD_CLOEXEC) for part in (_RAM, _STATE))
        files.callback(os.close, ram)
        files.callback(os.close, state)
        yield Memory(ram, state, saved=False)


@asynccontextmanager
async def lock(name: str) -> AsyncIterator[None]:
    """Hold the only right to make this template; wait while another process has it."""
    import asyncio

    while True:
        with cache.try_lock(_path(name)) as held:
            if held:
                yield
                return
        await asyncio.sleep(cache.LOCK_INTERVAL)


def save(
    memory: Memory,
    *,
    name: str,
    image: str,
    qemu: Path,
    accel: str,
    megabytes: int,
    cpus: int,
    copied: bool,
) -> None:
    """Keep the guest that QEMU has saved in `memory`, and make room for it among the others.

    The caller holds `lock`. Arguments are what `Manifest` says.

    :raise ImageError: the disk is full, or cannot be written. Nothing half made is left.
    """
    path = _path(name)
    with cache.disk_errors(), cache.staging(path) as folder:
        folder.mkdir()
        state = os.pread(memory.state, os.fstat(memory.state).st_size, 0)
        (folder / _STATE).write_bytes(state)
        with (folder / _RAM).open("wb") as ram:
            _copy_sparse(memory.ram, ram.fileno())
        for part in (_STATE, _RAM):
            (folder / part).chmod(cache.READABLE)
        with (folder / _RAM).open("rb") as ram:
            identity = _identity(ram.fileno())
        manifest = Manifest(
            format=FORMAT,
            name=name,
            image=image,
            qemu=str(qemu),
            accel=accel,
            memory=megabytes,
            cpus=cpus,
            copied=copied,
            state_sha256=hashlib.sha256(state).hexdigest(),
            ram=identity,
        )
        (folder / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n")
    prune(limit(), keep=name)


def _copy_sparse(source: int, target: int) -> None:
    """Copy a file without its pages of zeros: they cost no disk, and clones share one for all."""
    os.ftruncate(target, os.fstat(source).st_size)
    zeros = bytes(_PAGE)
    for first, end in _extents(source):
        for offset in range(first, end, _CHUNK):
            chunk = memoryview(os.pread(source, min(_CHUNK, end - offset), offset))
            start = 0
            for at in range(0, len(chunk) + _PAGE, _PAGE):
                page = chunk[at : at + _PAGE]
                if not page or page == zeros:
                    if at > start:
                        os.pwrite(target, chunk[start:at], offset + start)
                    start = at + _PAGE


def installed() -> list[Template]:
    """All templates of the cache, the one that was used last first."""
    found = []
    for path in _folder().glob("[!.]*"):
        with suppress(FileNotFoundError, NotADirectoryError):  # removed meanwhile, or not ours
            size = sum(file.stat().st_blocks * _BLOCK for file in path.iterdir())
            found.append(Template(path.name, _readable(path), size, path.stat().st_mtime))
    return sorted(found, key=lambda template: (-template.used, template.name))


def _readable(path: Path) -> Manifest | None:
    try:
        return _manifest(path)
    except (TemplateError, OSError):
        return None


def remove(name: str) -> None:
    """Remove a template; clones that run are not disturbed.

    :raise TemplateError: there is none.
    """
    path = _path(name)
    if not path.is_dir():
        raise TemplateError(f"no template {name}", hint="`microvm template ls` lists them")
    with cache.try_lock(path) as held:
        if not held:
            raise TemplateError(f"{name} is just being made")
        # Renamed first, so that nobody ever finds half a template; another may have been faster.
        with cache.disk_errors(), cache.scratch(path) as gone, suppress(FileNotFoundError):
            path.replace(gone)


def prune(limit: int, *, keep: str = "") -> list[Template]:
    """Remove what is damaged, then what was not used for the longest, until `limit` bytes are left.

    :param keep: one that stays whatever happens.
    :return: those that were removed.
    """
    cache.sweep(_folder())
    removed, total = [], 0
    for template in installed():
        total += template.size
        if template.name != keep and (template.manifest is None or total > limit):
            with suppress(TemplateError):
                remove(template.name)
            total -= template.size
            removed.append(template)
    return removed


def limit() -> int:
    """The bytes that all templates together may take.

    :raise UsageError: MICROVM_TEMPLATES is no size.
    """
    try:
        return parse_size(os.environ.get("MICROVM_TEMPLATES") or LIMIT)
    except UsageError as error:
        raise UsageError(f"MICROVM_TEMPLATES: {error.message}", hint=error.hint) from None


def _path(name: str) -> Path:
    if not name or "/" in name or name.startswith("."):
        raise TemplateError(f"not the name of a template: {name!r}")
    return _folder() / name


def _folder() -> Path:
    return cache.folder("templates")
