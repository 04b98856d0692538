"""References to images and snapshots, by which another host finds its own copy of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from microvm.errors import ImageError, SnapshotError, UsageError
from microvm.snapshot import Snapshot
from microvm.start.origin import Origin
from microvm.start.saved import Manifest
from microvm.start.snapshots import STORE
from microvm_image import image as images
from microvm_image.image import Image


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A reference to an image.

    :ivar name: its name.
    :ivar folder: where it is, if it is in no cache; every host has to have it there.
    :ivar digests: the SHA-256 of its files, in hex.
    """

    name: str
    folder: str
    digests: tuple[str, ...]

    @classmethod
    def to(cls, image: Image) -> ImageReference:
        """Refer to an image."""
        folder = "" if image.is_in_cache else str(image.path)
        return cls(image.name, folder, _digests(image))

    @classmethod
    def to_image_of(cls, origin: Origin) -> ImageReference:
        """Refer to the image that a saved guest has booted."""
        digests = (origin.kernel_sha256, origin.initramfs_sha256, origin.disk_sha256)
        return cls(origin.image, origin.folder, tuple(filter(None, digests)))

    def find(self) -> Image:
        """Return this host's copy, whatever its name is; what is in it has been compared.

        :raises ImageError: there is none, or it is damaged.
        """
        if self.folder:
            image = images.load(Path(self.folder))
            if _digests(image) == self.digests:
                return image
            hint = "the batch needs the image that is there where it was begun"
            raise ImageError(f"{self.folder}: another image than {self.name}", hint=hint)
        for image in images.manifests():
            if _digests(image) == self.digests:
                return images.load(image.path)
        raise ImageError(
            f"there is no image {self.name}",
            hint=f"`microvm image export {self.name} -o FILE` where there is one, and `microvm "
            "image import FILE` here; or one MICROVM_CACHE, in a shared folder, for all hosts",
        )


@dataclass(frozen=True, slots=True)
class SnapshotReference:
    """A reference to a snapshot: its manifest, which has the digests of all that is in it."""

    manifest: Manifest

    @classmethod
    def to(cls, snapshot: Snapshot) -> SnapshotReference:
        """Refer to a snapshot.

        :raises UsageError: it has no name, so that only this process can have it.
        :raises SnapshotError: it is gone.
        """
        if snapshot.name is None:
            hint = "give it one: `vm.checkpoint(NAME)`"
            raise UsageError("other hosts cannot have a snapshot without a name", hint=hint)
        return cls(_manifest(snapshot.name))

    def find(self) -> Snapshot:
        """Return this host's copy.

        :raises SnapshotError: there is none, or another one has its name.
        """
        name = self.manifest.name
        if name not in STORE.names():
            hint = "copy its folder of the cache; or one MICROVM_CACHE, in a shared folder, for all"
            raise SnapshotError(f"there is no snapshot {name}", hint=hint)
        if _manifest(name) != self.manifest:
            hint = "the batch needs the one that is there where it was begun"
            raise SnapshotError(f"another snapshot has the name {name}", hint=hint)
        return Snapshot.find(name)


Reference = ImageReference | SnapshotReference


def _digests(image: Image) -> tuple[str, ...]:
    return tuple(digest for _, _, digest in image.files)


def _manifest(name: str) -> Manifest:
    manifest = STORE.manifest(name)
    if manifest is None:
        raise STORE.missing(name)
    return manifest
