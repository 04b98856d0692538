"""An image: a folder with a kernel, an initramfs, and a manifest that says what they are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from microvm import arches, cache
from microvm.arches import Bus
from microvm.cache import record, trust, verified
from microvm.errors import CacheError, ImageError
from microvm.images import tags
from microvm.images.config import Config
from microvm.log import Area
from microvm.printable import printable, quoted
from microvm.system.capacity import SHORTAGES

_logger = Area("image")

FORMAT = 4
"""The version of what the builder puts into an image; images of an older one are made anew."""
MANIFEST = "manifest.json"
KERNEL = "kernel"
INITRAMFS = "initramfs.cpio"
DISK = "root.erofs"
IMPORTED = "imported"
"""A file beside the others, in what another machine has made: no build takes it for its own."""
MANIFEST_LIMIT = 1 << 20
"""The most bytes that a manifest may have."""

# maximum size of the members of a manifest that are known only when the image is written
_DIGESTS = 1 << 10
_SIZE_END = 1 << 63
_DIGEST = re.compile(r"[0-9a-f]{4,12}")
_REFERENCE = re.compile(  # the name of an image in a registry, without the host
    r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?", re.ASCII
)
_NAME = re.compile(r"\w[\w.+~-]{0,127}", re.ASCII)  # templates are called by it, too


class ImageManifest(NamedTuple):
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
        return json.dumps(record.members(self), indent=2) + "\n"


class Image(NamedTuple):
    """An image on the disk."""

    path: Path
    manifest: ImageManifest

    @property
    def name(self) -> str:
        """The name that `--image` takes, if the image is in the cache."""
        return self.manifest.name

    @property
    def digest(self) -> str:
        """The end of the name: 12 hex digits, the beginning of the digest of all it is made of."""
        return self.manifest.name.rpartition("-")[2]

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
    def is_imported(self) -> bool:
        """Whether another machine has made it, and so its name says only what that claims."""
        return (self.path / IMPORTED).exists()

    @property
    def is_in_cache(self) -> bool:
        """Whether it is in the cache, where it is found by its name."""
        return self.path.parent == cache.folder("images")

    @property
    def is_ours(self) -> bool:
        """Whether nobody but us and root can change the image.

        A guest of any other image is not saved for later starts: a template is found by what the
        manifest says, and QEMU opens the files after they were compared with it.
        """
        if self.is_in_cache:
            return True
        try:
            for path in (self.path, *(path for path, _, _ in self.files)):
                trust.check(path)
        except (CacheError, OSError):
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
        raise ImageError(f"not the name of an image: {quoted(name)}", hint=tags.RULE)
    return cache.folder("images") / name


def find(text: str) -> str:
    """Return the name of the image that this means: its name, a tag, or how its digest begins.

    :raises ImageError: it means none, or several.
    """
    path = folder_of(text)
    if path.is_dir():
        return text
    with suppress(ImageError):
        if name := tags.image_of(tags.parse(text)):
            return name
    known = names() if _DIGEST.fullmatch(text) else []
    meant = [name for name in known if name.rpartition("-")[2].startswith(text)]
    if len(meant) > 1:
        message = f"{text} begins the digests of several images: {', '.join(meant)}"
        raise ImageError(message, hint="give more of it, or a whole name")
    if not meant:
        raise _no_image(text, path)
    return meant[0]


def load(image: str | Path) -> Image:
    """Open an image.

    Its files are compared with the manifest's digests once, and known again from then on: hashing
    20 MB takes some 15 ms, which each start from a template would take longer.

    :param image: what `find` takes; or a path, which has a slash in it.
    :raises ImageError: there is none, it is damaged, or another version of microvm made it.
    :raises OSError: this process may not have what it takes, such as one more file.
    """
    if isinstance(image, Path) or "/" in image:
        return _open(Path(image), image)
    while True:
        name = find(image)
        try:
            return _open(folder_of(name), image)
        except ImageError:
            with suppress(ImageError):
                if find(image) != name:
                    continue  # a tag was given to another meanwhile, and its image removed
            raise


def _open(path: Path, given: str | Path) -> Image:
    ours = path.parent == cache.folder("images")
    # An image elsewhere may have any owner: its user has chosen it.
    opener = cache.open_file if ours else cache.open_plain
    try:
        if not (path / MANIFEST).exists():
            raise _no_image(given, path)
        found = Image(path.absolute(), _manifest(path / MANIFEST, opener))
        if ours and found.name != path.name:
            raise ImageError(f"{path}: damaged image: its name is {found.name}")
        for file, size, sha256 in found.files:
            _check(file, size, sha256, opener)
    except ImageError as error:
        if path.exists() and not error.hint:
            how = f"`microvm image rm {path.name}` removes it" if ours else "remove it"
            error.hint = printable(f"{how}, and then it is built or imported again")
        raise
    _logger.debug("%s: kernel %s, %s", path, found.manifest.kernel_version, found.manifest.base)
    return found


def _no_image(image: str | Path, path: Path) -> ImageError:
    if path.is_dir() and path.parent == cache.folder("images"):
        return ImageError(f"{path}: damaged image: there is no {MANIFEST}")
    if path.is_dir():
        message = f"{image} is a folder, and no image: there is no {MANIFEST} in it"
        return ImageError(message, hint=f"`microvm image build -o {image}/NEW` makes one")
    if path.exists():
        message = f"{image} is a file, and an image is a folder"
        hint = "`microvm image import` takes an exported one; `microvm image build --help`, others"
        return ImageError(message, hint=hint)
    if isinstance(image, str) and image not in {path.name, str(path)} and "/" not in image:
        message = f"the tag {image} means the image {path.name}, which is gone"
        return ImageError(message, hint="build or import it again")
    return ImageError(f"no image {image}", hint=_how_to_get(image))


def _how_to_get(image: str | Path) -> str:
    """Return the hint for an image that does not exist: where to get it, or how to name it."""
    known = "`microvm image ls` lists those in the cache"
    if isinstance(image, Path) or "/" in image:
        return known
    if Path(image).is_dir():
        return f"{known}; write ./{image} for the folder of that name"
    if _REFERENCE.fullmatch(image):
        return f"{known}, `microvm image pull {image}` gets it from a registry"
    return f"{known}; {tags.RULE}"


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
        if error.errno in SHORTAGES:
            raise
        why = error.strerror or str(error)
    raise ImageError(f"{path}: damaged image: {why}")


def _manifest(path: Path, opener: Callable[[Path], int]) -> ImageManifest:
    try:
        return read_manifest(record.read(path, MANIFEST_LIMIT, opener), str(path))
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in SHORTAGES:
            raise
        raise ImageError(f"{path}: damaged image: {error}") from error


def read_manifest(members: dict[str, object], where: str) -> ImageManifest:
    """Return the manifest that has these members.

    :param where: what they are from, for messages.
    :raises ValueError: they are not those of a manifest.
    :raises ImageError: another version of microvm wrote them.
    """
    if members.get("format") != FORMAT:
        raise ImageError(f"{where}: of another version of microvm")
    manifest = record.make(ImageManifest, members)
    manifest.config.check()
    if not _NAME.fullmatch(manifest.name):
        raise ValueError(f"{manifest.name!r} cannot be its name")
    if manifest.arch not in arches.ARCHES:
        raise ValueError(f"there is no architecture {manifest.arch!r}")
    for size in (manifest.kernel_size, manifest.initramfs_size, manifest.disk_size):
        if not 0 <= size < _SIZE_END:
            raise ValueError(f"no file has {size} bytes")
    if (manifest.disk_size > 0) != bool(manifest.disk_sha256):
        raise ValueError(f"disk_size cannot be {manifest.disk_size} with that disk_sha256")
    return manifest


def check_manifest(manifest: ImageManifest) -> None:
    """Check that the manifest of a new image can be read again later.

    :raises ImageError: it is too long, or has an invalid member.
    """
    text = manifest.json()
    if len(text.encode()) > MANIFEST_LIMIT - _DIGESTS:
        raise ImageError(
            f"the variables, commands and steps of an image have {len(text):,} bytes, more than "
            f"{MANIFEST_LIMIT - _DIGESTS:,}",
            hint="put long texts into the image as files, by --add",
        )
    try:
        read_manifest(json.loads(text), manifest.name)
    except ValueError as error:
        raise ImageError(f"an image cannot have this manifest: {error}") from error


def manifests() -> Iterator[Image]:
    """Yield the images of the cache, sorted by name, whose manifests can be read.

    Their files may be damaged.
    """
    for path in _folders():
        with suppress(ImageError):
            yield Image(path, _manifest(path / MANIFEST, cache.open_file))


def installed() -> Iterator[Image]:
    """Yield the images of the cache, sorted by name; damaged ones are left out."""
    return (image for _, image in entries() if isinstance(image, Image))


def entries() -> Iterator[tuple[Path, Image | ImageError]]:
    """Yield all that is among the images of the cache, sorted by name: each, or what is wrong."""
    for path in _folders():
        try:
            yield path, load(path)
        except ImageError as error:
            if path.exists():  # it may have been removed meanwhile
                yield path, error


def names() -> list[str]:
    """Return the names of all that is among the images of the cache, sorted."""
    return [path.name for path in _folders()]


def _folders() -> list[Path]:
    return sorted(cache.folder("images").glob("[!.]*"))
