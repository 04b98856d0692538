"""The programs of microvm that run in the guest, compiled for an architecture."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from microvm import cache, guest_pack
from microvm.arches import ARCHES, Arch
from microvm.cache import lock
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm.sha256 import sha256
from microvm.system import compiler

NAMES = ("init", "sandboxd", "pack", "carry", "relay")
"""File names of the programs.

They are the guest's first process, the daemon, the program that packs the changes of the root file
system as a tar archive, the program that copies files into the guest and out of it, and the program
that connects the host to servers in the guest.
"""

PACK = ("/proc/1/fd/3", ["pack", "/proc/1/fd/4"])
"""Command and arguments that run the program `pack` in the guest.

The root file system contains neither the program nor the folder that it packs. So the daemon, which
is process 1, keeps both open, and the guest's root user reaches them through the daemon's file
descriptors.
"""

_WHAT = "the guest's programs"
_KEY = re.compile(r"[0-9a-f]{32}")  # matches the name of a cache folder with compiled programs
_DAEMON = "sandboxd"  # the name that messages use for all programs together


class Programs(NamedTuple):
    """The compiled programs of the guest, which are static binaries.

    :ivar files: The content of the programs, by their `NAMES`.
    :ivar sha256: The digest of all programs together, in hex.
    :ivar schema: The digest of the schema of the protocol that the daemon speaks, 16 hex digits.
    """

    files: Mapping[str, bytes]
    sha256: str
    schema: str


def sources() -> Path:
    """Return the folder with the source code of the guest's programs, in the wheel or repository.

    :raises ImageError: The sources are missing.
    """
    package = Path(__file__).resolve().parent
    return compiler.sources(package / "_guest", package.parents[1] / "guest", _WHAT)


def source_digest() -> str:
    """Return the SHA-256 of the source code of the guest's programs, in hex.

    :raises ImageError: The sources are missing.
    """
    return compiler.source_digest(sources())


def build(arch: Arch, report: Reporter) -> Programs:
    """Return the guest's programs from the guest pack or from the cache, or compile them.

    Programs from the pack are used only if they were compiled from the source code of this version.
    Programs from the cache must also have been compiled by the same compiler.

    :raises ImageError: No compiler is installed for the architecture, or it failed; or the guest
        pack is damaged.
    """
    if not (files := guest_pack.files(arch, guest_pack.PROGRAMS, source_digest(), NAMES)):
        if unused := _unused_pack(arch):
            report.notice(unused)
        path = compiled(arch, report)
        files = {name: cache.read(path / name) for name in NAMES}
    digest = sha256(b"".join(len(data).to_bytes(8) + data for data in files.values()))
    return Programs(files, digest.hexdigest(), schema())


def check(arch: Arch) -> None:
    """Check that the guest's programs are in the guest pack, or that they can be compiled.

    :raises ImageError: The compiler is not installed; or the pack is damaged, or has another
        version of the protocol.
    """
    if are_packed(arch):
        return
    try:
        compiler.check(arch, _DAEMON)
    except ImageError as error:
        if unused := _unused_pack(arch):
            raise ImageError(f"{error.message}; {unused}", hint=error.hint) from error
        raise


def _unused_pack(arch: Arch) -> str:
    """Return a sentence that says why the installed guest pack is not used; "" without a pack."""
    pack = guest_pack.installed(arch)
    if pack is None:
        return ""
    return (
        f"{guest_pack.distribution(arch)} {pack.version} was built from other sources, and is not "
        f"used: `pip install '{guest_pack.wanted(arch)}'` installs the pack for these"
    )


def are_packed(arch: Arch) -> bool:
    """Return True if the guest pack has programs from the source code of this version.

    :raises ImageError: The pack has another version of the protocol, or is damaged.
    """
    guest_pack.check(arch, schema())
    return guest_pack.part(arch, guest_pack.PROGRAMS, source_digest()) is not None


def compiled(arch: Arch, report: Reporter) -> Path:
    """Compile the guest's programs unless the cache has them, and return their folder.

    :raises ImageError: No compiler is installed for the architecture, or it failed.
    """
    cc = compiler.compiler(arch, _DAEMON)
    path = _path(arch, cc)
    if not _is_built(path):
        with lock.held(path, report):
            if not _is_built(path):
                report.step(f"compiling {_DAEMON} for {arch.name}")
                with cache.staging(path) as out:
                    compiler.make(sources(), cc, out, names=NAMES, what=_DAEMON)
    return path


def _path(arch: Arch, cc: Sequence[str]) -> Path:
    from microvm.system.tools import run

    identity = run([*cc, "--version"], what="asking the C compiler for its version")
    key = f"{arch.name}\0{shlex.join(cc)}\0{identity}\0{source_digest()}"
    return cache.folder("programs") / sha256(key.encode()).hexdigest()[:32]


def superseded() -> list[Path]:
    """Return the folders of programs in the cache that this version and compiler do not use.

    :raises ImageError: The sources are missing.
    :raises CacheError: The cache cannot be trusted.
    """
    found = [path for path in cache.folder("programs").glob("*") if _KEY.fullmatch(path.name)]
    if not found:
        return []
    source_digest()  # without the sources, it is unknown which folders are used
    current = set()
    for arch in ARCHES.values():
        with suppress(
            ImageError
        ):  # without a compiler, no build uses a folder of this architecture
            current.add(_path(arch, compiler.compiler(arch, _DAEMON)))
    return sorted({*found} - current)


def _is_built(path: Path) -> bool:
    return all(cache.has(path / name) for name in NAMES)


def schema() -> str:
    """Return the digest of the schema of the protocol between the host and the guest's programs.

    The digest is read from the source code of the programs. It has 16 hex digits.

    :raises ImageError: The sources are missing or incomplete.
    """
    header = sources() / "protocol.h"
    pattern = r"#define SANDBOXD_SCHEMA_DIGEST 0x([0-9a-f]{16})ULL"
    if (found := re.search(pattern, header.read_text())) is None:
        raise ImageError(f"{header}: has no schema digest", hint="run `microvm-proto gen`")
    return found[1]
