"""The parts of a pack: made here, each with the digest of what it was made of."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from importlib import metadata
from textwrap import indent
from typing import NamedTuple

from guest_pack import component
from guest_pack.component import Component
from microvm import compiler, guest_pack
from microvm.arch import Arch
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm.qemu import launcher
from microvm.tools import run
from microvm_image import kernel, kernel_recipe, kernel_source, programs, rootfs, small
from microvm_image.sources import alpine


class Part(NamedTuple):
    """A part.

    :ivar digest: the digest of what it was made of.
    :ivar files: what is in its folder.
    :ivar components: what it consists of.
    """

    digest: str
    files: Mapping[str, bytes]
    components: tuple[Component, ...]


def parts(arch: Arch, report: Reporter) -> dict[str, Part]:
    """Return all parts of a pack, by their names.

    :raises ImageError: one cannot be made.
    """
    return {
        guest_pack.PROGRAMS: guest_programs(arch, report),
        guest_pack.LAUNCHER: confining(arch),
        guest_pack.KERNEL: small_kernel(arch, report),
        guest_pack.ROOTFS: root(arch, report),
    }


def guest_programs(arch: Arch, report: Reporter) -> Part:
    """Compile the guest's programs."""
    folder = programs.compiled(arch, report)
    files = {name: (folder / name).read_bytes() for name in programs.NAMES}
    return Part(programs.source_digest(), files, (*_programs(files), _libc(arch)))


def confining(arch: Arch) -> Part:
    """Compile what confines QEMU on a host of this architecture."""
    files = {launcher.NAME: launcher.compiled(arch)}
    return Part(compiler.source_digest(launcher.sources()), files, _programs(files))


def _programs(files: Mapping[str, bytes]) -> tuple[Component, ...]:
    return tuple(component.ours(name, _sha256(data)) for name, data in files.items())


def _libc(arch: Arch) -> Component:
    """Return musl, as the compiler has it."""
    command = compiler.compiler(arch, "sandboxd")
    if len(command) == 1:
        version = run(["dpkg-query", "-W", "-f", "${Version}", "musl-dev"], what="asking for musl")
        gcc = run([*command, "-dumpfullversion"], what="asking gcc for its version").strip()
        purl, source = f"pkg:deb/debian/musl@{version}", f"Debian's musl {version}, gcc {gcc}"
    else:
        version = metadata.version("ziglang")
        purl, source = f"pkg:pypi/ziglang@{version}", f"ziglang {version}, lib/libc/musl"
    return Component("musl", version, "MIT", purl, source, website="https://musl.libc.org")


def small_kernel(arch: Arch, report: Reporter) -> Part:
    """Compile the small kernel."""
    path = small.build(arch=arch.name, pinned=True, report=report)
    found = kernel.find(arch, path, report)
    source = kernel_source.PINNED
    linux = Component(
        "linux",
        found.version,
        "GPL-2.0-only WITH Linux-syscall-note",
        f"pkg:deb/debian/linux@{source.version}?arch=source",
        f"Debian's {source.package} {source.version}, SHA-256 {source.sha256}",
        website="https://www.kernel.org",
        sha256=found.sha256,
        patches=tuple(
            f"--- a/{name}\n+++ b/{name}\n{indent(before, '-')}\n{indent(after, '+')}\n"
            for name, before, after in kernel_recipe.EDITS
        ),
    )
    return Part(kernel_recipe.digest(arch), {guest_pack.KERNEL: found.data}, (linux,))


def root(arch: Arch, report: Reporter) -> Part:
    """Take Alpine's archive from where an image would have it from."""
    rootfs.find(arch, None, None, report)
    path = rootfs.given(arch) or rootfs.cached(arch)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: Alpine's archive is not there: {error.strerror}") from error
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = archive.extractfile("./lib/apk/db/installed")
        if member is None:
            raise ImageError(f"{path}: names no packages")
        packages = component.alpine(member.read().decode(), alpine.VERSION)
        name = alpine.archive_name(arch)
        return Part(_sha256(data), {name: data}, tuple(packages))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
