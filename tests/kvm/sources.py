"""The files of the checkout, and the part of the cache that the emulated machine needs."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from microvm import arches, cache
from microvm.images import Image
from microvm.qemu import launcher
from microvm_image import default, rootfs
from microvm_image.kernel import selection

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build/kvm"

SOURCE, CACHE = "src", "tmp/cache"
"""The folders of the emulated machine for the checkout and for the cache of microvm."""

_UNUSED = (".github/", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md", "mkdocs.yml")
"""Files whose changes do not invalidate results, because no test in the machine reads them."""


def files() -> list[str]:
    """Return the paths of the checkout's files, except those that git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    return sorted(name for name in listed.decode().split("\0") if (ROOT / name).is_file())


def digest() -> str:
    """Return a digest of all files of the checkout on which a result depends."""
    found = hashlib.sha256()
    for name in files():
        if not name.startswith(_UNUSED):
            content = hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
            found.update(f"{name}\0{content}\n".encode())
    return found.hexdigest()[:16]


def write_archive(out: BinaryIO) -> Image:
    """Write a tar archive of the checkout and of the cache's files. Return the default image."""
    image = default()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in files():
            archive.add(ROOT / name, f"{SOURCE}/{name}", recursive=False)
        for path in _cached(image):
            archive.add(path, f"{CACHE}/{path.parent.name}/{path.name}")
        alpine = rootfs.given(arches.find()) or rootfs.cached(arches.find())
        archive.add(alpine, f"{CACHE}/downloads/{rootfs.cached(arches.find()).name}")
    return image


def _cached(image: Image) -> Iterator[Path]:
    """Yield the files of the cache that the tests would otherwise download or compile."""
    yield image.path
    yield launcher.find()
    yield from cache.folder("programs").glob("[0-9a-f]*")
    if kernel := selection.given(arches.find()):
        yield kernel
