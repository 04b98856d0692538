"""The confinement of QEMU: layers that restrict QEMU in case a guest takes control of it.

The launcher sets up each layer that this host supports, and reports which; see docs/security.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from microvm import arches
from microvm.errors import ConfinementError, QemuError
from microvm.qemu.command_line import Inherited, QemuConfig
from microvm.system import platform

UIDS = 0x7C000000
"""Base of the uids of QEMU processes that root starts. The uid of a process is this number plus its
PID, which is at most 2 ** 22. systemd, FreeIPA and container engines assign only lower uids."""


class ConfinementLayer(NamedTuple):
    """A layer of QEMU's confinement, such as the filter of system calls.

    :ivar prevents: Actions of QEMU that the layer prevents.
    :ivar needs: Requirements of the layer on the host.
    :ivar help: Advice for the user if the layer is missing.
    """

    name: str
    prevents: str
    needs: str
    help: str


_USER = "unprivileged user namespaces; for root, CAP_SYS_ADMIN"
_ALLOW = (
    "allow user namespaces: `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, "
    "`kernel.unprivileged_userns_clone=1`, or `user.max_user_namespaces` above 0; in a container, "
    "change its seccomp profile"
)

LAYERS = (
    ConfinementLayer(
        "ids",
        "privileges: QEMU has no capabilities, and gains none by set-user-ID programs; if root "
        "starts QEMU, it gets a uid that no other process has",
        "Linux; for root, CAP_SETUID, CAP_SETGID and the uids",
        "start microvm as an ordinary user, or give the container CAP_SETUID, CAP_SETGID and the "
        f"uids from {UIDS}; until then QEMU shares its uid with other processes, but has no "
        "capabilities",
    ),
    ConfinementLayer(
        "limits",
        "unlimited use of memory, open files, threads and file sizes; core dumps",
        "Linux",
        "raise the limits of this process: `ulimit -a` shows them",
    ),
    ConfinementLayer(
        "landlock",
        "access to files other than those of QEMU's packages and of its machine; TCP (Linux 6.7); "
        "signals to other processes, and their abstract sockets (Linux 6.12)",
        "Linux 5.13, with landlock among its security modules",
        "boot a kernel with Landlock: /sys/kernel/security/lsm must contain `landlock`",
    ),
    ConfinementLayer(
        "seccomp",
        "system calls other than those that QEMU was measured to make: none of these opens a "
        "connection, starts a process or controls another process",
        "Linux with CONFIG_SECCOMP_FILTER",
        "boot a kernel with CONFIG_SECCOMP_FILTER",
    ),
    ConfinementLayer(
        "mount",
        "access to the files that landlock forbids: QEMU's root lacks them, and is read-only",
        _USER,
        _ALLOW,
    ),
    ConfinementLayer("user", "use of capabilities against the host", _USER, _ALLOW),
    ConfinementLayer("pid", "access to other processes", _USER, _ALLOW),
    ConfinementLayer("net", "use of networks and abstract sockets", _USER, _ALLOW),
    ConfinementLayer(
        "ipc",
        "access to shared memory and message queues of other processes (System V and POSIX)",
        _USER,
        _ALLOW,
    ),
    ConfinementLayer("uts", "changes of the host name", _USER, _ALLOW),
    ConfinementLayer(
        "cgroup",
        "use of more memory, processor time and threads in total than the machine needs",
        "cgroup v2, and write access to the parent cgroup",
        "start microvm with `systemd-run --user --scope`",
    ),
)
"""All layers of QEMU's confinement, in the order in which users see them."""

_DISABLED = "disabled"  # the report about the layer `user` of a launcher that root runs
_NOT_FOR_ROOT = "nothing to do: for root, each machine has its own uid, which is stronger"
_NOT_WITHOUT_IDS = "see `ids`: root uses one uid per machine instead, but cannot do so here"
_NO_THREADS = "threads are not limited: the kernel would count other processes of the same uid"

DEMANDED = (("ids",), ("limits",), ("seccomp",), ("landlock", "mount"))
"""The layers that `--confinement require` demands: at least one layer of each tuple."""

# Layers that stay active with `--confinement off`: only `ids`, which removes QEMU's privileges.
_ALWAYS = ("ids",)

# Folders and files that QEMU may read: programs, libraries and data, which every user can read.
_READ = (
    *("/usr", "/bin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store"),
    *("/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/alternatives", "/etc/localtime"),
)
# Folders that QEMU may also read if it is not in /usr: those of its prefix, and of Homebrew.
_PREFIX = ("lib", "lib64", "libexec", "share/qemu", "share/seabios")
_CELLAR = "Cellar"
_HOMEBREW = (_CELLAR, "opt")

_MIB = 1 << 20

# Maximum numbers of open files and threads. With one CPU, QEMU 10 was measured to use 25 files and
# 5 threads. Each further CPU adds a thread, and disks add at most 64. QEMU aborts if it cannot
# start a thread.
_OPEN_FILES = 256
_THREADS = 128
_DEVICES = 64 * _MIB  # more bytes than the saved state of all devices needs
# Address space of QEMU apart from the guest's memory. With one CPU, 1.4 GiB were measured, of which
# 1 GiB is for translated code. Each further CPU adds 64 MiB. Besides, each thread of QEMU may need
# 72 MiB, for a stack and an arena of the allocator.
_ADDRESS_SPACE = 8192 * _MIB
# Memory of QEMU apart from the guest's memory. 100 MiB were measured, but translated code may use
# up to 1 GiB.
_OVERHEAD = 2048 * _MIB
_SYS_RESOURCE = 1 << 24  # the bit of CAP_SYS_RESOURCE in a set of capabilities(7)
_PERIOD = 100_000  # period of the CPU limit in microseconds; the default of cgroups


class LayerResult(NamedTuple):
    """The launcher's result for one layer of QEMU's confinement.

    :ivar text: Details of the active layer, or the reason why it is missing.
    :ivar help: Advice for the user; empty if there is none, or before :func:`with_help`.
    """

    layer: str
    holds: bool
    text: str
    help: str = ""


class LauncherReport:
    """The report of the launcher on QEMU's confinement, parsed from lines of text as they arrive.

    :ivar pid: PID of the program; None while it is unknown.
    :ivar failure: Reason why the program was not executed; empty if it was, or is not yet known.
    """

    def __init__(self) -> None:
        self.pid: int | None = None
        self.results: dict[str, LayerResult] = {}
        self.failure = ""
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Parse the next bytes of the launcher's report, which may end within a line."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(*line.decode(errors="replace").partition(" ")[::2])

    def _take(self, word: str, rest: str) -> None:
        if word == "pid" and rest.isdecimal():  # `pid` without a number is the name of a layer
            self.pid = int(rest)
        elif word == "failed":
            self.failure = rest
        else:
            verdict, _, text = rest.partition(" ")
            self.results[word] = LayerResult(word, verdict == "ok", text)

    def check(self, *, required: bool) -> None:
        """Raise a QemuError if the program was not executed.

        If `required`, also raise a ConfinementError if a layer of `DEMANDED` is missing.
        """
        if self.failure:
            hint = "MICROVM_LOG=debug shows QEMU's command line"
            raise QemuError(f"cannot start QEMU: {self.failure}", hint=hint)
        if required and (absent := missing(self.results)):
            raise ConfinementError(
                f"QEMU lacks confinement that `require` demands: {'; '.join(absent)}",
                hint="run `microvm confinement`, which shows how to enable it",
            )

    def __str__(self) -> str:
        def listed(*, holds: bool) -> str:
            found = [each for each in self.results.values() if each.holds == holds]
            return ", ".join(f"{x.layer} ({x.text})" if x.text else x.layer for x in found)

        lost = listed(holds=False)
        return (listed(holds=True) or "nothing") + (f"; without {lost}" if lost else "")


def with_help(results: Mapping[str, LayerResult]) -> Mapping[str, LayerResult]:
    """Return the layers' results in the order of `LAYERS`, with advice for each missing layer."""

    def help_for(layer: ConfinementLayer, result: LayerResult) -> str:
        if result.help:
            return result.help
        if result.holds:
            lacks_threads = layer.name == "limits" and "threads" not in result.text.split()
            return _NO_THREADS if lacks_threads else ""
        if layer.name == "user" and result.text == _DISABLED:
            return _NOT_FOR_ROOT if results["ids"].holds else _NOT_WITHOUT_IDS
        return layer.help

    return {
        layer.name: found._replace(help=help_for(layer, found))
        for layer in LAYERS
        if (found := results.get(layer.name))
    }


def missing(results: Mapping[str, LayerResult]) -> list[str]:
    """Return a description of each missing layer that `--confinement require` demands."""

    def why(name: str) -> str:
        return f"no {name} ({results[name].text})" if name in results else f"no {name}"

    return [
        " and ".join(map(why, names))
        for names in DEMANDED
        if not any(name in results and results[name].holds for name in names)
    ]


def launcher_options(
    config: QemuConfig,
    inherited: Inherited,
    program: Path,
    *,
    controller: int,
    status: int,
    root: bool,
    group: int | None = None,
    device: Path | None = None,
    cgroup: int | None = None,
) -> list[str]:
    """Return the launcher's options: its parent `controller`, its socket `status`, QEMU's rights.

    :param controller: PID of the process that spawns the launcher. The kernel kills QEMU when that
        process exits.
    :param status: Descriptor of the socket to which the launcher writes its report.
    :param root: True if the controller is root.
    :param group: The only group that QEMU keeps, if the controller is root.
    :param device: Path of the device that accelerates the guest; None under emulation.
    :param cgroup: Descriptor of the file `cgroup.procs` of QEMU's cgroup; None for no cgroup.
    """
    options = ["--controller", str(controller), "--status", str(status)]
    if root:
        options += ["--uid", str(UIDS)]
        options += [] if group is None else ["--group", str(group)]
        # QEMU's own uid has no right to open these files, so the launcher must give QEMU access.
        options += _each("--file", inherited.read_only())
    if config.confinement == "off":
        return [*options, *_each("--without", (x.name for x in LAYERS if x.name not in _ALWAYS))]
    options += _each("--read", readable(program))
    options += [] if root else _each("--file", inherited.read_only())
    options += _each("--disk", inherited.disks())
    options += _each("--writable", inherited.writable())
    options += [] if device is None else ["--device", str(device)]
    options += _each("--limit", (f"{name}={value}" for name, value in limits(config, inherited)))
    return options if cgroup is None else [*options, "--cgroup", str(cgroup)]


def limits(config: QemuConfig, inherited: Inherited) -> Sequence[tuple[str, int]]:
    """Return the names and values of QEMU's resource limits, for options of the launcher."""
    saves = inherited.memory is not None and not inherited.memory.saved
    return [
        # QEMU needs a high limit of the file size to save its guest to a file. If we may raise the
        # limit of a running QEMU, set a low limit first, and raise it while QEMU saves the guest.
        ("file-size", saved_size(config) if saves or not may_raise() else config.scratch),
        ("address-space", config.memory * _MIB + _ADDRESS_SPACE + config.cpus * 256 * _MIB),
        ("open-files", _OPEN_FILES + 16 * config.cpus),
        ("threads", _THREADS + 2 * config.cpus),
    ]


def saved_size(config: QemuConfig) -> int:
    """Return the maximum size in bytes of a file that QEMU writes to save or copy a guest."""
    guest = (config.memory + arches.find(config.arch).flash) * _MIB
    return max(config.scratch, guest + guest // 64 + _DEVICES)


def may_raise() -> bool:
    """Return whether we may raise a limit of a running QEMU; root in a container may not."""
    if os.geteuid() != 0:
        return True
    for line in platform.proc("self/status").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) & _SYS_RESOURCE)
    return False


def bounds(config: QemuConfig) -> Mapping[str, str]:
    """Return the limits of a machine's cgroup, by the names of its files, see cgroups(7)."""
    return {
        # Twice the guest's memory, because a memory file has a copy of it during a migration.
        "memory.max": str(2 * config.memory * _MIB + _OVERHEAD),
        "pids.max": str(_THREADS + 2 * config.cpus),
        "cpu.max": f"{(config.cpus + 1) * _PERIOD} {_PERIOD}",  # one more, for QEMU's own work
    }


def readable(program: Path) -> list[str]:
    """Return the paths of QEMU's program, libraries and firmware. Some may not exist."""
    real = program.resolve()
    found = [*_READ, str(program), str(real)]
    for each in (program, real):
        if not each.is_relative_to("/usr"):
            found += [str(each.parent.parent / part) for part in _PREFIX]
    if _CELLAR in real.parts:
        above = Path(*real.parts[: real.parts.index(_CELLAR)])
        found += [str(above / part) for part in _HOMEBREW]
    return list(dict.fromkeys(found))


def _each(name: str, values: Iterable[object]) -> list[str]:
    return [word for value in values for word in (name, str(value))]
