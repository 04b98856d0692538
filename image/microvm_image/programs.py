"""The guest's own programs, compiled for an architecture."""

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

NAMES = ("init", "sandboxd", "pack", "carry")
"""The programs by their files: the guest's first process, the daemon that it becomes, what writes
the root's upper layer to standard output, as a tar, and what carries files in and out."""

PACK = ("/proc/1/fd/3", ["pack", "/proc/1/fd/4"])
"""The command and the arguments by which root packs a guest's layer: the daemon keeps open what it
takes, as nothing of it is in the root."""

_WHAT = "the guest's programs"
_KEY = re.compile(r"[0-9a-f]{32}")  # the name of a folder of programs in the cache
_DAEMON = "sandboxd"  # which stands for all of them


class Programs(NamedTuple):
    """The compiled programs: static binaries.

    :ivar files: them by their `NAMES`.
    :ivar sha256: the digest of them all, in hex.
    :ivar schema: the digest of the schema that the daemon speaks, 16 hex digits.
    """

    files: Mapping[str, bytes]
    sha256: str
    schema: str


def sources() -> Path:
    """Return the folder of the sources: in an installed wheel, or in the checkout.

    :raises ImageError: they are in neither.
    """
    package = Path(__file__).resolve().parent
    return compiler.sources(package / "_guest", package.parents[1] / "guest", _WHAT)


def source_digest() -> str:
    """Return the SHA-256 of the sources, in hex.

    :raises ImageError: they are missing.
    """
    return compiler.source_digest(sources())


def build(arch: Arch, report: Reporter) -> Programs:
    """Return the programs of the guest pack, or of the cache, or compile them.

    Either has them of the same sources, and the cache of the same compiler.

    :raises ImageError: there is no compiler for this architecture, or it failed; or the guest pack
        is damaged.
    """
    if not (files := guest_pack.files(arch, guest_pack.PROGRAMS, source_digest(), NAMES)):
        if unused := _unused_pack(arch):
            report.notice(unused)
        path = compiled(arch, report)
        files = {name: cache.read(path / name) for name in NAMES}
    digest = sha256(b"".join(len(data).to_bytes(8) + data for data in files.values()))
    return Programs(files, digest.hexdigest(), schema())


def check(arch: Arch) -> None:
    """Check that the guest pack has the programs, or that they can be compiled.

    :raises ImageError: the compiler is not installed; or the pack is damaged, or has another
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
    """Return a sentence about an installed guest pack that cannot be used; empty without one."""
    pack = guest_pack.installed(arch)
    if pack is None:
        return ""
    return (
        f"{guest_pack.distribution(arch)} {pack.version} was made of other sources, and is not "
        f"used: `pip install '{guest_pack.wanted(arch)}'` installs the pack for these"
    )


def are_packed(arch: Arch) -> bool:
    """Tell whether the guest pack has them, made of the same sources.

    :raises ImageError: the pack speaks another protocol, or is damaged.
    """
    guest_pack.check(arch, schema())
    return guest_pack.part(arch, guest_pack.PROGRAMS, source_digest()) is not None


def compiled(arch: Arch, report: Reporter) -> Path:
    """Return the folder of the cache that has them, compiled now if they are not there.

    :raises ImageError: there is no compiler for this architecture, or it failed.
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
    """Return the folders in the cache that no build of this version and this compiler uses.

    :raises ImageError: the sources are missing.
    :raises CacheError: the cache cannot be trusted.
    """
    found = [path for path in cache.folder("programs").glob("*") if _KEY.fullmatch(path.name)]
    if not found:
        return []
    source_digest()  # without the sources, nothing tells which folders are in use
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
    """Return the digest of the schema that they speak which are made of our sources, in hex.

    :raises ImageError: the sources are missing, or not whole.
    """
    header = sources() / "protocol.h"
    pattern = r"#define SANDBOXD_SCHEMA_DIGEST 0x([0-9a-f]{16})ULL"
    if (found := re.search(pattern, header.read_text())) is None:
        raise ImageError(f"{header}: names no schema digest", hint="run `microvm-proto gen`")
    return found[1]
