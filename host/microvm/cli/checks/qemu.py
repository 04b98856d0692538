"""The checks of the program QEMU, and of the launcher, the program that confines QEMU."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from microvm import arches, guest_pack
from microvm.cli.checks import requirements
from microvm.cli.checks.check import CheckResult, EarlierResults, HostCheck, HostFault, Severity, ok
from microvm.cli.presets import Presets
from microvm.errors import ConfinementError, MicroVMError, QemuError
from microvm.qemu import launcher
from microvm.qemu.confinement import missing
from microvm.qemu.confinement_probe import probe
from microvm.qemu.launch import find_qemu
from microvm.system import compiler, platform
from microvm.system.patience import patient
from microvm_image import programs

_OLDEST = (7, 2)
_TIMEOUT = 15.0

NO_QEMU = HostFault("failed", "{program} is not installed", "sudo apt install {package}")
DENIED_QEMU = HostFault(
    "failed",
    "cannot execute {path}: {why}",
    "sudo apt install {package}",
    "you lack the permission to execute the program, or to search one of its folders; or a "
    "folder in PATH cannot be searched, and no other folder contains QEMU",
)
NO_VERSION = HostFault(
    "failed",
    "{program} does not print its version: {why}",
    "sudo apt install --reinstall {package}",
    "the program or one of its libraries is damaged, or it is not QEMU",
)
OLD_QEMU = HostFault(
    "note",
    "QEMU {version} is older than {oldest}, the oldest tested version",
    "sudo apt install {package}",
    hint="Debian 12 and Ubuntu 24.04 have newer versions",
)


def check_qemu(_: EarlierResults) -> CheckResult:
    """Check that QEMU is installed and recent enough, by the output of its `--version`."""
    target = arches.find()
    fix = platform.how_to_install(target.qemu_package, "qemu", sudo="sudo ")
    try:
        program = find_qemu(target.name)
    except QemuError as error:
        if error.__cause__ is None:
            return NO_QEMU.result(program=target.qemu, fix=fix)
        return DENIED_QEMU.result_of(error, fix)
    output, why = "", ""
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=patient(_TIMEOUT),
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        why = f"it exited with status {done.returncode}"
    except OSError as error:
        why = error.strerror or str(error)
    except subprocess.TimeoutExpired:
        why = f"no answer within {patient(_TIMEOUT):.0f} seconds"
    version = re.search(r"version (\d+)\.(\d+)[.\d]*", output)
    if version is None:
        return NO_VERSION.result(program=program, why=why, fix=fix)
    number = version[0].removeprefix("version ")
    if (int(version[1]), int(version[2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        return OLD_QEMU.result(version=number, oldest=oldest, fix=fix)
    return ok(f"QEMU {number} at {program}")


_INSTALL_COMPILER = "sudo apt install gcc libc6-dev make"

NO_COMPILER = HostFault(
    "failed",
    "the programs in C cannot be compiled without {missing}",
    _INSTALL_COMPILER,
    "the launcher of QEMU and the programs of the guest are compiled once; if they exist already, "
    "this is a note; the extra `guest` contains them",
)
NOT_COMPILED = HostFault(
    "failed",
    "the launcher of QEMU cannot be used: {why}",
    _INSTALL_COMPILER,
    "the compiler has failed, or the host does not allow to execute the launcher",
)
WRONG_PACK = HostFault(
    "failed",
    "the guest pack cannot be used: {why}",
    "{python} -m pip install --force-reinstall {pack}",
    "the pack belongs to another version of microvm, or is damaged; if the programs can be "
    "compiled, another version is a note",
)


def check_compiler(_: EarlierResults) -> CheckResult:
    """Compile the launcher, the program that confines QEMU, unless it is already compiled."""
    target = arches.find()
    pack = guest_pack.wanted(target)
    needed: Severity = "note" if launcher.is_ready() else "failed"
    try:
        installed = guest_pack.installed(target)
        if programs.are_packed(target):
            launcher.find()
            return ok(f"from {guest_pack.distribution(target)}")
    except ConfinementError as error:
        return NOT_COMPILED.result(why=error.message, hint=error.hint)
    except MicroVMError as error:
        fix = requirements.install_command("--force-reinstall", pack)
        return WRONG_PACK.result(why=error.message, fix=fix)
    try:
        command = compiler.compiler(target, "them", libc=True)
    except MicroVMError:
        command = []
    lacked = [] if command else ["a C compiler for static programs"]
    lacked += [] if shutil.which("make") else ["make"]
    if installed:
        return WRONG_PACK.result(
            status=needed if lacked else "note",
            why=f"it belongs to microvm {installed.version}",
            fix=requirements.install_command(pack),
        )
    if lacked:
        lacking = " and ".join(lacked)
        other = None if platform.compiles_for_guests() else requirements.install_command(pack)
        return NO_COMPILER.result(status=needed, missing=lacking, fix=other)
    try:
        launcher.find()
    except ConfinementError as error:
        return NOT_COMPILED.result(why=error.message, hint=error.hint)
    return ok(f"compiled by {Path(command[0]).name if len(command) == 1 else 'zig'}")


NOT_CONFINED = HostFault(
    "note",
    "QEMU is less restricted than `--confinement require` demands: {missing}",
    "microvm confinement",
    "machines start nevertheless; if a preset sets `confinement` to `require`, they do not start, "
    "and the check has failed; [security.md](security.md#what-confines-qemu) describes each layer",
)


def check_confinement(_: EarlierResults) -> CheckResult:
    """Start a test program with the restrictions that QEMU gets, and report missing ones."""
    if why := platform.lack(platform.CONFINEMENT):
        return NOT_CONFINED.result(status=_missing_confinement(), missing=why)
    found = probe()
    if lacked := missing(found):
        return NOT_CONFINED.result(status=_missing_confinement(), missing="; ".join(lacked))
    without = [each.layer for each in found.values() if not each.holds]
    rest = f"; without {', '.join(without)}: `microvm confinement` shows why" if without else ""
    return ok(f"{len(found) - len(without)} of {len(found)} layers{rest}")


def _missing_confinement() -> Severity:
    """Return how severe a missing confinement is: no machine starts if a preset requires it."""
    preset = Presets().find("confinement", "run")
    return "failed" if preset and preset.value == "require" else "note"


CHECKS = (
    HostCheck(
        "qemu", "QEMU and its version.", check_qemu, (NO_QEMU, DENIED_QEMU, NO_VERSION, OLD_QEMU)
    ),
    HostCheck(
        "compiler",
        "The programs in C, which are compiled once.",
        check_compiler,
        (NO_COMPILER, NOT_COMPILED, WRONG_PACK),
        after=("cache",),
        within=120.0,
    ),
    HostCheck(
        "confinement",
        "The restrictions of QEMU, which protect the host if a guest breaks out into QEMU.",
        check_confinement,
        (NOT_CONFINED,),
        after=("config", "cache", "compiler"),
        within=60.0,
    ),
)
