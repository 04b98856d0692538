"""The functions that build the parts of a guest pack, such as the guest's programs."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from importlib import metadata
from textwrap import indent
from typing import NamedTuple

from guest_pack import component
from guest_pack.component import Component
from microvm import guest_pack
from microvm.arches import Arch
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm.qemu import launcher
from microvm.sha256 import sha256
from microvm.system import compiler
from microvm.system.tools import run
from microvm_image import programs, rootfs
from microvm_image.kernel import recipe, selection, small
from microvm_image.kernel.source import PINNED, fetch
from microvm_image.sources import alpine


class BuiltPart(NamedTuple):
    """A compiled part of a guest pack, such as the kernel: files by name, and their components."""

    files: Mapping[str, bytes]
    components: tuple[Component, ...]


def digests(arch: Arch) -> dict[str, str]:
    """Return the digest of the source files of each part, by the name of the part."""
    return {
        guest_pack.PROGRAMS: programs.source_digest(),
        guest_pack.LAUNCHER: compiler.source_digest(launcher.sources()),
        guest_pack.KERNEL: recipe.digest(arch),
        guest_pack.ROOTFS: arch.alpine_sha256,
    }


def parts(
    arch: Arch, report: Reporter, *, kernel: bool = True, pinned: bool = True
) -> dict[str, BuiltPart]:
    """Compile the parts of a guest pack, and return them by their names.

    :param kernel: True to include a kernel, whose compilation takes minutes.
    :param pinned: True to compile the kernel in `PINNED`, False for Debian's newest kernel.
    :raises ImageError: A part cannot be built.
    """
    found = {
        guest_pack.PROGRAMS: _guest_programs(arch, report),
        guest_pack.LAUNCHER: _launcher(arch),
        guest_pack.ROOTFS: _root(arch, report),
    }
    return found | ({guest_pack.KERNEL: _kernel(arch, report, pinned=pinned)} if kernel else {})


def _guest_programs(arch: Arch, report: Reporter) -> BuiltPart:
    folder = programs.compiled(arch, report)
    files = {name: (folder / name).read_bytes() for name in programs.NAMES}
    return BuiltPart(files, _programs(files))


def _launcher(arch: Arch) -> BuiltPart:
    files = {launcher.NAME: launcher.compiled(arch)}
    return BuiltPart(files, (*_programs(files), _libc(arch)))


def _programs(files: Mapping[str, bytes]) -> tuple[Component, ...]:
    return tuple(component.ours(name, sha256(data).hexdigest()) for name, data in files.items())


def _libc(arch: Arch) -> Component:
    """Return the component that describes musl, the C library that the launcher contains.

    :raises ImageError: The compiler has another C library, whose license differs.
    """
    command = compiler.compiler(arch, "the launcher", libc=True)
    if command == ["musl-gcc"]:
        version = run(["dpkg-query", "-W", "-f", "${Version}", "musl-dev"], what="asking for musl")
        gcc = run([*command, "-dumpfullversion"], what="asking gcc for its version").strip()
        purl = f"pkg:deb/debian/musl@{version}"
        source = f"Debian's musl {version}; the launcher was compiled by gcc {gcc}"
    elif len(command) == 1:
        message = f"{command[0]} compiles no launcher with musl, which a guest pack needs"
        raise ImageError(message, hint="apt install musl-tools")
    else:
        version = metadata.version("ziglang")
        purl = f"pkg:pypi/ziglang@{version}"
        source = f"ziglang {version}, by which the launcher was compiled"
    return Component("musl", version, "MIT", purl, source, website="https://musl.libc.org")


def _kernel(arch: Arch, report: Reporter, *, pinned: bool) -> BuiltPart:
    path = small.build(arch=arch.name, pinned=pinned, report=report)
    found = selection.find(arch, path, report)
    source = PINNED
    if pinned:
        version, origin = source.version, f"{source.package} {source.version}, {source.sha256}"
    else:
        version = fetch(report, pinned=False).version
        origin = f"linux-source {version}"
    compilers = ", ".join(each.splitlines()[0] for each in small.tools(arch))
    linux = Component(
        "linux",
        found.version,
        "GPL-2.0-only WITH Linux-syscall-note",
        f"pkg:deb/debian/linux@{version}?arch=source",
        f"Debian's {origin}; compiled by {compilers}",
        website="https://www.kernel.org",
        sha256=found.sha256,
        patches=tuple(
            f"--- a/{name}\n+++ b/{name}\n{indent(before, '-')}\n{indent(after, '+')}\n"
            for name, before, after in recipe.EDITS
        ),
    )
    return BuiltPart({guest_pack.KERNEL: found.data}, (linux,))


def _root(arch: Arch, report: Reporter) -> BuiltPart:
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
        return BuiltPart({alpine.archive_name(arch): data}, tuple(packages))
