"""References to images and snapshots, by which another host finds its own copies of them."""

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
    """A reference to an image or a snapshot, by which each host finds or imports a copy of it."""

    @property
    def key(self) -> str:
        """A digest of the content of the image or snapshot, in hexadecimal."""

    @property
    def size(self) -> int:
        """The maximum size of the exported image or snapshot in bytes, uncompressed."""

    def find(self) -> T_co | None:
        """Return this host's copy of the image or snapshot; None if it has none."""

    def write(self, out: BinaryIO) -> None:
        """Export this host's copy of the image or snapshot, so that another host can `read` it."""

    def read(self, file: BinaryIO) -> None:
        """Import an exported image or snapshot as this host's copy."""


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A reference to an image: its manifest, which contains the digests of the image's files.

    :ivar folder: Path of the image if it is not in the cache, otherwise "".
    """

    manifest: images.ImageManifest
    folder: str

    @classmethod
    def to(cls, image: Image) -> ImageReference:
        """Return a reference to an image, which is sent to Dask workers instead of the image."""
        return cls(image.manifest, "" if image.is_in_cache else str(image.path))

    def __str__(self) -> str:
        return f"image {self.manifest.name}"

    @property
    def key(self) -> str:
        return _key(self.manifest.json())

    @property
    def size(self) -> int:
        made = self.manifest
        files = made.kernel_size + made.initramfs_size + made.disk_size
        return files + image_export.HEAD_LIMIT

    @property
    def parts(self) -> tuple[Reference[Any], ...]:
        """References that a host needs to start machines from the image: only this one."""
        return (self,)

    def find(self) -> Image | None:
        """Return this host's copy of the image, whatever the copy's name; None if there is no copy.

        The digests of the copy's files are checked.
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
        if (image := self.find()) is None:
            raise ImageError(f"{self} is gone")
        image_export.write(image, out, named=())

    def read(self, file: BinaryIO) -> None:
        image_export.read(file, str(self), limit=self.size, expected=self.manifest)

    def _is(self, image: Image) -> bool:
        return image.manifest._replace(name=self.manifest.name) == self.manifest


@dataclass(frozen=True, slots=True)
class SnapshotReference:
    """A reference to a snapshot: its manifest, which contains the digests of its files.

    :ivar image: Reference to the image of the saved machine.
    """

    manifest: SavedManifest
    image: ImageReference

    @classmethod
    def to(cls, snapshot: Snapshot) -> SnapshotReference:
        """Return a reference to a snapshot.

        :raises UsageError: If the snapshot has no name, so only this process can use it.
        :raises SnapshotError, ImageError: If the snapshot or its image does not exist.
        """
        if snapshot.name is None:
            hint = "give it one: `vm.checkpoint(NAME)`"
            raise UsageError("other hosts cannot use a snapshot without a name", hint=hint)
        manifest = STORE.manifest(snapshot.name)
        if manifest is None:
            raise STORE.missing(snapshot.name)
        made = manifest.origin
        return cls(manifest, ImageReference.to(images.load(made.folder or made.image)))

    def __str__(self) -> str:
        return f"snapshot {self.manifest.name}"

    @property
    def key(self) -> str:
        made = self.manifest
        return _key(made.state_sha256, made.ram_sha256, made.scratch_sha256)

    @property
    def size(self) -> int:
        made = self.manifest.origin
        return saved.STATE_LIMIT + (made.memory << 20) + made.scratch

    @property
    def parts(self) -> tuple[Reference[Any], ...]:
        """References to the snapshot and its image, both of which a host needs to start forks."""
        return (self.image, self)

    def find(self) -> Snapshot | None:
        """Return this host's original or imported copy of the snapshot; None if it has neither."""
        for manifest in (self.manifest, self._copy):
            with suppress(SnapshotError):
                if STORE.manifest(manifest.name) == manifest:
                    return Snapshot.find(manifest.name)
        return None

    def obstacle(self) -> str:
        """Return the reason why the snapshot cannot be used on this host, or ""."""
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
        snapshot_export.write(self.manifest, out)

    def read(self, file: BinaryIO) -> None:
        """Import an exported snapshot, under a name that no other snapshot has."""
        snapshot_export.read(file, self._copy)

    @property
    def _copy(self) -> SavedManifest:
        """The manifest that another host stores for its imported copy of the snapshot.

        The manifest's name contains a digest, because the host may have another snapshot of the
        same name. The image of this copy is in the cache.
        """
        made = self.manifest
        name = f"{made.name[:180]}~{self.key[:12]}"
        return made._replace(name=name, origin=made.origin._replace(folder=""))


def _key(*digests: str) -> str:
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()
