"""The Alpine minirootfs: one pinned release archive for each architecture."""

from __future__ import annotations

import hashlib
import io
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from microvm.arch import Arch
from microvm.errors import ImageError
from microvm_image.cpio import Entry, encoded

if TYPE_CHECKING:
    import tarfile

VERSION = "3.20.3"
MIRROR = "https://dl-cdn.alpinelinux.org/alpine"


def archive_name(arch: Arch) -> str:
    """Return the archive's name, on a mirror and in a folder."""
    return f"alpine-minirootfs-{VERSION}-{arch.name}.tar.gz"


def url(arch: Arch, mirror: str) -> str:
    """Return where a mirror keeps the archive."""
    branch = VERSION.rpartition(".")[0]
    return f"{mirror.rstrip('/')}/v{branch}/releases/{arch.name}/{archive_name(arch)}"


@dataclass(frozen=True, slots=True)
class Alpine:
    """The pinned archive, whole and checked."""

    sha256: str
    data: bytes
    name: str = f"alpine-{VERSION}"

    @classmethod
    def check(cls, data: bytes, arch: Arch, origin: str | Path) -> Alpine:
        """Return the archive if it is the pinned one.

        :raises ImageError: it is cut short, damaged, or something else.
        """
        actual = hashlib.sha256(data).hexdigest()
        if actual != arch.alpine_sha256:
            raise ImageError(
                f"{origin}: wrong checksum: its SHA-256 is {actual}, not {arch.alpine_sha256}",
                hint=f"it is cut short or is not {archive_name(arch)}; get that one again",
            )
        return cls(actual, data)

    def entries(self) -> Iterator[Entry]:
        """Yield the archive's members; hard links as copies, devices left out.

        :raises ImageError: the archive is damaged, or a name in it leads out of it.
        """
        import gzip  # these are slow to import
        import tarfile
        import zlib

        try:
            # Decompressed as a whole: tarfile takes a cut stream for a short archive.
            tar = io.BytesIO(gzip.decompress(self.data))
            with tarfile.open(
                fileobj=tar, mode="r:", encoding="utf-8", errors="surrogateescape"
            ) as archive:
                for member in archive:
                    if (entry := _entry(archive, member)) is not None:
                        yield entry
        except (tarfile.TarError, zlib.error, EOFError, OSError, KeyError) as error:
            raise ImageError(f"{self.name}: damaged archive: {error}") from error


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry | None:
    name = _name(member.name)
    if not name:
        return None  # the root itself
    data = b""
    if member.isdir():
        kind = stat.S_IFDIR
    elif member.issym():
        kind, data = stat.S_IFLNK, encoded(member.linkname)
    elif member.isreg() or member.islnk():
        kind = stat.S_IFREG
        content = archive.extractfile(member)  # follows a hard link to what it links
        data = content.read() if content else b""
    else:
        return None  # a device: the guest has its own
    return Entry(name, kind | member.mode & 0o7777, data, member.uid, member.gid)


def _name(name: str) -> str:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts:
        raise ImageError(f"a name in the archive leads out of it: {name!r}")
    return "/".join(parts)
