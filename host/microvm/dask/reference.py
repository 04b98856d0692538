"""References to images and snapshots, by which another host finds its own copy of one."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from microvm import images
from microvm.errors import ImageError, QemuError, SnapshotError, UsageError
from microvm.images import Image
from microvm.images import export as image_export
from microvm.machine.snapshot import Snapshot
from microvm.start import export as snapshot_export
from microvm.start import saved
from microvm.start.restorer import image_of
from microvm.start.saved import SavedManifest
from microvm.start.snapshots import STORE

T_co = TypeVar("T_co", covariant=True)


class Reference(Protocol[T_co]):
    """An image or a snapshot, named so that each host finds its own copy of it."""

    @property
    def key(self) -> str:
        """A digest of what is in it, in hex."""

    @property
    def size(self) -> int:
        """The most bytes that an export of it has, unpacked."""

    def find(self) -> T_co | None:
        """Return this host's copy; None where there is none."""

    def write(self, out: BinaryIO) -> None:
        """Export this host's copy, for another host to `read`."""

    def read(self, file: BinaryIO) -> None:
        """Make of an export this host's copy."""


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A reference to an image: its manifest, which has the digests of all that is in it.

    :ivar folder: where it is, if it is in no cache.
    """

    manifest: images.ImageManifest
    folder: str

    @classmethod
    def to(cls, image: Image) -> ImageReference:
        """Refer to an image."""
        return cls(image.manifest, "" if image.is_in_cache else str(image.path))

    def __str__(self) -> str:
        return f"image {self.manifest.name}"

    @property
    def key(self) -> str:
        """A digest of what is in it, in hex."""
        return _key(self.manifest.json())

    @property
    def size(self) -> int:
        """The most bytes that an export of it has, unpacked."""
        made = self.manifest
        files = made.kernel_size + made.initramfs_size + made.disk_size
        return files + image_export.HEAD_LIMIT

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
                if self._is(image := images.load(Path(self.folder))):
                    return image
        for image in images.manifests():
            if self._is(image):
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
        image_export.read(file, str(self), limit=self.size, expected=self.manifest)

    def _is(self, image: Image) -> bool:
        return image.manifest._replace(name=self.manifest.name) == self.manifest


@dataclass(frozen=True, slots=True)
class SnapshotReference:
    """A reference to a snapshot: its manifest, which has the digests of all that is in it.

    :ivar image: the image that it is of.
    """

    manifest: SavedManifest
    image: ImageReference

    @classmethod
    def to(cls, snapshot: Snapshot) -> SnapshotReference:
        """Refer to a snapshot.

        :raises UsageError: it has no name, so that only this process can have it.
        :raises SnapshotError, ImageError: it is gone, or its image is.
        """
        if snapshot.name is None:
            hint = "give it one: `vm.checkpoint(NAME)`"
            raise UsageError("other hosts cannot have a snapshot without a name", hint=hint)
        manifest = STORE.manifest(snapshot.name)
        if manifest is None:
            raise STORE.missing(snapshot.name)
        made = manifest.origin
        return cls(manifest, ImageReference.to(images.load(made.folder or made.image)))

    def __str__(self) -> str:
        return f"snapshot {self.manifest.name}"

    @property
    def key(self) -> str:
        """A digest of what is in it, in hex."""
        made = self.manifest
        return _key(made.state_sha256, made.ram_sha256, made.scratch_sha256)

    @property
    def size(self) -> int:
        """The most bytes that an export of it has, unpacked."""
        made = self.manifest.origin
        return saved.STATE_LIMIT + (made.memory << 20) + made.scratch

    @property
    def parts(self) -> tuple[Reference[Any], ...]:
        """All that a host has to have."""
        return (self.image, self)

    def find(self) -> Snapshot | None:
        """Return this host's copy: the one of that name, or one that has come from there."""
        for manifest in (self.manifest, self._copy):
            with suppress(SnapshotError):
                if STORE.manifest(manifest.name) == manifest:
                    return Snapshot.find(manifest.name)
        return None

    def obstacle(self) -> str:
        """Return why it cannot be used on this host, which has its image; empty if it can."""
        why = ""
        for made in (self._copy.origin, self.manifest.origin):
            try:
                image_of(str(self), made)
            except (SnapshotError, QemuError) as error:
                why = error.message
            else:
                return ""
        return why

    def write(self, out: BinaryIO) -> None:
        """Export this host's copy, for another host to `read`.

        :raises SnapshotError: it is gone, damaged, or another one meanwhile.
        :raises OSError: it cannot be written.
        """
        snapshot_export.write(self.manifest, out)

    def read(self, file: BinaryIO) -> None:
        """Make of an export this host's copy, under a name that is no other's.

        :raises SnapshotError: it is damaged or another one.
        :raises CacheError: the disk is full.
        """
        snapshot_export.read(file, self._copy)

    @property
    def _copy(self) -> SavedManifest:
        """The manifest of a copy on another host.

        Its name may be another one's there, and its image is in the cache, by its name.
        """
        made = self.manifest
        name = f"{made.name[:180]}~{self.key[:12]}"
        return made._replace(name=name, origin=made.origin._replace(folder=""))


def _key(*digests: str) -> str:
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()
