"""The checks of the host: Python, the system, memory, limits."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from microvm.arches import ARCHES
from microvm.cli.checks.check import CheckResult, EarlierResults, HostCheck, HostFault, ok
from microvm.errors import MicroVMError, UsageError
from microvm.units import MINIMUM_MEMORY

_MIB = 1 << 20

# Measured: beside its guest's, QEMU takes 1.5 GiB of addresses; a clone takes 22 open files.
_ADDRESS_SPACE = 1536 * _MIB
_FILES_AT_LEAST, _FILES = 24, 256
_PROCESSES = 64
_MEMINFO = Path("/proc/meminfo")
_CGROUP, _CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")

NO_MODULES = HostFault(
    "failed",
    "the Python modules of the extra `vm` are missing: {modules}",
    "{python} -m pip install {modules}",
    "`microvm` was installed without what runs machines",
)
NOT_INSTALLED = HostFault(
    "note",
    "microvm was not installed, so what it needs is not known",
    "{python} -m pip install --editable {sources}",
    "as where PYTHONPATH names its sources",
)


def python(_: EarlierResults) -> CheckResult:
    """Import what the extra brings."""
    from microvm.cli.checks import requirements

    try:
        missing = requirements.missing("vm")
    except PackageNotFoundError:
        sources = f"{Path(__file__).parents[4]}[vm]"
        return NOT_INSTALLED.found(python=sys.executable, sources=sources)
    if missing:
        mend = requirements.install(*missing)
        return NO_MODULES.found(mend=mend, modules=", ".join(missing))
    version = ".".join(map(str, sys.version_info[:3]))
    return ok(f"Python {version} at {sys.executable}")


NO_GUESTS = HostFault(
    "failed",
    "there are no guests for this kind of processor: {arch}",
    hint=f"take a host of one of {', '.join(ARCHES)}",
)
NOT_LINUX = HostFault(
    "note",
    "this is {system}: QEMU is not confined here, and nothing of this is tested",
    hint="take a host with Linux",
)


def system(_: EarlierResults) -> CheckResult:
    """Find the guest's architecture."""
    from microvm import arches

    host = os.uname()
    try:
        arches.find()
    except UsageError:
        return NO_GUESTS.found(arch=host.machine)
    if sys.platform != "linux":
        return NOT_LINUX.found(system=host.sysname)
    return ok(f"{host.sysname} {host.release} on {host.machine}")


TOO_SMALL = HostFault(
    "failed",
    "all processes together may have {usable} of memory: a guest of {guest} does not fit",
    f"export MICROVM_MEMORY={MINIMUM_MEMORY >> 20}M",
    "the host's memory, or the limit of a cgroup (v2) around us",
    "or raise memory.max of the cgroup around us",
)
NOT_NOW = HostFault(
    "note",
    "{available} of memory are free now: a guest of {guest} may not fit",
    "ps aux --sort=-rss | head",
    hint="that shows what takes most of it",
)


def memory(_: EarlierResults) -> CheckResult:
    """Compare what there is with what a guest has where nobody says otherwise."""
    from microvm.system.capacity import usable_memory
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
    from microvm.cli.presets import Presets
    from microvm.option import options_of
    from microvm.options import PoolOptions

    option = options_of(PoolOptions)["memory"]
    preset = None
    with suppress(UsageError):  # of which another check is
        preset = Presets().find("memory", "run")
    return int(option.check(preset.value if preset else option.default))


def _available() -> int | None:
    """Return what the host says is left, in bytes; None where it does not."""
    with suppress(OSError, ValueError, IndexError):
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return None


_AS_ROOT = "where the hard limit is lower, root has to raise it"

FEW_FILES = HostFault(
    "note",
    "this process may have {limit} open files: enough for few machines at a time",
    "ulimit -Sn 1024",
    _AS_ROOT,
)
NO_FILES = HostFault(
    "failed",
    "this process may have {limit} open files: too few for a machine",
    "ulimit -Sn 1024",
    _AS_ROOT,
)
FEW_PROCESSES = HostFault(
    "note",
    "{left} more processes may be had: each machine takes some, as it has threads",
    "ulimit -Su 4096",
    _AS_ROOT,
)
CROWDED = HostFault(
    "note",
    "{left} more processes may be had in {folder}: each machine takes some, as it has threads",
    "echo max | sudo tee {folder}/pids.max",
    "a cgroup around us has a limit",
)
SHORT_FILES = HostFault(
    "note",
    "no file may be longer than {limit}: no guest can be saved, and each start is a boot",
    "ulimit -Sf unlimited",
    _AS_ROOT,
)
FEW_ADDRESSES = HostFault(
    "failed",
    "a process may have {limit} of addresses, and QEMU takes more",
    "ulimit -Sv unlimited",
    _AS_ROOT,
)


def limits(_: EarlierResults) -> CheckResult:
    """Look at the limits that this process hands on to QEMU; locked memory is not among them."""
    import resource

    from microvm.units import format_size

    def soft(kind: int) -> int | None:
        value = resource.getrlimit(kind)[0]
        return None if value == resource.RLIM_INFINITY else value

    files = soft(resource.RLIMIT_NOFILE)
    addresses, longest = soft(resource.RLIMIT_AS), soft(resource.RLIMIT_FSIZE)
    if files is not None and files < _FILES_AT_LEAST:
        return NO_FILES.found(limit=files, mend=_raised("-Sn", "nofile", 1024))
    if addresses is not None and addresses < _guest_memory() + _ADDRESS_SPACE:
        return FEW_ADDRESSES.found(limit=format_size(addresses), mend=_raised("-Sv", "as"))
    if longest is not None and longest < _guest_memory() + 68 * _MIB:  # as it is saved
        return SHORT_FILES.found(limit=format_size(longest), mend=_raised("-Sf", "fsize"))
    left, folder = min(_processes_left(), default=(_PROCESSES, None))
    if left < _PROCESSES and folder:
        return CROWDED.found(left=max(left, 0), folder=folder)
    if left < _PROCESSES:
        return FEW_PROCESSES.found(left=max(left, 0), mend=_raised("-Su", "nproc", 4096))
    if files is not None and files < _FILES:
        return FEW_FILES.found(limit=files, mend=_raised("-Sn", "nofile", 1024))
    return ok(f"{'any number of' if files is None else files} open files")


def _raised(flag: str, name: str, wanted: int | None = None) -> str:
    """Return the command that raises a limit of the shell that we are started by.

    :param flag: what `ulimit` calls it.
    :param name: what prlimit(1) calls it.
    :param wanted: None is without a limit.
    """
    import resource

    hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
    value = wanted or "unlimited"
    if hard == resource.RLIM_INFINITY or (wanted and hard >= wanted):
        return f"ulimit {flag} {value}"
    return f"sudo prlimit --pid $$ --{name}={value}:{value}"


def _processes_left() -> Iterator[tuple[int, str]]:
    """Yield how many more there may be, and the cgroup that says so; none is our own limit."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:  # whom it does not bind
        yield limit - _own_threads(), ""
    with suppress(OSError, ValueError, StopIteration):
        lines = _CGROUP.read_text().splitlines()
        path = next(line[4:] for line in lines if line.startswith("0::/"))
        for folder in (here := _CGROUPS / path, *here.parents):
            with suppress(OSError, ValueError):  # there is none at the root, or "max"
                most = int((folder / "pids.max").read_text())
                yield most - int((folder / "pids.current").read_text()), str(folder)


def _own_threads() -> int:
    """Return how many threads our user has, as far as can be seen."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.stat().st_uid == os.getuid():
                count += len(os.listdir(process / "task"))  # noqa: PTH208 - by the thousand
    return count


WRONG_DEFAULTS = HostFault(
    "failed",
    "{file}: {why}",
    "export MICROVM_NO_CONFIG=1",
    "a file of defaults is wrong, or cannot be read; [config.md](config.md)",
    "`microvm config` shows the line that is wrong",
)
WRONG_VARIABLE = HostFault("failed", "MICROVM_{name}: {why}", "unset MICROVM_{name}")


def config(_: EarlierResults) -> CheckResult:
    """Read the defaults that variables and files give."""
    from microvm.cli.presets import Presets

    try:
        found = Presets()
    except UsageError as error:
        file, why = error.message.split(": ", 1)
        if file.startswith("MICROVM_"):
            return WRONG_VARIABLE.found(
                name=file.removeprefix("MICROVM_"), why=why, hint=error.hint
            )
        return WRONG_DEFAULTS.found(file=file, why=why)
    read = [str(file.path) for file in found.files if file.state == "read"]
    return ok(", ".join(read) or "no file of defaults is read")


NO_FOLDER = HostFault(
    "note",
    "the folder of named machines, {folder}, cannot be used: {why}",
    'export XDG_RUNTIME_DIR="$(mktemp -d)"',
    "`microvm start` cannot start any; `microvm run` needs none",
    "or name another folder of your own, which nobody else can enter",
)
ELSEWHERE = HostFault(
    "note",
    "named machines are in {folder}, and not in XDG_RUNTIME_DIR, {given}: {why}",
    "unset XDG_RUNTIME_DIR",
    "the folder itself can be used; one that is yours and that others can write to is mended by "
    "`chmod go-w`",
)


def runtime(_: EarlierResults) -> CheckResult:
    """See whether there can be named machines."""
    from microvm.supervisor.runtime_directory import RuntimeDirectory, location

    where = Path(location()[0])
    try:
        with RuntimeDirectory() as folder:
            is_there = folder.descriptor >= 0
    except MicroVMError as error:
        return NO_FOLDER.of(error, mend=_closed(where) or NO_FOLDER.mend)
    above = where.parent
    if not is_there and not os.access(above, os.W_OK | os.X_OK, effective_ids=True):
        return NO_FOLDER.found(folder=where, why=f"{above} cannot be written, or is not there")
    if why := location()[1]:
        given = os.environ["XDG_RUNTIME_DIR"]
        mend = _closed(Path(given)) or ELSEWHERE.mend
        return ELSEWHERE.found(folder=where, given=given, why=why, mend=mend)
    return ok(f"{where}{'' if is_there else ', which is made by the first start'}")


def _closed(folder: Path) -> str:
    """Return the command that closes a folder of ours to others; empty if that is not its flaw."""
    with suppress(OSError):
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and status.st_mode & 0o77:
            return f"chmod go-rwx {shlex.quote(str(folder))}"
    return ""


CHECKS = (
    HostCheck(
        "python", "Python, and the modules of the extra `vm`.", python, (NO_MODULES, NOT_INSTALLED)
    ),
    HostCheck("system", "The host's kernel and processor.", system, (NO_GUESTS, NOT_LINUX)),
    HostCheck("memory", "Memory for a guest.", memory, (TOO_SMALL, NOT_NOW)),
    HostCheck(
        "limits",
        "What this process, and with it QEMU, may have.",
        limits,
        (NO_FILES, FEW_ADDRESSES, SHORT_FILES, FEW_PROCESSES, CROWDED, FEW_FILES),
    ),
    HostCheck("config", "Defaults of yours.", config, (WRONG_DEFAULTS, WRONG_VARIABLE)),
    HostCheck("named", "The folder of named machines.", runtime, (NO_FOLDER, ELSEWHERE)),
)
