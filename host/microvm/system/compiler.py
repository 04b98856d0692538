"""Finds and runs the C compiler for the programs that this project contains as source code."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from microvm import arches, guest_pack
from microvm.arches import Arch
from microvm.errors import ImageError
from microvm.sha256 import sha256
from microvm.system import platform


def sources(packed: Path, checkout: Path, what: str) -> Path:
    """Return `packed`, or else `checkout`, whichever has the sources of the program `what`."""
    for folder in (packed, checkout):
        if (folder / "Makefile").is_file():
            return folder
    raise ImageError(f"the sources of {what} are missing", hint="install microvm again")


def source_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all source files in a folder, in hex.

    Each start of a machine calls this function, so a process reads the files again only if one of
    them has changed.
    """
    return _digest(os.fspath(folder), tuple(sorted(_compiled(os.fspath(folder)))))


@lru_cache(maxsize=4)
def _digest(folder: str, files: tuple[tuple[str, int, int], ...]) -> str:
    digest = sha256()
    for path, _, _ in files:
        data = Path(path).read_bytes()
        digest.update(f"{path[len(folder) :]}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def _compiled(folder: str) -> Iterator[tuple[str, int, int]]:
    """Yield the path, size and modification time of each source file in a folder.

    We do not use `Path.rglob`, which takes twice as long.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _compiled(entry.path)
            elif entry.name.endswith((".c", ".h")) or entry.name == "Makefile":
                status = entry.stat()
                yield entry.path, status.st_size, status.st_mtime_ns


def compiler(arch: Arch, what: str, *, libc: bool = False) -> list[str]:
    """Return the command that compiles the static program `what` for an architecture.

    :param libc: True if the program needs a C library. Then gcc and clang are the last choice,
        because some hosts lack the C library for static programs. Debian's libc6-dev has it.
    """
    import shutil  # imported here, because a process that only spawns QEMU does not need `shutil`

    native = platform.compiles_for_guests() and arches.native() == arch.name
    cross = f"{arch.cross_prefix}gcc"
    if native:
        found = [[name] for name in ("gcc", "clang") if shutil.which(name)]
    else:
        found = [[cross]] if shutil.which(cross) and _has_libc(cross) else []
    if find_spec("ziglang"):
        zig = [sys.executable, "-P", "-m", "ziglang", "cc", "-target", arch.zig_target]
        found.insert(0 if libc else len(found), zig)
    if libc and native and shutil.which("musl-gcc"):
        found.insert(0, ["musl-gcc"])
    if found:
        return found[0]
    packages = "gcc libc6-dev" if native else arch.cross_packages
    raise ImageError(
        f"no C compiler that compiles {what} for {arch.name} is installed",
        hint=f"{guest_pack.how_to_install(arch)}, which contains it; or install a compiler by "
        f"`apt install {packages} make` or `pip install ziglang`",
    )


def _has_libc(gcc: str) -> bool:
    """Return True if a compiler for another architecture has the C library and its headers.

    Even programs without a C library need its headers. Debian's package of such a compiler only
    recommends the package of the C library.
    """
    from microvm.system.tools import output

    # For a file that it lacks, gcc prints the bare name.
    path = output([gcc, "-print-file-name=libc.a"], what=f"asking {gcc} for its C library")
    return b"/" in path


def check(arch: Arch, what: str) -> None:
    """Check that make and the compiler for `arch` are installed, to compile the program `what`."""
    compiler(arch, what)
    _check_make(what)


def _check_make(what: str) -> None:
    import shutil

    if shutil.which("make") is None:
        message = f"compiling {what} failed: make is not installed"
        raise ImageError(message, hint="apt install make")


def make(
    folder: Path, command: Sequence[str], out: Path, *, names: Sequence[str], what: str
) -> None:
    """Compile the source code in `folder` to the files `names` in the new folder `out`.

    :param command: the compiler, with its first arguments.
    :param what: the name of the program, for error messages.
    :param out: the folder to create; the compiler's temporary files are beside it.
    """
    from microvm.system.tools import run

    words = [*_make(folder, command, what), f"OUT={out}"]
    run(words, what=f"compiling {what}", temporary=out.parent)
    if not all((out / name).is_file() for name in names):
        raise ImageError(f"compiling {what} failed: {folder / 'Makefile'} did not create all files")


def make_one(folder: Path, command: Sequence[str], *, name: str, what: str) -> bytes:
    """Compile the program `name` in `folder` with the compiler `command`; return its content.

    The compiler's files are removed. Error messages call the program `what`.
    """
    from microvm.system.tools import output

    script = 'name=$1; shift; "$@" "OUT=$TMPDIR" && cat "$TMPDIR/$name"'
    words = ["sh", "-c", script, "sh", name, *_make(folder, command, what)]
    return output(words, what=f"compiling {what}")


def _make(folder: Path, command: Sequence[str], what: str) -> list[str]:
    _check_make(what)
    return ["make", "-s", "-C", str(folder), f"CC={shlex.join(command)}"]
