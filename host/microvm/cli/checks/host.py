"""The checks of the host: Python, the system, memory, limits."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from microvm.cli.checks.check import Check, Context, Fault, Finding, ok
from microvm.errors import MicroVMError, UsageError, how_to_install

_MIB = 1 << 20

# Measured: beside its guest's, QEMU takes 1.5 GiB of addresses; a clone takes 22 open files.
_ADDRESS_SPACE = 1536 * _MIB
_FILES_AT_LEAST, _FILES = 24, 256
_PROCESSES = 64
_MEMINFO = Path("/proc/meminfo")

NO_MODULES = Fault(
    "failed",
    "the Python modules of the extra `vm` are missing: {modules}",
    how_to_install("vm"),
    "`microvm` was installed without what runs machines",
)


def python(_: Context) -> Finding:
    """Import what the extra brings."""
    missing = []
    for name in ("platformdirs", "qemu.qmp", "rich"):
        try:
            import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        return NO_MODULES.found(modules=", ".join(missing))
    version = ".".join(map(str, sys.version_info[:3]))
    return ok(f"Python {version} at {sys.executable}")


NO_GUESTS = Fault(
    "failed",
    "there are no guests for this kind of processor: {arch}",
    "take a host of one of x86_64, aarch64",
)
NOT_LINUX = Fault(
    "note",
    "this is {system}: QEMU is not confined here, and nothing of this is tested",
    "take a host with Linux",
)


def system(_: Context) -> Finding:
    """Find the guest's architecture."""
    from microvm import arch

    host = os.uname()
    try:
        arch.find()
    except UsageError:
        return NO_GUESTS.found(arch=host.machine)
    if sys.platform != "linux":
        return NOT_LINUX.found(system=host.sysname)
    return ok(f"{host.sysname} {host.release} on {host.machine}")


TOO_SMALL = Fault(
    "failed",
    "all processes together may have {usable} of memory: a guest of {guest} does not fit",
    "`microvm run --memory 128M`, or raise memory.max of the cgroup around us",
    "the host's memory, or the limit of a cgroup (v2) around us",
)
NOT_NOW = Fault(
    "note",
    "{available} of memory are free now: a guest of {guest} may not fit",
    "end what takes it: `ps aux --sort=-rss | head`",
)


def memory(_: Context) -> Finding:
    """Compare what there is with what a guest has by default."""
    from microvm.capacity import usable_memory
    from microvm.units import format_size

    usable, available, guest = usable_memory(), _available(), _guest_memory()
    if usable is not None and usable < guest:
        return TOO_SMALL.found(usable=format_size(usable), guest=format_size(guest))
    if available is not None and available < guest:
        return NOT_NOW.found(available=format_size(available), guest=format_size(guest))
    parts = [(usable, "in all"), (available, "free now")]
    known = [f"{value / (1 << 30):.1f} GiB {what}" for value, what in parts if value is not None]
    return ok(", ".join(known) or "nobody knows how much: /proc is hidden")


def _guest_memory() -> int:
    from microvm.option import options_of
    from microvm.options import PoolOptions

    option = options_of(PoolOptions)["memory"]
    return int(option.check(option.default))


def _available() -> int | None:
    """Return what the host says is left, in bytes; None where it does not."""
    with suppress(OSError, ValueError, IndexError):
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return None


FEW_FILES = Fault(
    "note",
    "this process may have {limit} open files: enough for few machines at a time",
    "ulimit -n 1024",
)
NO_FILES = Fault(
    "failed", "this process may have {limit} open files: too few for a machine", "ulimit -n 1024"
)
FEW_PROCESSES = Fault(
    "note",
    "{left} more processes may be had: each machine takes some, as it has threads",
    "`ulimit -u 4096`, or raise pids.max of the cgroup around us",
)
SHORT_FILES = Fault(
    "note",
    "no file may be longer than {limit}: no guest can be saved, and each start is a boot",
    "ulimit -f unlimited",
)
FEW_ADDRESSES = Fault(
    "failed",
    "a process may have {limit} of addresses, and QEMU takes more",
    "ulimit -v unlimited",
)


def limits(_: Context) -> Finding:
    """Look at the limits that this process hands on to QEMU; locked memory is not among them."""
    import resource

    from microvm.units import format_size

    def soft(kind: int) -> int | None:
        value = resource.getrlimit(kind)[0]
        return None if value == resource.RLIM_INFINITY else value

    files = soft(resource.RLIMIT_NOFILE)
    addresses, longest = soft(resource.RLIMIT_AS), soft(resource.RLIMIT_FSIZE)
    if files is not None and files < _FILES_AT_LEAST:
        return NO_FILES.found(limit=files)
    if addresses is not None and addresses < _guest_memory() + _ADDRESS_SPACE:
        return FEW_ADDRESSES.found(limit=format_size(addresses))
    if longest is not None and longest < _guest_memory() + 68 * _MIB:  # as it is saved
        return SHORT_FILES.found(limit=format_size(longest))
    if (left := min(_processes_left(), default=None)) is not None and left < _PROCESSES:
        return FEW_PROCESSES.found(left=max(left, 0))
    if files is not None and files < _FILES:
        return FEW_FILES.found(limit=files)
    return ok(f"{'any number of' if files is None else files} open files")


def _processes_left() -> Iterator[int]:
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:  # whom it does not bind
        yield limit - _own_threads()
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        path = next(line[4:] for line in lines if line.startswith("0::/"))
        for folder in (here := Path("/sys/fs/cgroup", path), *here.parents):
            with suppress(OSError, ValueError):  # there is none at the root, or "max"
                most = int((folder / "pids.max").read_text())
                yield most - int((folder / "pids.current").read_text())


def _own_threads() -> int:
    """Return how many threads our user has, as far as can be seen."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.stat().st_uid == os.getuid():
                count += len(os.listdir(process / "task"))  # noqa: PTH208 - by the thousand
    return count


WRONG_DEFAULTS = Fault(
    "failed",
    "{file}: {why}",
    "microvm config",
    "a file of defaults is wrong, and that command shows in which line, or it cannot be read; "
    "[config.md](config.md)",
)
WRONG_VARIABLE = Fault("failed", "MICROVM_{name}: {why}", "unset MICROVM_{name}")


def config(_: Context) -> Finding:
    """Read the defaults that variables and files give."""
    from microvm.cli.presets import Presets

    try:
        found = Presets()
    except UsageError as error:
        if error.message.startswith("MICROVM_"):
            return WRONG_VARIABLE.of(error)
        file, why = error.message.split(": ", 1)
        return WRONG_DEFAULTS.found(file=file, why=why)
    read = [str(file.path) for file in found.files if file.state == "read"]
    return ok(", ".join(read) or "no file of defaults is read")


NO_FOLDER = Fault(
    "note",
    "the folder of named machines, {folder}, cannot be used: {why}",
    "name a folder of your own, which nobody else can enter, with XDG_RUNTIME_DIR",
    "`microvm start` cannot start any; `microvm run` needs none",
)


def runtime(_: Context) -> Finding:
    """See whether there can be named machines."""
    from microvm.supervisor.runtime import Runtime

    try:
        with Runtime() as folder:
            where, is_there = Path(folder.path), folder.descriptor >= 0
    except MicroVMError as error:
        return NO_FOLDER.of(error)
    if is_there:
        return ok(str(where))
    above = where.parent
    if not os.access(above, os.W_OK | os.X_OK, effective_ids=True):
        return NO_FOLDER.found(folder=where, why=f"{above} cannot be written, or is not there")
    return ok(f"{where}, which is made by the first start")


CHECKS = (
    Check("python", "Python, and the modules of the extra `vm`.", python, (NO_MODULES,)),
    Check("system", "The host's kernel and processor.", system, (NO_GUESTS, NOT_LINUX)),
    Check("memory", "Memory for a guest.", memory, (TOO_SMALL, NOT_NOW)),
    Check(
        "limits",
        "What this process, and with it QEMU, may have.",
        limits,
        (NO_FILES, FEW_ADDRESSES, SHORT_FILES, FEW_PROCESSES, FEW_FILES),
    ),
    Check("config", "Defaults of yours.", config, (WRONG_DEFAULTS, WRONG_VARIABLE)),
    Check("named", "The folder of named machines.", runtime, (NO_FOLDER,)),
)
