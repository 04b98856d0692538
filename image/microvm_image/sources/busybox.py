"""The root file system where no Alpine archive can be had: a static busybox and its commands."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from microvm import arch as arches
from microvm.arch import Arch
from microvm.cache import store as cache
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm_image import package
from microvm_image.cpio import Entry

WANTED = package.Wanted("busybox-static", r"(usr/)?bin/busybox")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
}


@dataclass(frozen=True, slots=True)
class Busybox:
    """A busybox and the paths of its commands, such as `bin/ls`."""

    name: str
    sha256: str
    binary: bytes
    applets: tuple[str, ...]

    @classmethod
    def fetch(cls, arch: Arch, report: Reporter) -> Busybox:
        """Return the busybox of the distribution's package.

        :raises ImageError: it cannot be had.
        """
        found = package.fetch(WANTED, arch, report)
        binary = cache.read(found.path)
        upstream = re.sub(r"^\d+:|[-+].*", "", found.version)
        return cls(
            name=f"busybox-{upstream}",
            sha256=hashlib.sha256(binary).hexdigest(),
            binary=binary,
            applets=_applets(binary, arch, report),
        )

    def entries(self) -> Iterator[Entry]:
        """Yield the members of a small root file system."""
        yield Entry.file("bin/busybox", self.binary, 0o755)
        for applet in self.applets:
            yield Entry.link(applet, "/bin/busybox")
        for name, text in FILES.items():
            yield Entry.file(name, text.encode())


def _applets(binary: bytes, arch: Arch, report: Reporter) -> tuple[str, ...]:
    host = arches.find()
    if arch is not host:  # ask one that runs here; Debian configures both alike
        binary = cache.read(package.fetch(WANTED, host, report).path)
    fd = os.memfd_create("busybox")  # the cache's file is not executable
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(binary)
        listed = subprocess.run(
            ["busybox", "--list-full"],
            executable=f"/proc/self/fd/{fd}",
            pass_fds=(fd,),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(fd)
    if listed.returncode != 0:
        raise ImageError(f"{WANTED.package} does not list its commands: {listed.stderr.strip()}")
    return tuple(sorted(set(listed.stdout.split()) - {"bin/busybox"}))
