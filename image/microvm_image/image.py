"""An image: a folder with a kernel, an initramfs, and a manifest that says what they are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from microvm.arch import Bus
from microvm.cache import lock, record, trust, verified
from microvm.cache import store as cache
from microvm.errors import ImageError
from microvm.log import Area
from microvm.progress import NullReporter, Reporter
from microvm_image.config import Config

_logger = Area("image")

FORMAT = 2
"""The version of what the builder puts into an image; images of an older one are made anew."""
MANIFEST = "manifest.json"
KERNEL = "kernel"
INITRAMFS = "initramfs.cpio"
DISK = "root.erofs"

_MANIFEST_LIMIT = 1 << 20
_NAME = re.compile(r"\w[\w.+~-]{0,127}", re.ASCII)  # templates are called by it, too


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of an image: what it is made of.

    Digests are SHA-256 in hex, sizes are in bytes.

    :ivar format: the `FORMAT` of the builder that made it.
    :ivar arch: `x86_64` or `aarch64`.
    :ivar base: what it was made from, as people call it, such as `alpine-3.20.3`.
    :ivar bus: how the kernel wants its virtio devices: `pci` or `mmio`.
    :ivar kernel_version: the version of the kernel, as `uname -r` prints it.
    :ivar source: the same, with what it was at that moment, such as `alpine-3.20.3@sha256:…`.
    :ivar source_sha256: the digest of all that the root file system is made from.
    :ivar schema: the digest of the daemon's protocol schema, 16 hex digits.
    :ivar disk_size: the size of the disk with the root file system; 0 where the initramfs has it.
    :ivar disk_sha256: the digest of the disk; empty where there is none.
    :ivar config: what a run has by default.
    :ivar warm: the commands that run before a guest is saved as a template.
    :ivar history: the steps that made it, a line each, as a user wrote them.
    """

    format: int
    name: str
    arch: str
    base: str
    bus: Bus
    kernel_version: str
    kernel_size: int
    kernel_sha256: str
    source: str
    source_sha256: str
    daemon_sha256: str
    schema: str
    initramfs_size: int
    initramfs_sha256: str
    disk_size: int
    disk_sha256: str
    config: Config
    warm: tuple[tuple[str, ...], ...]
    history: tuple[str, ...]

    def json(self) -> str:
        """Return the text of `manifest.json`."""
        return json.dumps(asdict(self), indent=2) + "\n"


@dataclass(frozen=True, slots=True)
class Image:
    """An image on the disk."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The name that `--image` takes, if the image is in the cache."""
        return self.manifest.name

    @property
    def kernel(self) -> Path:
        """The kernel, as QEMU's -kernel takes it."""
        return self.path / KERNEL

    @property
    def initramfs(self) -> Path:
        """The first file system, as QEMU's -initrd takes it."""
        return self.path / INITRAMFS

    @property
    def disk(self) -> Path | None:
        """The disk with the root file system; None where the initramfs has it."""
        return self.path / DISK if self.manifest.disk_size else None

    @property
    def files(self) -> tuple[tuple[Path, int, str], ...]:
        """What the image consists of: of each file the path, the size and the digest."""
        made = self.manifest
        files = [
            (self.kernel, made.kernel_size, made.kernel_sha256),
            (self.initramfs, made.initramfs_size, made.initramfs_sha256),
        ]
        if self.disk is not None:
            files.append((self.disk, made.disk_size, made.disk_sha256))
        return tuple(files)

    @property
    def is_ours(self) -> bool:
        """Whether nobody but us and root can change the image.

        A guest of any other image is not saved for later starts: a template is found by what the
        manifest says, and QEMU opens the files after they were compared with it.
        """
        if self.path.parent == cache.folder("images"):
            return True
        try:
            for path in (self.path, *(path for path, _, _ in self.files)):
                trust.check(path)
        except (ImageError, OSError):
            return False
        return True

    @property
    def size(self) -> int:
        """The bytes that the image takes."""
        return sum(size for _, size, _ in self.files)


def folder_of(name: str) -> Path:
    """Return where the cache keeps the image of that name, there or not.

    :raises ImageError: no image can have that name.
    """
    if not name or "/" in name or name.startswith("."):
        raise ImageError(f"not the name of an image: {name!r}")
    return cache.folder("images") / name


def load(image: str | Path) -> Image:
    """Open an image.

    Its files are compared with the manifest's digests once, and known again from then on: hashing
    20 MB takes some 15 ms, which each start from a template would take longer.

    :param image: a name, as `microvm image ls` shows it; or a path, which has a slash in it.
    :raises ImageError: there is none, it is damaged, or another version of microvm made it.
    """
    path = image if isinstance(image, Path) else Path(image) if "/" in image else folder_of(image)
    if not (path / MANIFEST).exists():
        raise _no_image(image, path)
    # An image elsewhere may have any owner: its user has chosen it.
    opener = cache.open_file if path.parent == cache.folder("images") else cache.open_plain
    found = Image(path.absolute(), _manifest(path / MANIFEST, opener))
    for file, size, sha256 in found.files:
        _check(file, size, sha256, opener)
    _logger.debug("%s: kernel %s, %s", path, found.manifest.kernel_version, found.manifest.base)
    return found


def _no_image(image: str | Path, path: Path) -> ImageError:
    if path.is_dir() and path.parent == cache.folder("images"):
        hint = f"`microvm image rm {path.name}` removes it, `microvm image build` makes it anew"
        return ImageError(f"{path}: damaged image: there is no {MANIFEST}", hint=hint)
    if path.is_dir():
        message = f"{image} is a folder, and no image: there is no {MANIFEST} in it"
        return ImageError(message, hint=f"`microvm image build -o {image}/NEW` makes one")
    if path.exists():
        message = f"{image} is a file, and an image is a folder"
        return ImageError(message, hint="`microvm image build --help` says what it is made from")
    return ImageError(
        f"no image {image}",
        hint="`microvm image ls` lists those in the cache, and none is pulled from elsewhere; "
        "a path to one has a slash in it",
    )


def _check(path: Path, size: int, sha256: str, opener: Callable[[Path], int]) -> None:
    why = "it is not what was built"
    try:
        file = opener(path)
        try:
            if os.fstat(file).st_size == size and verified.check(path, file, sha256):
                return
        finally:
            os.close(file)
    except OSError as error:
        why = error.strerror or str(error)
    raise ImageError(f"{path}: damaged image: {why}", hint="remove it and build it again")


def _manifest(path: Path, opener: Callable[[Path], int]) -> Manifest:
    try:
        members = record.read(path, _MANIFEST_LIMIT, opener)
        if members.get("format") != FORMAT:
            raise ImageError(f"{path}: of another version of microvm", hint="build the image again")
        manifest = record.make(Manifest, members)
        if not _NAME.fullmatch(manifest.name):
            raise ValueError(f"{manifest.name!r} cannot be its name")
        if manifest.disk_size < 0 or (manifest.disk_size > 0) != bool(manifest.disk_sha256):
            raise ValueError(f"disk_size cannot be {manifest.disk_size} with that disk_sha256")
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: damaged image: {error}", hint="build it again") from error
    return manifest


def installed() -> Iterator[Image]:
    """Yield the images of the cache, sorted by name; damaged ones are left out."""
    for path in sorted(cache.folder("images").glob("[!.]*")):
        with suppress(ImageError):
            yield load(path)


def remove(name: str, report: Reporter | None = None) -> None:
    """Remove an image from the cache; machines that run from it are not disturbed.

    :raises ImageError: there is none.
    """
    path = folder_of(name)
    if not path.is_dir():
        raise ImageError(f"no image {name}", hint="`microvm image ls` lists them")
    with (
        cache.disk_errors(),
        lock.held(path, report or NullReporter()),
        cache.scratch(path) as gone,
    ):
        path.replace(gone)  # so that nobody ever finds half an image
