"""The guest's own programs, compiled for an architecture."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from microvm.arch import Arch
from microvm.cache import lock
from microvm.cache import store as cache
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm_image.process import run

NAMES = ("init", "sandboxd", "pack", "carry")
"""The programs by their files: the guest's first process, the daemon that it becomes, what writes
the root's upper layer to standard output, as a tar, and what carries files in and out."""

PACK = ("/proc/1/fd/3", ["pack", "/proc/1/fd/4"])
"""The command and the arguments by which root packs a guest's layer: the daemon keeps open what it
takes, as nothing of it is in the root."""


@dataclass(frozen=True, slots=True)
class Programs:
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
    for folder in (package / "_guest", package.parents[1] / "guest"):
        if (folder / "Makefile").is_file():
            return folder
    raise ImageError(
        "the sources of the guest's programs are missing", hint="install microvm again"
    )


def source_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all that is compiled, in hex."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".c", ".h"} or path.name == "Makefile":
            data = path.read_bytes()
            digest.update(f"{path.relative_to(folder)}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def build(arch: Arch, report: Reporter) -> Programs:
    """Compile the programs, or take from the cache what the same compiler made of the same sources.

    :raises ImageError: there is no compiler for this architecture, or it failed.
    """
    folder = sources()
    cc = compiler(arch)
    identity = run([*cc, "--version"], what="asking the C compiler for its version")
    key = f"{arch.name}\0{shlex.join(cc)}\0{identity}\0{source_digest(folder)}"
    path = cache.folder("programs") / hashlib.sha256(key.encode()).hexdigest()[:32]
    if not _is_built(path):
        with lock.held(path, report):
            if not _is_built(path):
                report.step(f"compiling sandboxd for {arch.name}")
                with cache.staging(path) as out:
                    _make(folder, cc, out)
    files = {name: cache.read(path / name) for name in NAMES}
    digest = hashlib.sha256(b"".join(len(data).to_bytes(8) + data for data in files.values()))
    return Programs(files, digest.hexdigest(), _schema(folder))


def _is_built(path: Path) -> bool:
    return all(cache.has(path / name) for name in NAMES)


def compiler(arch: Arch) -> list[str]:
    """Return the command that compiles for this architecture's guests.

    :raises ImageError: there is none.
    """
    native = os.uname().machine == arch.name
    if native and shutil.which("musl-gcc"):
        return ["musl-gcc"]
    if find_spec("ziglang"):
        return [sys.executable, "-P", "-m", "ziglang", "cc", "-target", arch.zig_target]
    zig = "pip install ziglang"
    raise ImageError(
        f"no C compiler that makes sandboxd for {arch.name}",
        hint=f"apt install musl-tools, or {zig}" if native else zig,
    )


def _make(folder: Path, compiler: Sequence[str], out: Path) -> None:
    run(
        ["make", "-s", "-C", str(folder), f"OUT={out}", f"CC={shlex.join(compiler)}"],
        what="compiling sandboxd",
    )
    if not all((out / name).is_file() for name in NAMES):
        raise ImageError(f"compiling sandboxd failed: {folder / 'Makefile'} did not make all")


def _schema(folder: Path) -> str:
    header = folder / "protocol.h"
    pattern = r"#define SANDBOXD_SCHEMA_DIGEST 0x([0-9a-f]{16})ULL"
    if (found := re.search(pattern, header.read_text())) is None:
        raise ImageError(f"{header}: names no schema digest", hint="run `microvm-proto gen`")
    return found[1]
