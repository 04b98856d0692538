"""The source that replaces a missing Alpine archive: a static busybox and links to its commands."""

from __future__ import annotations

import hashlib
import os
import re
import stat

from microvm import arches, cache
from microvm.arches import Arch
from microvm.images.config import ImageConfig
from microvm.progress import Reporter
from microvm.system import platform
from microvm.system.tools import run
from microvm_image import package
from microvm_image.layer import NodeLayer
from microvm_image.node import BytesData, FileNode
from microvm_image.source import ImageSource

WANTED = package.WantedPackage("busybox-static", r"(usr/)?bin/busybox")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
}


def source(arch: Arch, report: Reporter) -> ImageSource:
    """Return a small root file system with the busybox from Debian's package.

    :raises ImageError: The package is not available.
    """
    found = package.fetch(WANTED, arch, report)
    binary = cache.read(found.path)
    upstream = re.sub(r"^\d+:|[-+].*", "", found.version)
    name = f"busybox-{upstream}"
    digest = hashlib.sha256(binary).hexdigest()
    nodes = {"bin/busybox": FileNode(stat.S_IFREG | 0o755, data=BytesData(binary))}
    for applet in _applets(binary, arch, report):
        nodes[applet] = FileNode(stat.S_IFLNK | 0o777, target="/bin/busybox")
    for path, text in FILES.items():
        nodes[path] = FileNode(stat.S_IFREG | 0o644, data=BytesData(text.encode()))
    layer = NodeLayer(name, nodes)
    return ImageSource(name, f"{name}@sha256:{digest}", digest, ImageConfig(), (layer,))


def _applets(binary: bytes, arch: Arch, report: Reporter) -> tuple[str, ...]:
    host = arches.find()
    # The host cannot run the guest's busybox. To list the commands, run the busybox of the same
    # Debian package for the host's architecture.
    if arch is not host:
        binary = cache.read(package.fetch(WANTED, host, report).path)
    # run a copy in memory, because the file in the cache is not executable
    fd = platform.memory_file("busybox")
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(binary)
        listed = run(
            ["busybox", "--list-full"],
            what=f"listing the commands of {WANTED.package}",
            executable=platform.descriptor_path(fd),
            pass_fds=(fd,),
        )
    finally:
        os.close(fd)
    return tuple(sorted(set(listed.split()) - {"bin/busybox"}))
