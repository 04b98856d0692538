"""The compilation of the small kernel from Debian's source. The kernel is kept in the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from microvm import arches, cache
from microvm.arches import Arch
from microvm.cache import lock
from microvm.errors import ImageError
from microvm.progress import NullReporter, Reporter
from microvm.system.capacity import usable_cpus
from microvm.system.tools import MissingPrograms, finish, is_full, run, started
from microvm_image import downloads
from microvm_image.kernel import cached, kconfig, recipe
from microvm_image.kernel.source import PINNED, fetch

# Patterns for the source files of Linux, about half, that are not unpacked, because our kernels do
# not need them. The Kconfig files in the same folders are unpacked, because every configuration
# reads them.
_NOT_UNPACKED = (
    "*/Documentation/*.[rty]*",
    "*/drivers/gpu/*.[ch]",
    "*/drivers/media/*.[ch]",
    "*/drivers/net/[ew]*.[ch]",
    "*/sound/*.[ch]",
    "*/tools/testing/*",
)

_PROGRAMS = {
    "make": "make",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "tar": "tar",
    "xz": "xz-utils",
}
_HEADERS = {"stdio.h": "libc6-dev", "gelf.h": "libelf-dev"}

_STEPS = 1450
"""Approximate number of lines of output of `make`, one for each file. The progress bar uses it."""


def build(*, arch: str | None = None, pinned: bool = False, report: Reporter | None = None) -> Path:
    """Compile the small kernel from the newest source, or the `pinned` one, and return its path.

    A kernel in the cache is used if it is from the same source and compiler. Compilation takes
    some minutes, and temporarily 1 GB of the cache's disk.

    :param pinned: True to compile the source in `PINNED`; by default Debian's newest source.
    :return: The path of a vmlinux or an Image, without symbols.
    :raises ImageError: A tool is missing, the source is not available or lacks one of our options,
        or a compiler failed. Incomplete files are removed.
    :raises CacheError: The cache cannot be used, for example because the disk is full.
    """
    report = report or NullReporter()
    target = arches.find(arch)
    check_tools(target)
    with cache.disk_errors(), downloads.in_use(report):
        path = cache.folder("kernels") / _name(target, PINNED.version)
        if pinned and _is_built(path):
            return path
        source = fetch(report, pinned=pinned)
        path = path.with_name(_name(target, source.version))
        # All kernels are compiled in the same folder, so that the next build removes the files that
        # a killed build has left.
        work = path.with_name(cached.WORK)
        if _is_built(path):
            return path
        with lock.held(work, report), cache.scratch(work) as folder:
            if _is_built(path):
                return path
            folder.mkdir()
            made = _compile(target, source.path, folder, report)
            with cache.staging(path) as temporary:
                made.chmod(cache.READ_ONLY_MODE)
                made.replace(temporary)
    return path


def _is_built(path: Path) -> bool:
    if not cache.has(path):
        return False
    with suppress(OSError):
        # make this kernel the newest, because new images get the kernel with the newest time
        os.utime(path)
    return True


def check_tools(arch: Arch) -> None:
    """Check that the tools and C headers to compile a kernel are installed.

    :raises ImageError: A tool is missing; the hint is the command that installs it.
    """
    prefix = _prefix(arch)
    package = arch.cross_packages.split()[0]
    programs = {f"{prefix}gcc": package, "gcc": "gcc", **_PROGRAMS}
    missing = {name: owner for name, owner in programs.items() if not shutil.which(name)}
    if "gcc" not in missing:
        missing |= {name: owner for name, owner in _HEADERS.items() if not _has_header(name)}
    if missing:
        message = f"cannot compile a kernel without {', '.join(missing)}"
        raise MissingPrograms(message, [*dict.fromkeys(missing.values())])


def _has_header(name: str) -> bool:
    try:
        run(["gcc", "-E", "-include", name, "-x", "c", os.devnull], what=f"looking for {name}")
    except ImageError:
        return False
    return True


def _prefix(arch: Arch) -> str:
    return "" if arch is arches.find() else arch.cross_prefix


def _name(arch: Arch, version: str) -> str:
    """Return the file name of a kernel, with digests of its recipe, source and compiler."""
    digest = hashlib.sha256("\0".join((version, *tools(arch))).encode()).hexdigest()
    return f"linux-{version.partition('-')[0]}-{arch.name}-{recipe.digest(arch)}-{digest[:8]}"


def _compile(arch: Arch, source: Path, work: Path, report: Reporter) -> Path:
    report.step("unpacking the kernel's source")
    excluded = [f"--exclude={pattern}" for pattern in _NOT_UNPACKED]
    run(
        ["tar", "-xJf", str(source), "-C", str(work), "--strip-components=1", *excluded],
        what="unpacking the kernel's source",
        temporary=work.parent,
    )
    for name, before, after in recipe.EDITS:
        _edit(work / name, before, after)
    fragment = work / "fragment.config"
    fragment.write_text(kconfig.fragment(arch))
    make = ["make", "-C", str(work), f"ARCH={arch.kernel_arch}", f"CROSS_COMPILE={_prefix(arch)}"]
    environment = _environment(work)
    run(
        [*make, f"KCONFIG_ALLCONFIG={fragment}", "allnoconfig"],
        what="configuring the kernel",
        temporary=work.parent,
        env=environment,
    )
    kconfig.check(
        kconfig.parse(fragment.read_text()), kconfig.parse((work / ".config").read_text())
    )
    cpus = usable_cpus()
    report.step(f"compiling the kernel on {cpus} CPUs, which takes some minutes")
    made = work / arch.kernel_target
    _watch([*make, f"-j{cpus}", made.name], environment, work.parent, report)
    if made.name == "vmlinux":
        strip = [_prefix(arch) + "strip", "-s", str(made)]
        run(strip, what="stripping the kernel", temporary=work.parent)
    return made


def _edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    if text.count(before) != 1:
        raise ImageError(f"cannot patch this kernel source: {path.name} lacks {before!r}")
    path.write_text(text.replace(before, after))


def tools(arch: Arch) -> list[str]:
    """Return the output of `--version` of the compiler and of the linker.

    :raises ImageError: A tool is not installed.
    """
    return [
        run([_prefix(arch) + tool, "--version"], what=f"asking {tool} for its version")
        for tool in ("gcc", "ld")
    ]


def _environment(source: Path) -> dict[str, str]:
    """Return the environment for `make`, without variables that would change the result."""
    released = time.gmtime((source / "Makefile").stat().st_mtime)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "TZ": "UTC",
        "KBUILD_BUILD_USER": "microvm",
        "KBUILD_BUILD_HOST": "microvm",
        "KBUILD_BUILD_TIMESTAMP": time.strftime("%Y-%m-%d", released),
    }


def _watch(
    command: Sequence[str], environment: dict[str, str], temporary: Path, report: Reporter
) -> None:
    """Run a `make` that takes minutes, and report progress after each line of its output."""
    last: deque[str] = deque(maxlen=20)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with started(command, temporary=temporary, env=environment, **pipes) as process:
        for count, line in enumerate(process.stdout or (), start=1):
            last.append(line.decode(errors="replace").rstrip())
            report.advance(min(count, _STEPS), _STEPS)
        finish(process)
    if process.returncode != 0:
        full = " (disk full)" if is_full("\n".join(last)) else ""
        raise ImageError(
            f"compiling the kernel failed{full}: make ended with status {process.returncode}",
            hint=next((line for line in last if "rror" in line), ""),
            detail="\n".join(last),
        )
