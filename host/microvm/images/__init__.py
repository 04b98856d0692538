"""Images: folders with a kernel, an initramfs and a manifest, which machines start from."""

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
from microvm.images.config import ImageConfig
from microvm.log import Area
from microvm.printable import printable, quoted
from microvm.system.capacity import SHORTAGES

__all__ = ["Image", "ImageManifest", "load"]

_logger = Area("image")

FORMAT = 6
"""Version of the form and content of images. Images with an older version are built again."""
MANIFEST = "manifest.json"
KERNEL = "kernel"
INITRAMFS = "initramfs.cpio"
DISK = "root.erofs"
IMPORTED = "imported"
"""Name of an empty file in each imported image. A build never returns an image with this file."""
MANIFEST_LIMIT = 1 << 20
"""Maximum size of an image's manifest, in bytes."""

# Number of bytes that `check_manifest` reserves for those members of a manifest that are set after
# the check, such as the digests of the image's files.
_DIGESTS = 1 << 10
_SIZE_END = 1 << 63
_DIGEST = re.compile(r"[0-9a-f]{4,12}")
_REFERENCE = re.compile(  # the name of an image in a registry, without the registry's address
    r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?", re.ASCII
)
# The name of an image. Its length is limited, because it becomes a part of the names of the image's
# templates (saved guests).
_NAME = re.compile(r"\w[\w.+~-]{0,127}", re.ASCII)


class ImageManifest(NamedTuple):
    """The manifest of an image: how it was built, and the sizes and digests of its files.

    Digests are SHA-256 in hex, sizes are in bytes.

    :ivar format: The value of `FORMAT` in the version of microvm that built the image.
    :ivar arch: The architecture, `x86_64` or `aarch64`.
    :ivar base: The name of the source, such as `alpine-3.20.3`.
    :ivar bus: The bus of the virtio devices that the kernel supports: `pci` or `mmio`.
    :ivar kernel_version: The version of the kernel, as `uname -r` prints it.
    :ivar source: The source with its version at the time of the build, such as
        `alpine-3.20.3@sha256:…`.
    :ivar source_sha256: The digest of everything that the root file system was built from.
    :ivar schema: The digest of the schema of the protocol that the daemon speaks, 16 hex digits.
    :ivar disk_size: The size of the disk with the root file system; 0 if the initramfs contains the
        root file system.
    :ivar disk_sha256: The digest of the disk; empty without a disk.
    :ivar config: The default options of a command in the image.
    :ivar warm: The commands that run before a guest is saved as a template.
    :ivar history: The steps of the build, one line each, as a user wrote them.
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
    config: ImageConfig
    warm: tuple[tuple[str, ...], ...]
    history: tuple[str, ...]

    def json(self) -> str:
        """Return the manifest as the text of the file `manifest.json`."""
        return json.dumps(record.members(self), indent=2) + "\n"


class Image(NamedTuple):
    """An image on the host's disk: its folder, and the manifest from this folder."""

    path: Path
    manifest: ImageManifest

    @property
    def name(self) -> str:
        """Name of the image, by which `--image` finds it in the cache."""
        return self.manifest.name

    @property
    def digest(self) -> str:
        """The last part of the image's name: 12 hex digits of a digest of the image's content."""
        return self.manifest.name.rpartition("-")[2]

    @property
    def kernel(self) -> Path:
        """Path of the kernel, for QEMU's option -kernel."""
        return self.path / KERNEL

    @property
    def initramfs(self) -> Path:
        """Path of the initramfs, for QEMU's option -initrd."""
        return self.path / INITRAMFS

    @property
    def disk(self) -> Path | None:
        """Path of the disk with the root file system; None if the image has no disk."""
        return self.path / DISK if self.manifest.disk_size else None

    @property
    def files(self) -> tuple[tuple[Path, int, str], ...]:
        """The path, the size and the digest of each file of the image."""
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
        """True if the image was imported from a file, so its content may not match its name."""
        return (self.path / IMPORTED).exists()

    @property
    def is_in_cache(self) -> bool:
        """True if the image is in the cache, so that it can be found by its name."""
        return self.path.parent == cache.folder("images")

    @property
    def is_ours(self) -> bool:
        """True if only the current user and root can change the files of the image.

        If other users can change them, no template is made from the image. A template is found by
        the content of the manifest, but another user could change the files after they were
        compared with the manifest.
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
        """Size of all files of the image, in bytes."""
        return sum(size for _, size, _ in self.files)


def folder_of(name: str) -> Path:
    """Return the path of an image in the cache, whether it exists or not."""
    if not name or "/" in name or name.startswith("."):
        raise ImageError(f"not the name of an image: {quoted(name)}", hint=tags.RULE)
    return cache.folder("images") / name


def find(text: str, arch: str | None = None) -> str:
    """Find an image in the cache by its name, tag or digest, and return its name.

    The first four digits of the digest suffice, if no other image's digest begins with them.

    :param arch: The architecture that is preferred if several images have the tag; by default the
        architecture of this host.
    """
    path = folder_of(text)
    if path.is_dir():
        return text
    with suppress(ImageError):
        if (tag := tags.meant(text, arch)) and (name := tags.image_of(tag)):
            return name
    known = names() if _DIGEST.fullmatch(text) else []
    meant = [name for name in known if name.rpartition("-")[2].startswith(text)]
    if len(meant) > 1:
        message = f"{text} begins the digests of several images: {', '.join(meant)}"
        raise ImageError(message, hint="give more of it, or a whole name")
    if not meant:
        raise _no_image(text, path)
    return meant[0]


def load(image: Image | str | Path, arch: str | None = None) -> Image:
    """Open an image by its name or path, after checking that its files are complete and unchanged.

    The files are compared with the digests in the manifest only once, because computing digests
    takes some 15 ms for 20 MB. Then `cache.verified` records the sizes and times of the files, and
    later calls compare only these.

    :param image: A text for `find`, a path, which contains a slash, or an open image.
    :param arch: The architecture that the image must have; None for any.
    :raises ImageError: The image does not exist or is damaged, another version of microvm built it,
        or it has another architecture.
    :raises OSError: This process lacks a resource, such as a free descriptor.
    """
    found = _load(image, arch)
    if arch not in {None, found.manifest.arch}:
        raise ImageError(
            f"image {printable(found.name)} is for {found.manifest.arch}, not for {arch}",
            hint=f"leave out the option arch and the variable MICROVM_ARCH, or build an image for "
            f"{arch} by `microvm image build --arch {arch}`",
        )
    return found


def _load(image: Image | str | Path, arch: str | None) -> Image:
    if isinstance(image, Image):
        return image
    if isinstance(image, Path) or "/" in image:
        return _open(Path(image), image)
    while True:
        name = find(image, arch)
        try:
            return _open(folder_of(name), image)
        except ImageError:
            with suppress(ImageError):
                if find(image, arch) != name:
                    # The image was removed after `find` had returned its name. If another process
                    # has moved the tag to a new image, open that one.
                    continue
            raise


def _open(path: Path, given: str | Path) -> Image:
    ours = path.parent == cache.folder("images")
    # In the cache, refuse files that other users can change. Accept them in an image outside the
    # cache, because the caller has chosen its path.
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
        return ImageError(f"{path}: damaged image: {MANIFEST} is missing")
    if path.is_dir():
        message = f"the folder {image} is no image: it contains no {MANIFEST}"
        return ImageError(message, hint=f"`microvm image build -o {image}/NEW` builds one")
    if path.exists():
        message = f"{image} is a file, but an image is a folder"
        hint = "use `microvm image import` for an exported image, else `microvm image build`"
        return ImageError(message, hint=hint)
    if isinstance(image, str) and image not in {path.name, str(path)} and "/" not in image:
        message = f"the tag {image} means the image {path.name}, which no longer exists"
        return ImageError(message, hint="build or import it again")
    return ImageError(f"no image {image}", hint=_how_to_get(image))


def _how_to_get(image: str | Path) -> str:
    """Return the hint for a missing image: how to list all images, or how to get this one."""
    known = "`microvm image ls` lists the images in the cache"
    if isinstance(image, Path) or "/" in image:
        return known
    if Path(image).is_dir():
        return f"{known}; write ./{image} for the folder of that name"
    if _REFERENCE.fullmatch(image):
        return f"{known}, and `microvm image pull {image}` downloads one from a registry"
    return f"{known}; {tags.RULE}"


def _check(path: Path, size: int, sha256: str, opener: Callable[[Path], int]) -> None:
    why = "its content has changed"
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
    """Check the `members` of a JSON object, and return the manifest; `where` is for messages.

    :param where: The origin of the manifest, for messages.
    :raises ImageError: Another version of microvm wrote the manifest.
    """
    if members.get("format") != FORMAT:
        raise ImageError(f"{where}: another version of microvm wrote it")
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
    """Check that a new image's manifest is not too long, and that all its members are valid."""
    text = manifest.json()
    if len(text.encode()) > MANIFEST_LIMIT - _DIGESTS:
        raise ImageError(
            f"the manifest of the image would have {len(text):,} bytes, of at most "
            f"{MANIFEST_LIMIT - _DIGESTS:,}: its variables, commands and steps are too long",
            hint="add long texts to the image as files, by --add",
        )
    try:
        read_manifest(json.loads(text), manifest.name)
    except ValueError as error:
        raise ImageError(f"an image cannot have this manifest: {error}") from error


def manifests() -> Iterator[Image]:
    """Yield the images in the cache whose manifests can be read, sorted by name.

    The other files of these images are not checked, and may be damaged.
    """
    for path in _folders():
        with suppress(ImageError):
            yield Image(path, _manifest(path / MANIFEST, cache.open_file))


def entries() -> Iterator[tuple[Path, Image | ImageError]]:
    """Yield the path of each image in the cache, and its `Image`, or the error if it is damaged."""
    for path in _folders():
        try:
            yield path, load(path)
        except ImageError as error:
            if path.exists():  # no error: another process may have removed the image meanwhile
                yield path, error


def names() -> list[str]:
    """Return the names of all images in the cache, damaged ones too, sorted."""
    return [path.name for path in _folders()]


def _folders() -> list[Path]:
    return sorted(cache.folder("images").glob("[!.]*"))
