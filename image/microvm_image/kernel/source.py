"""The source code of the small kernel: Debian's newest, or a pinned version."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from microvm import arches
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm_image import package

_WANTED = package.WantedPackage(
    "linux-source", r"usr/src/linux-source-.*\.tar\.xz", stands_for="linux-source-"
)


@dataclass(frozen=True, slots=True)
class Pinned:
    """A fixed version of Debian's package with the kernel's source code.

    :ivar sha256: The SHA-256 of the package, as in Debian's lists.
    :ivar archive_sha256: The SHA-256 of the archive in the package.
    """

    package: str
    version: str
    sha256: str
    archive_sha256: str


PINNED = Pinned(
    package="linux-source-6.12",
    version="6.12.118-1",
    sha256="b75bb2e78a5c7762254e2af7685085c788a67eb342cb4092ad2a05eaf9fc33b7",
    archive_sha256="17cab14f737ae8cd261506833b1a88925777f59ee977e38a8c916909108ef131",
)
"""The version of the kernel's source code from which the kernels in guest packs are compiled."""


def fetch(report: Reporter, *, pinned: bool) -> package.Extracted:
    """Download the archive of the kernel's source code, unless the cache has it.

    :param pinned: True for the version in `PINNED`, False for Debian's newest version.
    :raises ImageError: The archive is not available, or is not the pinned archive.
    """
    if not pinned:
        return package.fetch(_WANTED, arches.find(), report)
    found = package.fetch(replace(_WANTED, version=PINNED.version), arches.find(), report)
    with found.path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != PINNED.archive_sha256:
        raise ImageError(
            f"{found.path}: its SHA-256 is {actual}, not {PINNED.archive_sha256}",
            hint="remove it, so that it is downloaded again",
        )
    return found
