"""Gives an image other programs of microvm, without building its root file system again."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from microvm import arches, cache, guest_pack
from microvm.cache import lock
from microvm.errors import ImageError
from microvm.images import FORMAT, Image, folder_of, load, tags
from microvm.progress import Reporter
from microvm_image import downloads, image_folder, programs
from microvm_image.kernel import selection


def repack(image: Image, tag: str, report: Reporter) -> Image:
    """Return an image with the disk of `image`, and with the programs of this version of microvm.

    If `image` has these programs already, it is returned. A new image gets the tag, and the kernel
    that a build would choose. It shares the disk, so this takes no space. It takes about a second,
    or longer if Debian's kernel has to be downloaded.

    :param image: An image with a disk, from the cache.
    :raises ImageError: The programs cannot be compiled, or the kernel cannot be downloaded.
    """
    old, arch = image.manifest, arches.find(image.manifest.arch)
    guest_pack.check(arch, programs.schema())
    with cache.disk_errors(), downloads.in_use(report):
        built = programs.build(arch, report)
        if (built.sha256, built.schema) == (old.daemon_sha256, old.schema):
            return image
        kernel = selection.find(arch, None, report)
        content = (
            *(FORMAT, old.disk_sha256, old.config, old.warm, old.history, old.source),
            *(built.sha256, built.schema, kernel.sha256, kernel.bus, kernel.modules),
        )
        digest = hashlib.sha256(repr(content).encode()).hexdigest()
        manifest = old._replace(
            name=f"{old.name.rpartition('-')[0]}-{digest[:12]}",
            bus=kernel.bus,
            kernel_version=kernel.version,
            kernel_size=len(kernel.data),
            kernel_sha256=kernel.sha256,
            daemon_sha256=built.sha256,
            schema=built.schema,
        )
        path = folder_of(manifest.name)

        def link_disk(out: Path) -> None:
            assert image.disk is not None  # noqa: S101 - the caller has checked this
            try:
                out.hardlink_to(image.disk)
            except OSError:  # such as a file system without hard links
                shutil.copyfile(image.disk, out)

        with lock.held(path, report):
            try:
                renewed = load(path)
            except ImageError:
                renewed = image_folder.write(path, manifest, kernel, built, write_disk=link_disk)
            tags.assign(tag, renewed.name, report)
    downloads.expire()
    return renewed
