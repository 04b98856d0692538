"""The source `alpine`: the Alpine minirootfs, in one pinned version for each architecture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from microvm.arches import Arch
from microvm.errors import ImageError
from microvm.images.config import ImageConfig

if TYPE_CHECKING:
    from microvm_image.source import ImageSource

VERSION = "3.20.3"
MIRROR = "https://dl-cdn.alpinelinux.org/alpine"


def archive_name(arch: Arch) -> str:
    """Return the file name of the Alpine archive, as on Alpine's mirrors."""
    return f"alpine-minirootfs-{VERSION}-{arch.name}.tar.gz"


def url(arch: Arch, mirror: str) -> str:
    """Return the address of the Alpine archive on a mirror."""
    branch = VERSION.rpartition(".")[0]
    return f"{mirror.rstrip('/')}/v{branch}/releases/{arch.name}/{archive_name(arch)}"


def source(data: bytes, arch: Arch, origin: str | Path) -> ImageSource:
    """Check the digest of an Alpine archive, and return it as a source for a new image.

    :param origin: The origin of the archive, for messages.
    :raises ImageError: The archive is incomplete, damaged, or another version.
    """
    import hashlib

    actual = hashlib.sha256(data).hexdigest()
    if actual != arch.alpine_sha256:
        raise ImageError(
            f"{origin}: wrong checksum: its SHA-256 is {actual}, not {arch.alpine_sha256}",
            hint=f"it is incomplete or is not {archive_name(arch)}: download that file again",
        )
    # These modules take time to import. Import them only here, because a start of a machine uses
    # only `archive_name` of this module.
    from microvm_image.compression import spooled
    from microvm_image.layer import TarLayer
    from microvm_image.source import ImageSource

    name = f"alpine-{VERSION}"
    layer = TarLayer(name, lambda files: spooled(iter([data]), files))
    return ImageSource(name, f"{name}@sha256:{actual}", actual, ImageConfig(), (layer,))
