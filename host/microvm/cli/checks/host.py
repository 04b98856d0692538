"""The checks of Python, the processor, memory, limits, presets and the folder of machines."""

from __future__ import annotations

import os
import resource
import shlex
import stat
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from microvm import arches
from microvm.cli.checks import requirements
from microvm.cli.checks.check import CheckResult, EarlierResults, HostCheck, HostFault, Severity, ok
from microvm.cli.presets import Presets
from microvm.errors import MicroVMError, UsageError
from microvm.option import options_of
from microvm.options import PoolOptions
from microvm.supervisor.runtime_directory import RuntimeDirectory, location
from microvm.system import platform
from microvm.system.capacity import usable_memory
from microvm.units import MINIMUM_MEMORY, format_size

_MIB = 1 << 20

# By measurement, QEMU needs 1.5 GiB of address space in addition to the memory of its guest, and
# the QEMU of a clone has 22 open files.
_ADDRESS_SPACE = 1536 * _MIB
_FILES_AT_LEAST, _FILES = 24, 256
_PROCESSES = 64

NO_MODULES = HostFault(
    "failed",
    "the Python modules of the extra `vm` are missing: {modules}",
    "{python} -m pip install {modules}",
    "`microvm` was installed without the modules that run machines",
)


def check_python(_: EarlierResults) -> CheckResult:
    """Check Python: import the modules that the extra `vm` of this distribution installs."""
    version = ".".join(map(str, sys.version_info[:3]))
    try:
        missing = requirements.missing("vm")
    except PackageNotFoundError:
        return ok(f"Python {version} at {sys.executable}; microvm itself is not installed")
    if missing:
        fix = requirements.install_command(*missing)
        return NO_MODULES.result(fix=fix, modules=", ".join(missing))
    return ok(f"Python {version} at {sys.executable}")


NO_GUESTS = HostFault(
    "failed",
    "microvm has no guests for this kind of processor: {arch}",
    hint=f"use a host with one of {', '.join(arches.ARCHES)}",
)


def check_system(_: EarlierResults) -> CheckResult:
    """Check that microvm supports guests of this host's processor architecture."""
    arch = arches.native()
    if arch not in arches.ARCHES:
        return NO_GUESTS.result(arch=arch)
    return ok(f"{platform.name()} {platform.kernel()[0]} on {arch}")


TOO_SMALL = HostFault(
    "failed",
    "all processes together may use {usable} of memory, so a guest with {guest} does not fit",
    f"export MICROVM_MEMORY={MINIMUM_MEMORY >> 20}M",
    "the host has no more memory, or a cgroup (v2) limits it",
    "or raise memory.max of the cgroup",
)


def check_memory(_: EarlierResults) -> CheckResult:
    """Compare the memory of the host with the memory that a guest gets by default."""
    usable, guest = usable_memory(), _guest_memory()
    if usable is None:
        return ok("unknown, because the system does not report it")
    if usable < guest:
        return TOO_SMALL.result(usable=format_size(usable), guest=format_size(guest))
    return ok(f"{usable / (1 << 30):.1f} GiB")


def _guest_memory() -> int:
    option = options_of(PoolOptions)["memory"]
    preset = None
    # ignore invalid presets here, because the check `config` reports them
    with suppress(UsageError):
        preset = Presets().find("memory", "run")
    return int(option.check(preset.value if preset else option.default))


_AS_ROOT = "root has to raise the hard limit if it is lower"

FEW_FILES = HostFault(
    "failed",
    "this process may have only {limit} open files",
    "ulimit -Sn 1024",
    f"a machine needs {_FILES_AT_LEAST}; with more than that, this is a note",
    _AS_ROOT,
)
FEW_PROCESSES = HostFault(
    "note",
    "this user may start only {left} more processes and threads; each machine needs several",
    "ulimit -Su 4096",
    hint=_AS_ROOT,
)
FEW_ADDRESSES = HostFault(
    "failed",
    "a process may have {limit} of address space, and QEMU needs more",
    "ulimit -Sv unlimited",
    hint=_AS_ROOT,
)


def check_limits(_: EarlierResults) -> CheckResult:
    """Check the resource limits of this process (see `ulimit`), because QEMU inherits them."""
    files, addresses = _limit("NOFILE"), _limit("AS")
    if addresses is not None and addresses < _guest_memory() + _ADDRESS_SPACE:
        fix = _raise_command("-Sv", "as")
        return FEW_ADDRESSES.result(limit=format_size(addresses), fix=fix)
    if files is not None and files < _FILES:
        status: Severity = "failed" if files < _FILES_AT_LEAST else "note"
        fix = _raise_command("-Sn", "nofile", 1024)
        return FEW_FILES.result(status=status, limit=files, fix=fix)
    # RLIMIT_NPROC, the limit of processes, does not apply to root, so do not check it for root
    processes = _limit("NPROC") if os.geteuid() != 0 else None
    if processes is not None and (left := processes - _threads_of_user()) < _PROCESSES:
        fix = _raise_command("-Su", "nproc", 4096)
        return FEW_PROCESSES.result(left=max(left, 0), fix=fix)
    return ok(f"{'any number of' if files is None else files} open files")


def _limit(name: str) -> int | None:
    """Return the soft resource limit of this process for RLIMIT_`name`; None if unlimited."""
    value = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[0]
    return None if value == resource.RLIM_INFINITY else value


def _raise_command(flag: str, name: str, wanted: int | None = None) -> str:
    """Return the shell command that raises a resource limit to `wanted`; None means unlimited.

    `flag` is the limit's option of `ulimit`, such as `-Sn`; `name` is its name for prlimit(1).
    """
    hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
    value = wanted or "unlimited"
    if hard == resource.RLIM_INFINITY or (wanted and hard >= wanted):
        return f"ulimit {flag} {value}"
    return f"sudo prlimit --pid $$ --{name}={value}:{value}"


def _threads_of_user() -> int:
    """Count the threads of the current user in /proc, and return their number."""
    count = 0
    for process in Path(platform.PROC).glob("[0-9]*"):
        with suppress(OSError):
            if process.stat().st_uid == os.getuid():
                count += len(os.listdir(process / "task"))  # noqa: PTH208 - Path is slower
    return count


WRONG_PRESET = HostFault(
    "failed",
    "a preset of an option is wrong: {why}",
    "export MICROVM_NO_CONFIG=1",
    "a variable or a configuration file is wrong or cannot be read; [config.md](config.md)",
    "`microvm config` shows the line that is wrong",
)


def check_config(_: EarlierResults) -> CheckResult:
    """Check the presets: read the values of options in variables and configuration files."""
    try:
        found = Presets()
    except UsageError as error:
        variable = error.message.partition(": ")[0]
        fix = f"unset {variable}" if variable.startswith("MICROVM_") else None
        return WRONG_PRESET.result(why=error.message, fix=fix, hint=error.hint if fix else "")
    read = [str(file.path) for file in found.files if file.state == "read"]
    return ok(", ".join(read) or "no configuration file is used")


NO_RUNTIME = HostFault(
    "note",
    "the folder of named machines cannot be used: {why}",
    'export XDG_RUNTIME_DIR="$(mktemp -d)"',
    "`microvm start` cannot start machines; `microvm run` does not need the folder",
    "or name another folder that belongs to you, and that nobody else can enter",
)


def check_runtime(_: EarlierResults) -> CheckResult:
    """Check that the folder for the sockets of named machines can be used."""
    if why := platform.lack(platform.NAMES):
        return NO_RUNTIME.result(why=why, fix="", hint=platform.NAMES.hint)
    path, why_not_given = location()
    folder = Path(path)
    try:
        with RuntimeDirectory() as runtime:
            exists = runtime.descriptor >= 0
    except MicroVMError as error:
        fix = _close_command(folder)
        return NO_RUNTIME.result(why=error.message, hint=error.hint, fix=fix or None)
    if not exists and not os.access(folder.parent, os.W_OK | os.X_OK, effective_ids=True):
        return NO_RUNTIME.result(why=f"{folder.parent} is missing or not writable")
    shown = f"{folder}{'' if exists else ', which the first start creates'}"
    return ok(f"{shown}; XDG_RUNTIME_DIR is not used: {why_not_given}" if why_not_given else shown)


def _close_command(folder: Path) -> str:
    """Return the command that denies other users the access to a folder of the current user.

    The command is empty if the folder belongs to another user, or is not open to other users.
    """
    with suppress(OSError):
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and status.st_mode & 0o77:
            return f"chmod go-rwx {shlex.quote(str(folder))}"
    return ""


CHECKS = (
    HostCheck("python", "Python, and the modules of the extra `vm`.", check_python, (NO_MODULES,)),
    HostCheck("system", "The processor of the host.", check_system, (NO_GUESTS,)),
    HostCheck("memory", "Memory for a guest.", check_memory, (TOO_SMALL,)),
    HostCheck(
        "limits",
        "The limits of this process, which QEMU inherits.",
        check_limits,
        (FEW_FILES, FEW_ADDRESSES, FEW_PROCESSES),
    ),
    HostCheck("config", "Presets of options.", check_config, (WRONG_PRESET,)),
    HostCheck("named", "The folder of named machines.", check_runtime, (NO_RUNTIME,)),
)
