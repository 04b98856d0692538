"""References to images and snapshots, by which another host finds its own copy of one."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from microvm.errors import ImageError, QemuError, SnapshotError, UsageError
from microvm.snapshot import Snapshot
from microvm.start import export as snapshot_export
from microvm.start.origin import Origin
from microvm.start.restorer import image_of
from microvm.start.saved import Manifest
from microvm.start.snapshots import STORE
from microvm_image import export as image_export
from microvm_image import image as images
from microvm_image.image import Image

_NO_LIMIT = 1 << 63  # but for the room on the disk: an image comes from the user's own client


T_co = TypeVar("T_co", covariant=True)


class Reference(Protocol[T_co]):
    """What all references have."""

    @property
    def key(self) -> str:
        """A digest of what is in it, in hex."""

    def find(self) -> T_co | None:
        """Return this host's copy; None where there is none."""

    def write(self, out: BinaryIO) -> None:
        """Export this host's copy, for another host to `read`."""

    def read(self, file: BinaryIO) -> None:
        """Make of an export this host's copy."""


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A reference to an image.

    :ivar name: its name.
    :ivar folder: where it is, if it is in no cache.
    :ivar digests: the SHA-256 of its files, in hex.
    """

    name: str
    folder: str
    digests: tuple[str, ...]

    @classmethod
    def to(cls, image: Image) -> ImageReference:
        """Refer to an image."""
        folder = "" if image.is_in_cache else str(image.path)
        return cls(image.name, folder, image.manifest.digests)

    @classmethod
    def to_image_of(cls, origin: Origin) -> ImageReference:
        """Refer to the image that a saved guest has booted."""
        digests = (origin.kernel_sha256, origin.initramfs_sha256, origin.disk_sha256)
        return cls(origin.image, origin.folder, tuple(filter(None, digests)))

    def __str__(self) -> str:
        return f"image {self.name}"

    @property
    def key(self) -> str:
        """A digest of what is in it, in hex."""
        return _key(*self.digests)

    @property
    def parts(self) -> tuple[Reference[Any], ...]:
        """All that a host has to have."""
        return (self,)

    def find(self) -> Image | None:
        """Return this host's copy, whatever its name is; what is in it has been compared.

        :raises ImageError: it is damaged.
        """
        if self.folder:
            with suppress(ImageError):
                if (image := images.load(Path(self.folder))).manifest.digests == self.digests:
                    return image
        for image in images.manifests():
            if image.manifest.digests == self.digests:
                return images.load(image.path)
        return None

    def write(self, out: BinaryIO) -> None:
        """Export this host's copy, for another host to `read`.

        :raises ImageError: it is gone or damaged.
        :raises OSError: it cannot be written.
        """
        if (image := self.find()) is None:
            raise ImageError(f"{self} is gone")
        image_export.write(image, out, named=())

    def read(self, file: BinaryIO) -> None:
        """Make of an export this host's copy.

        :raises ImageError: it is damaged or another one, or the disk is full.
        """
        image_export.read(file, str(self), limit=_NO_LIMIT, digests=self.digests)


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
        manifest = STORE.manifest(snapshot.name)
        if manifest is None:
            raise STORE.missing(snapshot.name)
        return cls(manifest)

    def __str__(self) -> str:
        return f"snapshot {self.manifest.name}"

    @property
    def image(self) -> ImageReference:
        """The image that it is of."""
        return ImageReference.to_image_of(self.manifest.origin)

    @property
    def key(self) -> str:
        """A digest of what is in it, in hex."""
        made = self.manifest
        return _key(made.state_sha256, made.ram_sha256, made.scratch_sha256)

    @property
    def parts(self) -> tuple[Reference[Any], ...]:
        """All that a host has to have."""
        return (self.image, self)

    def find(self) -> Snapshot | None:
        """Return this host's copy: the one of that name, or one that has come from there."""
        for name in (self.manifest.name, self._copy.name):
            with suppress(SnapshotError):
                if STORE.manifest(name) == self.manifest._replace(name=name):
                    return Snapshot.find(name)
        return None

    def obstacle(self) -> str:
        """Return why it cannot be used on this host, which has its image; empty if it can."""
        try:
            image_of(str(self), self.manifest.origin)
        except (SnapshotError, QemuError) as error:
            return error.message
        return ""

    def write(self, out: BinaryIO) -> None:
        """Export this host's copy, for another host to `read`.

        :raises SnapshotError: it is gone, damaged, or another one meanwhile.
        :raises OSError: it cannot be written.
        """
        snapshot_export.write(self.manifest, out)

    def read(self, file: BinaryIO) -> None:
        """Make of an export this host's copy, under a name that is no other's.

        :raises SnapshotError: it is damaged or another one.
        :raises ImageError: the disk is full.
        """
        snapshot_export.read(file, self._copy)

    @property
    def _copy(self) -> Manifest:
        """The manifest of a copy on another host, where its name may be another one's."""
        return self.manifest._replace(name=f"{self.manifest.name[:180]}~{self.key[:12]}")


def _key(*digests: str) -> str:
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()
