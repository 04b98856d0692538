"""Templates: guests that were booted and saved, for others to be cloned from.

A template is a folder of the cache, whole or not there:

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
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from microvm.cache import lock, record, verified
from microvm.cache import store as cache
from microvm.errors import ImageError, TemplateError, UsageError
from microvm.qemu.command import Memory
from microvm.start import scratch, sparse
from microvm.units import parse_size

FORMAT = 5
"""The version of what is saved; templates of an older one are made anew."""

LIMIT = "4G"
"""The size that all templates together may take on the disk, unless MICROVM_TEMPLATES says another;
those that were not used for the longest go first."""

HOLDER_TIMEOUT = 5.0
"""Seconds without a heartbeat after which nobody waits for a process that makes a template."""

_HEARTBEAT = 0.5
_LIMITS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_RAM, _STATE, _SCRATCH, _MANIFEST = "ram", "state", "scratch", "manifest.json"
_STATE_LIMIT = 64 << 20
_MANIFEST_LIMIT = 1 << 16
_SECTOR = 512  # what st_blocks counts, stat(2)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of a template: what it is made of.

    :ivar name: the name of its folder; it ends in a digest of everything that shapes the guest.
    :ivar image: the name of the image that was booted.
    :ivar qemu: the path of the QEMU that saved it.
    :ivar accel: QEMU's accelerator.
    :ivar memory: the guest's memory in MiB.
    :ivar cpus: the number of the guest's CPUs.
    :ivar copied: whether a clone needs a copy of the RAM, since its QEMU cannot share the file.
    :ivar state_sha256: the digest of the state, in hex.
    :ivar ram_sha256: the digest of the RAM, in hex; see `sparse.digest`.
    :ivar scratch_sha256: the same of the scratch disk; empty where there is none.
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
    ram_sha256: str
    scratch_sha256: str


@dataclass(frozen=True, slots=True)
class Template:
    """A template on the disk.

    :ivar manifest: the manifest; None where it is damaged.
    :ivar size: the bytes that it takes on the disk.
    :ivar used: the time of its last clone, in seconds since 1970.
    """

    name: str
    manifest: Manifest | None
    size: int
    used: float


@contextmanager
def opened(name: str) -> Iterator[Memory | None]:
    """Open a template, checked, as memory for QEMU to inherit; None if there is none.

    :raises TemplateError: it is there, and is not what was saved.
    :raises OSError: this process may not have what it takes, such as one more file.
    """
    path = _path(name)
    with ExitStack() as files:
        try:
            manifest = _manifest(path)
            ram = cache.open_file(path / _RAM)
            files.callback(os.close, ram)
            state = cache.read(path / _STATE, _STATE_LIMIT)
            intact = verified.check(path / _RAM, ram, manifest.ram_sha256, sparse.digest)
            saved = None
            if manifest.scratch_sha256:
                saved = cache.open_file(path / _SCRATCH)
                files.callback(os.close, saved)
                same = verified.check(
                    path / _SCRATCH, saved, manifest.scratch_sha256, sparse.digest
                )
        except FileNotFoundError:
            if path.exists():
                raise TemplateError(f"{path}: damaged template: incomplete") from None
            yield None
            return
        except OSError as error:
            if error.errno in _LIMITS:
                raise
            raise TemplateError(f"{path}: cannot read the template: {error.strerror}") from error
        if hashlib.sha256(state).hexdigest() != manifest.state_sha256:
            raise TemplateError(f"{path}: damaged template: its state is not what was saved")
        if not intact:
            raise TemplateError(f"{path}: damaged template: its memory is not what was saved")
        if saved is not None and not same:
            raise TemplateError(f"{path}: damaged template: its disk is not what was saved")
        with suppress(OSError):
            os.utime(path)
        original = os.fstat(ram)
        yield Memory(
            _copy_ram(ram, files) if manifest.copied else ram,
            _copy(state, files),
            saved=True,
            scratch=None if saved is None else files.enter_context(scratch.copied(saved)),
            copied=manifest.copied,
            identity=(original.st_ino, original.st_ctime_ns),
        )


def _copy(state: bytes, files: ExitStack) -> int:
    copy = os.memfd_create("microvm-state", os.MFD_CLOEXEC)
    files.callback(os.close, copy)
    with open(copy, "wb", closefd=False) as file:  # os.write() may stop at a limit, and say nothing
        file.write(state)
    os.lseek(copy, 0, os.SEEK_SET)
    return copy


def _copy_ram(ram: int, files: ExitStack) -> int:
    copy = os.memfd_create("microvm-ram", os.MFD_CLOEXEC)
    files.callback(os.close, copy)
    sparse.copy(ram, copy)
    return copy


def _manifest(path: Path) -> Manifest:
    try:
        manifest = record.make(Manifest, record.read(path / _MANIFEST, _MANIFEST_LIMIT))
    except ValueError:
        raise TemplateError(f"{path}: damaged template: its manifest cannot be read") from None
    if (manifest.format, manifest.name) != (FORMAT, path.name):
        raise TemplateError(f"{path}: a template of another version")
    return manifest


@contextmanager
def blank(scratch_size: int = 0) -> Iterator[Memory]:
    """Make files for QEMU to save a guest in; they are in no folder, and gone afterwards.

    :param scratch_size: see `QemuConfig.scratch`.
    :raises ImageError, QemuError: as `scratch.blank`.
    """
    with ExitStack() as files:
        ram, state = (os.memfd_create(f"microvm-{part}", os.MFD_CLOEXEC) for part in (_RAM, _STATE))
        files.callback(os.close, ram)
        files.callback(os.close, state)
        disk = files.enter_context(scratch.blank(scratch_size)) if scratch_size else None
        yield Memory(ram, state, saved=False, scratch=disk)


@asynccontextmanager
async def locked(name: str, notify: Callable[[str], None]) -> AsyncIterator[None]:
    """Hold the right to make this template; wait while another process has it, and lives.

    :param notify: called with a line for the user where the wait is long.
    :raises ImageError: nothing can be made there, or who has the right shows no sign of life.
    """
    import asyncio

    path = _path(name)
    # Counted, as it may be us whom a signal stops meanwhile, and that stops no clock.
    max_checks = round(HOLDER_TIMEOUT / lock.INTERVAL)
    heartbeat, checks, silent = None, 0, 0
    while True:
        with lock.attempt(path) as ours:
            if ours:
                beating = asyncio.create_task(_send_heartbeats(path))
                try:
                    yield
                finally:
                    beating.cancel()
                    await asyncio.wait([beating])
                return
        before, heartbeat = heartbeat, lock.last_heartbeat(path)
        checks, silent = checks + 1, silent + 1 if heartbeat == before else 0
        if silent > max_checks:
            who = lock.holder(path)
            raise ImageError(
                f"{who} makes it, and has given no sign of life for {HOLDER_TIMEOUT:g} s"
            )
        if checks == max_checks:
            notify(f"waiting for {lock.holder(path)}, which saves a guest to clone")
        await asyncio.sleep(lock.INTERVAL)


async def _send_heartbeats(path: Path) -> None:
    import asyncio

    while True:
        lock.heartbeat(path)
        await asyncio.sleep(_HEARTBEAT)


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

    The caller holds `locked`. Arguments are what `Manifest` says.

    :raises ImageError: the disk is full, or cannot be written. Nothing half made is left.
    """
    path = _path(name)
    with cache.disk_errors(), cache.staging(path) as folder:
        folder.mkdir()
        state = os.pread(memory.state, os.fstat(memory.state).st_size, 0)
        (folder / _STATE).write_bytes(state)
        with (folder / _RAM).open("w+b") as ram:
            sparse.copy_without_zeros(memory.ram, ram.fileno())
            digest = sparse.digest(ram.fileno())
        parts, scratch_digest = [_STATE, _RAM], ""
        if memory.scratch is not None:
            parts.append(_SCRATCH)
            with (folder / _SCRATCH).open("w+b") as disk:
                sparse.copy_without_zeros(memory.scratch, disk.fileno())
                scratch_digest = sparse.digest(disk.fileno())
        for part in parts:
            (folder / part).chmod(cache.READ_ONLY_MODE)
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
            ram_sha256=digest,
            scratch_sha256=scratch_digest,
        )
        (folder / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n")
        with (folder / _RAM).open("rb") as saved:
            verified.remember(folder / _RAM, saved.fileno(), digest)
    with suppress(ImageError):  # what cannot be removed is in nobody's way
        prune(limit(), keep=name)


def installed() -> list[Template]:
    """Return all templates of the cache, the one that was used last first."""
    found = []
    for path in _folder().glob("[!.]*"):
        with suppress(FileNotFoundError, NotADirectoryError):  # removed meanwhile, or not ours
            size = sum(file.stat().st_blocks * _SECTOR for file in path.iterdir())
            found.append(Template(path.name, _manifest_or_none(path), size, path.stat().st_mtime))
    return sorted(found, key=lambda template: (-template.used, template.name))


def _manifest_or_none(path: Path) -> Manifest | None:
    try:
        return _manifest(path)
    except (TemplateError, OSError):
        return None


def remove(name: str) -> None:
    """Remove a template; clones that run are not disturbed.

    :raises TemplateError: there is none.
    """
    path = _path(name)
    if not path.exists():
        raise TemplateError(f"no template {name}", hint="`microvm template ls` lists them")
    with lock.attempt(path) as ours:
        if not ours:
            raise TemplateError(f"{name} is just being made by {lock.holder(path)}")
        # Renamed first, so that nobody ever finds half a template; another may have been faster.
        with cache.disk_errors(), cache.scratch(path) as gone, suppress(FileNotFoundError):
            path.replace(gone)


def prune(limit: int, *, keep: str = "") -> list[Template]:
    """Remove damaged templates, then the longest unused ones, until `limit` bytes are left.

    :param keep: the name of a template that stays whatever happens.
    :return: the templates that were removed.
    """
    lock.sweep(_folder())
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
    """Return the bytes that all templates together may take.

    :raises UsageError: MICROVM_TEMPLATES is no size.
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
