"""The guest's daemon, `sandboxd`, compiled for an architecture."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from microvm.arch import Arch
from microvm.cache import lock
from microvm.cache import store as cache
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm_image.process import run


@dataclass(frozen=True, slots=True)
class Daemon:
    """The compiled daemon: a static binary, the guest's first process.

    :ivar schema: the digest of the schema that it speaks, 16 hex digits.
    """

    data: bytes
    sha256: str
    schema: str


def sources() -> Path:
    """Return the folder of the daemon's sources: in an installed wheel, or in the checkout.

    :raises ImageError: they are in neither.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "_guest", package.parents[1] / "guest"):
        if (folder / "Makefile").is_file():
            return folder
    raise ImageError("the sources of sandboxd are missing", hint="install microvm again")


def source_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all that is compiled, in hex."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".c", ".h"} or path.name == "Makefile":
            data = path.read_bytes()
            digest.update(f"{path.relative_to(folder)}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def build(arch: Arch, report: Reporter) -> Daemon:
    """Compile the daemon, or take from the cache what the same compiler made of the same sources.

    :raises ImageError: there is no compiler for this architecture, or it failed.
    """
    folder = sources()
    cc = compiler(arch)
    identity = run([*cc, "--version"], what="asking the C compiler for its version")
    key = f"{arch.name}\0{shlex.join(cc)}\0{identity}\0{source_digest(folder)}"
    path = cache.folder("daemons") / hashlib.sha256(key.encode()).hexdigest()[:32]
    if not cache.has(path):
        with lock.held(path, report):
            if not cache.has(path):
                report.step(f"compiling sandboxd for {arch.name}")
                with cache.staging(path) as out:
                    _make(folder, cc, out)
    data = cache.read(path)
    return Daemon(data, hashlib.sha256(data).hexdigest(), _schema(folder))


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
    if not out.is_file():
        raise ImageError(f"compiling sandboxd failed: {folder / 'Makefile'} made nothing")


def _schema(folder: Path) -> str:
    header = folder / "protocol.h"
    pattern = r"#define SANDBOXD_SCHEMA_DIGEST 0x([0-9a-f]{16})ULL"
    if (found := re.search(pattern, header.read_text())) is None:
        raise ImageError(f"{header}: names no schema digest", hint="run `microvm-proto gen`")
    return found[1]
