"""The confinement of QEMU: layers, each of which holds back what has taken it over.

The launcher puts on each that this host has, and says which; see docs/security.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from microvm.errors import ConfinementError, QemuError
from microvm.qemu.command_line import Inherited, QemuConfig

UIDS = 0x7C000000
"""The first uid of machines whose controller is root: each has this plus its process id, which is
at most 2 ** 22. It is above what systemd, FreeIPA and container engines give away."""


class ConfinementLayer(NamedTuple):
    """A layer of the confinement.

    :ivar holds_back: what it holds back.
    :ivar needs: what of a host it takes.
    :ivar help: what to do where it is missing.
    """

    name: str
    holds_back: str
    needs: str
    help: str


_USER = "unprivileged user namespaces; of root, CAP_SYS_ADMIN"
_ALLOW = (
    "allow user namespaces: `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, "
    "`kernel.unprivileged_userns_clone=1`, or `user.max_user_namespaces` above 0; of a container, "
    "by its seccomp profile"
)

LAYERS = (
    ConfinementLayer(
        "ids",
        "privileges: it has no capability, and gains nothing by set-user-ID programs; started by "
        "root, it has a uid that no other process has",
        "Linux; of root, CAP_SETUID, CAP_SETGID and the uids",
        "start it as an ordinary user, or give the container CAP_SETUID, CAP_SETGID, and uids from "
        f"{UIDS} on; until then QEMU has a uid that others have, and no capability all the same",
    ),
    ConfinementLayer(
        "limits",
        "use without bounds of memory, open files, threads and the size of files; a core dump",
        "Linux",
        "look at the limits that this process itself has: `ulimit -a`",
    ),
    ConfinementLayer(
        "landlock",
        "files but those of QEMU's own packages, and what it was handed; TCP (Linux 6.7); signals "
        "and abstract sockets of others (Linux 6.12)",
        "Linux 5.13, with landlock among its security modules",
        "boot a kernel that has it, with `landlock` in /sys/kernel/security/lsm",
    ),
    ConfinementLayer(
        "seccomp",
        "system calls but those that QEMU was measured to make: none that opens a connection, "
        "starts a process or reaches another",
        "Linux with CONFIG_SECCOMP_FILTER",
        "boot a kernel that has it",
    ),
    ConfinementLayer(
        "mount", "files, as landlock does: its root has nothing else, read-only", _USER, _ALLOW
    ),
    ConfinementLayer("user", "what a capability could do to the host", _USER, _ALLOW),
    ConfinementLayer("pid", "other processes", _USER, _ALLOW),
    ConfinementLayer("net", "networks, and abstract sockets", _USER, _ALLOW),
    ConfinementLayer("ipc", "shared memory and queues of System V and POSIX", _USER, _ALLOW),
    ConfinementLayer("uts", "the host's name", _USER, _ALLOW),
    ConfinementLayer(
        "cgroup",
        "memory, processor time and threads beyond its machine's, all together",
        "cgroup v2, with the group above ours delegated to us",
        "start it by `systemd-run --user --scope`",
    ),
)
"""The layers, in the order in which people are told of them."""

_LEFT_OUT = "left out"  # as the launcher says it of root, who has uids in its place
_NOT_FOR_ROOT = "nothing: root has a uid for each machine, which does more"
_NOT_WITHOUT_IDS = "what helps `ids`: root has a uid for each machine in its place, but not here"
_NO_THREADS = "threads are left out: other processes of its uid would be counted as well"

DEMANDED = (("ids",), ("limits",), ("seccomp",), ("landlock", "mount"))
"""What `require` refuses to start without: of each of these one layer."""

# What stays when it is off: a machine must not outlive its controller, or gain what that has.
_ALWAYS = ("ids",)

# What QEMU executes and reads, wherever its packages put it; none of it is private to anybody.
_READ = (
    *("/usr", "/bin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store"),
    *("/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/alternatives", "/etc/localtime"),
)
# Beside a program that is elsewhere, in the folder above its own; and above all of Homebrew's.
_PREFIX = ("lib", "lib64", "libexec", "share/qemu", "share/seabios")
_CELLAR = "Cellar"
_HOMEBREW = (_CELLAR, "opt")

_MIB = 1 << 20

# QEMU 10 was measured at 25 files and 5 threads, and one thread more for each further CPU. Its
# disks may take 64 threads, and where it gets no thread, it aborts.
_OPEN_FILES = 256
_THREADS = 128
_DEVICES = 64 * _MIB  # more than what is saved of them
# Measured beside its guest's: 1.4 GiB, of which 1 GiB is for translated code, and 64 MiB for each
# further CPU; each thread may want 72 MiB of it, for a stack and an allocator's arena.
_ADDRESS_SPACE = 8192 * _MIB
# Measured beside its guest's: 100 MiB; translated code may come to take all of its 1 GiB.
_OVERHEAD = 2048 * _MIB
_SYS_RESOURCE = 1 << 24  # CAP_SYS_RESOURCE, capabilities(7)
_PERIOD = 100_000  # in microseconds, which is cgroup's own default


class LayerResult(NamedTuple):
    """What the launcher has found of a layer.

    :ivar holds: whether it holds.
    :ivar text: what there is of it, or why it is missing.
    :ivar help: what to do about that; empty where nothing is, or before :func:`helped`.
    """

    layer: str
    holds: bool
    text: str
    help: str = ""


class LauncherReport:
    """What the launcher has said so far, in lines of text.

    :ivar pid: the process that has become the program; None while that is not known.
    :ivar findings: by the names of layers.
    :ivar failure: why the program was not executed; empty if it was, or that is not known.
    """

    def __init__(self) -> None:
        self.pid: int | None = None
        self.findings: dict[str, LayerResult] = {}
        self.failure = ""
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take what has come of it."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(*line.decode(errors="replace").partition(" ")[::2])

    def _take(self, word: str, rest: str) -> None:
        if word == "pid" and rest.isdecimal():  # which is the name of a layer, too
            self.pid = int(rest)
        elif word == "failed":
            self.failure = rest
        else:
            verdict, _, text = rest.partition(" ")
            self.findings[word] = LayerResult(word, verdict == "ok", text)

    def check(self, *, required: bool) -> None:
        """Check that the program was executed, and with the layers that must be there.

        :raises ConfinementError: some of these are missing.
        :raises QemuError: it was not executed.
        """
        if self.failure:
            hint = "MICROVM_LOG=debug shows how it was to be started"
            raise QemuError(f"cannot start QEMU: {self.failure}", hint=hint)
        if required and (wanting := missing(self.findings)):
            raise ConfinementError(
                f"QEMU is not confined as `require` has it: {'; '.join(wanting)}",
                hint="`microvm confinement` says what to do",
            )

    def __str__(self) -> str:
        def listed(*, holds: bool) -> str:
            found = [each for each in self.findings.values() if each.holds == holds]
            return ", ".join(f"{x.layer} ({x.text})" if x.text else x.layer for x in found)

        lost = listed(holds=False)
        return (listed(holds=True) or "nothing") + (f"; without {lost}" if lost else "")


def helped(findings: Mapping[str, LayerResult]) -> Mapping[str, LayerResult]:
    """Return findings in the order of LAYERS; with what is missing comes what to do about it."""

    def help_for(layer: ConfinementLayer, finding: LayerResult) -> str:
        if finding.help:
            return finding.help
        if finding.holds:
            cut = layer.name == "limits" and "threads" not in finding.text.split()
            return _NO_THREADS if cut else ""
        if layer.name == "user" and finding.text == _LEFT_OUT:
            return _NOT_FOR_ROOT if findings["ids"].holds else _NOT_WITHOUT_IDS
        return layer.help

    return {
        layer.name: found._replace(help=help_for(layer, found))
        for layer in LAYERS
        if (found := findings.get(layer.name))
    }


def missing(findings: Mapping[str, LayerResult]) -> list[str]:
    """Return, in words, what `require` demands that does not hold."""

    def why(name: str) -> str:
        return f"no {name} ({findings[name].text})" if name in findings else f"no {name}"

    return [
        " and ".join(map(why, names))
        for names in DEMANDED
        if not any(name in findings and findings[name].holds for name in names)
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
    """Return the launcher's options for a machine.

    :param program: QEMU's.
    :param controller: the process that spawns it, without which it ends.
    :param status: the descriptor to which the launcher says what it has done.
    :param root: whether the controller is root.
    :param group: the one group that QEMU keeps, where it gives up root's.
    :param device: what accelerates the guest.
    :param cgroup: `cgroup.procs` of the group that it is put into, open for writing.
    """
    options = ["--controller", str(controller), "--status", str(status)]
    if root:
        options += ["--uid", str(UIDS)]
        options += [] if group is None else ["--group", str(group)]
        options += _each("--file", inherited.read())  # QEMU's uid could not open these otherwise
    if config.confinement == "off":
        return [*options, *_each("--without", (x.name for x in LAYERS if x.name not in _ALWAYS))]
    options += _each("--read", readable(program))
    options += [] if root else _each("--file", inherited.read())
    options += _each("--disk", inherited.disks())
    options += _each("--writable", inherited.written())
    options += [] if device is None else ["--device", str(device)]
    options += _each("--limit", (f"{name}={value}" for name, value in limits(config, inherited)))
    return options if cgroup is None else [*options, "--cgroup", str(cgroup)]


def limits(config: QemuConfig, inherited: Inherited) -> Sequence[tuple[str, int]]:
    """Return the launcher's limits for a machine, by its names for them."""
    saves = inherited.memory is not None and not inherited.memory.saved
    return [
        # A guest that is sent needs as much as one that is saved: that is let later, where we may.
        ("file-size", saved_size(config) if saves or not may_raise() else config.scratch),
        ("address-space", config.memory * _MIB + _ADDRESS_SPACE + config.cpus * 256 * _MIB),
        ("open-files", _OPEN_FILES + 16 * config.cpus),
        ("threads", _THREADS + 2 * config.cpus),
    ]


def saved_size(config: QemuConfig) -> int:
    """Return how large a file may be while a guest is saved to one, or sent, in bytes."""
    guest = config.memory * _MIB
    return max(config.scratch, guest + guest // 64 + _DEVICES)


def may_raise() -> bool:
    """Tell whether we may raise a limit of a machine that runs, as root in a container may not."""
    if os.geteuid() != 0:
        return True
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        held = next(line for line in lines if line.startswith("CapEff:"))
        return bool(int(held.split()[1], 16) & _SYS_RESOURCE)
    return False


def bounds(config: QemuConfig) -> Mapping[str, str]:
    """Return the bounds of a machine's control group, by the names of its files; cgroups(7)."""
    return {
        # Twice, as a guest that is sent is in a file in memory, too.
        "memory.max": str(2 * config.memory * _MIB + _OVERHEAD),
        "pids.max": str(_THREADS + 2 * config.cpus),
        # A processor for what QEMU does beside its guest.
        "cpu.max": f"{(config.cpus + 1) * _PERIOD} {_PERIOD}",
    }


def readable(program: Path) -> list[str]:
    """Return what QEMU's program, libraries and firmware are in, there or not."""
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
