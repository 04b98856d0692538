"""The checks of QEMU: its program, and the launcher that confines it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from microvm.cli.checks.check import CheckResult, EarlierResults, HostCheck, HostFault, Severity, ok
from microvm.errors import ConfinementError, ImageError, QemuError

_OLDEST = (7, 2)
_TIMEOUT = 15.0

NO_QEMU = HostFault("failed", "{program} is not installed", "sudo apt install {package}")
NO_VERSION = HostFault(
    "failed",
    "{program} does not say its version: {why}",
    "sudo apt install --reinstall {package}",
    "it, or a library of it, is damaged, or it is something else of that name",
)
OLD_QEMU = HostFault(
    "note",
    "QEMU {version} is older than {oldest}, with which nothing was tried",
    "sudo apt install {package}",
    hint="of Debian 12, Ubuntu 24.04 or newer",
)


def qemu(_: EarlierResults) -> CheckResult:
    """Have it say its version."""
    from microvm import arches
    from microvm.qemu.launch import find_qemu

    target = arches.find()
    try:
        program = find_qemu(target.name)
    except QemuError:
        return NO_QEMU.found(program=target.qemu, package=target.qemu_package)
    said, why = "", ""
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
        said = done.stdout.decode(errors="replace")
        why = f"it ended with status {done.returncode}"
    except OSError as error:
        why = error.strerror or str(error)
    except subprocess.TimeoutExpired:
        why = f"no answer within {_TIMEOUT:.0f} seconds"
    version = re.search(r"version (\d+)\.(\d+)[.\d]*", said)
    if version is None:
        return NO_VERSION.found(program=program, why=why, package=target.qemu_package)
    number = version[0].removeprefix("version ")
    if (int(version[1]), int(version[2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        return OLD_QEMU.found(version=number, oldest=oldest, package=target.qemu_package)
    return ok(f"QEMU {number} at {program}")


NO_COMPILER = HostFault(
    "failed",
    "there is no C compiler that makes static programs",
    "sudo apt install musl-tools binutils make",
    "what confines QEMU, and the guest's own programs, are compiled once; where they have been, "
    "this is a note: what is there works on; the extra `guest` brings them compiled",
)
NO_MAKE = HostFault(
    "failed", "make is not installed", "sudo apt install make", "as without a compiler"
)
NOT_COMPILED = HostFault(
    "failed",
    "QEMU cannot be started: {why}",
    "sudo apt install musl-tools binutils make",
    "what confines QEMU could not be compiled, or may be neither in the cache nor in memory",
)
WRONG_PACK = HostFault(
    "failed",
    "the guest pack cannot be used: {why}",
    "{python} -m pip install --force-reinstall {pack}",
    "it speaks the protocol of another version, or is damaged; without it, all is made from "
    "sources",
)
OTHER_PACK = HostFault(
    "note",
    "the guest pack is that of microvm {version}: what it has is made here",
    "{python} -m pip install {pack}",
    "where nothing can be compiled, this has failed",
)


def compiled(_: EarlierResults) -> CheckResult:
    """Have what confines QEMU compiled, as a start would."""
    import shutil

    from microvm import arches, guest_pack
    from microvm.cli.checks import requirements
    from microvm.qemu import launcher
    from microvm.system import compiler
    from microvm_image import programs

    target = arches.find()
    pack = guest_pack.wanted(target)
    there = launcher.is_ready()
    needed: Severity = "note" if there else "failed"
    try:
        installed = guest_pack.installed(target)
        if programs.are_packed(target):
            launcher.find()
            return ok(f"from {guest_pack.distribution(target)}")
    except ImageError as error:
        mend = requirements.install("--force-reinstall", pack)
        return WRONG_PACK.found(why=error.message, mend=mend)
    except ConfinementError as error:
        return NOT_COMPILED.of(error)
    try:
        command = compiler.compiler(target, "them")
    except ImageError:
        command = []
    if installed:
        status: Severity = "note" if command and shutil.which("make") else needed
        mend = requirements.install(pack)
        return OTHER_PACK.found(status=status, version=installed.version, mend=mend)
    if not command:
        return NO_COMPILER.found(status=needed)
    if shutil.which("make") is None:
        return NO_MAKE.found(status=needed)
    try:
        launcher.find()
    except ConfinementError as error:
        return NOT_COMPILED.of(error)
    return ok(f"compiled by {Path(command[0]).name if len(command) == 1 else 'zig'}")


NOT_CONFINED = HostFault(
    "note",
    "a guest that breaks out is held back by less than `require` demands: {missing}",
    "microvm confinement",
    'machines start with what there is, but for those of `confinement = "require"`, for which '
    "this has failed; each layer, and what to do about it, is in "
    "[security.md](security.md#what-confines-qemu)",
)
NO_CONFINEMENT = HostFault(
    "failed",
    "a program cannot be confined as QEMU is: {why}",
    "env MICROVM_LOG=debug microvm confinement",
)


def confinement(_: EarlierResults) -> CheckResult:
    """Confine a program that does nothing."""
    import sys

    from microvm.cli.presets import Presets
    from microvm.qemu.confinement import missing
    from microvm.qemu.confinement_probe import probe

    if sys.platform != "linux":
        return NOT_CONFINED.found(missing="this is no Linux")
    try:
        found = probe()
    except QemuError as error:
        return NO_CONFINEMENT.of(error, "a program cannot be confined as QEMU is: ")
    if wanting := missing(found):
        chosen = Presets().find("confinement", "run")
        required = chosen is not None and chosen.value == "require"
        status: Severity = "failed" if required else "note"
        return NOT_CONFINED.found(status=status, missing="; ".join(wanting))
    without = [each.layer for each in found.values() if not each.holds]
    rest = f"; without {', '.join(without)}: `microvm confinement` says why" if without else ""
    return ok(f"{len(found) - len(without)} layers of {len(found)}{rest}")


CHECKS = (
    HostCheck("qemu", "QEMU's program and version.", qemu, (NO_QEMU, NO_VERSION, OLD_QEMU)),
    HostCheck(
        "compiler",
        "The programs in C, which are compiled once.",
        compiled,
        (NO_COMPILER, NO_MAKE, NOT_COMPILED, WRONG_PACK, OTHER_PACK),
        after=("cache",),
        within=120.0,
    ),
    HostCheck(
        "confinement",
        "What holds QEMU back, should a guest break out into it.",
        confinement,
        (NOT_CONFINED, NO_CONFINEMENT),
        after=("config", "cache", "compiler"),
        within=60.0,
    ),
)
