"""The choice of the accelerator that a guest runs under.

That /dev/kvm exists, or can create a virtual machine, proves nothing: on some hosts a guest dies
under it. So `candidates` only excludes accelerators that cannot work. A caller that boots a machine
tries the candidates in order, and stores the result by `ProbeCache`: the first candidate works once
a guest is ready under it, and is broken once a guest is ready under the next one. The table in
`kvm_failure` says for how long each failure is remembered.
"""

from __future__ import annotations

import fcntl
import functools
import os
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from microvm import cache
from microvm.arches import ARCHES, Accel
from microvm.errors import ImageError, QemuError
from microvm.log import Area
from microvm.sha256 import sha256

if TYPE_CHECKING:
    from microvm.qemu.kvm_failure import KvmFailure

_logger = Area("qemu")

#: How long a guest has from QEMU's start to `ready`, in seconds: emulation on a loaded machine is
#: slow, and so is the first boot under an accelerator that is emulated itself.
BOOT_TIMEOUT = 60.0

#: The same limit for an accelerator that may not work, if another one can be tried next.
TRIAL_TIMEOUT = 20.0

#: Maximum number of seconds for which the result of a probe is valid: the host may change.
PROBE_LIFETIME = 24 * 3600.0

#: The device that KVM is used through.
KVM = Path("/dev/kvm")

_MODULES = Path("/sys/module")

# <linux/kvm.h>; the version has been 12 since Linux 2.6.22, and applications should check it
# (Documentation/virt/kvm/api.rst, 4.1).
_KVM_GET_API_VERSION = 0xAE00
_KVM_CREATE_VM = 0xAE01
_KVM_API_VERSION = 12


class ProbeCache(NamedTuple):
    """The results of probes for something that works on some hosts only.

    A result counts for a day, one host, one kernel, KVM's settings and one build of QEMU.

    :ivar folder: where results are kept; made when needed.
    :ivar binary: QEMU's program.
    :ivar subject: what is probed; by default the hardware's accelerator.
    """

    folder: Path
    binary: Path
    subject: str = "accel"

    def recall(self) -> bool | None:
        """Tell whether the subject works, or None if that is not known, or not any more."""
        try:
            with os.fdopen(cache.open_file(self.path)) as file:
                age = time.time() - os.fstat(file.fileno()).st_mtime
                # The file has the result and the number of seconds for which it is valid.
                text, seconds = file.read().split()
            lifetime = min(float(seconds), PROBE_LIFETIME)
            return {"works": True, "broken": False}.get(text) if 0 <= age < lifetime else None
        except (OSError, ValueError):
            return None

    def remember(self, *, works: bool, lifetime: float = PROBE_LIFETIME) -> None:
        """Store the result of a probe. If it cannot be written, the next run probes again.

        :param lifetime: the number of seconds for which the result is valid.
        """
        text = f"{'works' if works else 'broken'} {lifetime:.0f}\n"
        with suppress(OSError, ImageError):
            cache.make(self.folder)
            # Whoever reads a half-written one takes it for none, which is harmless.
            cache.write(self.path, text.encode())

    def forget(self) -> None:
        """Remove the result, so that the next start probes again."""
        with suppress(OSError):
            self.path.unlink()

    @property
    def path(self) -> Path:
        """The file of this probe result, there or not."""
        machine_id = b""
        with suppress(OSError):
            machine_id = Path("/etc/machine-id").read_bytes()
        build = self.binary.stat()
        host = os.uname()
        facts = (
            machine_id,
            host.release,
            host.version,
            kvm_parameters(),
            self.binary,
            build.st_mtime_ns,
            build.st_size,
        )
        return self.folder / f"{self.subject}-{sha256(repr(facts).encode()).hexdigest()[:16]}"


class Obstacle(NamedTuple):
    """A reason why the hardware cannot accelerate a guest, found without starting one.

    :ivar failure: the way in which KVM fails.
    :ivar why: the cause, in the words of the host.
    :ivar hint: what the user can do.
    :ivar command: a shell command that corrects it, if one can.
    """

    failure: KvmFailure
    why: str
    hint: str = ""
    command: str = ""

    @property
    def text(self) -> str:
        """The message of the failure with its cause, in one line."""
        return self.failure.line(self.why)


def candidates(
    requested: Literal["auto", "kvm", "tcg"], *, arch: str, probes: ProbeCache
) -> tuple[Accel, ...]:
    """Return the accelerators to try, in order.

    :param arch: the guest's architecture; hardware accelerates its own only.
    :raises QemuError: if KVM is requested and cannot work.
    """
    if requested == "tcg" or (requested == "auto" and probes.recall() is False):
        return ("tcg",)
    hardware: Accel = "hvf" if sys.platform == "darwin" else "kvm"
    found = obstacle(arch)
    if requested == "kvm":
        if found:
            hint = found.hint or "try --accel tcg"
            raise QemuError(f"KVM cannot be used: {found.why}", hint=hint)
        return (hardware,)
    if found:
        _logger.debug("no %s: %s", hardware.upper(), found.why)
        return ("tcg",)
    return (hardware,) if probes.recall() else (hardware, "tcg")


def host_cpu() -> str:
    """Return what a guest can see of this host's processor, as text; it matters to KVM only."""
    with suppress(OSError):
        first, _, _ = Path("/proc/cpuinfo").read_text().partition("\n\n")
        own = ("model name", "stepping", "microcode", "flags", "Features", "CPU ")
        return "\n".join(line for line in first.splitlines() if line.startswith(own))
    import platform

    return platform.processor()


def kvm_parameters() -> list[tuple[str, str]]:
    """Return the parameters of KVM's modules that shape a guest, such as `nested` and `npt`.

    They are read once for each time that a module is loaded, as there are a hundred.
    """
    loaded = []
    for path in sorted(_MODULES.glob("kvm*/parameters")):
        with suppress(OSError):
            status = path.stat()
            loaded.append((path, status.st_ino, status.st_ctime_ns))
    return _parameters(tuple(loaded))


@functools.lru_cache(maxsize=1)
def _parameters(loaded: tuple[tuple[Path, int, int], ...]) -> list[tuple[str, str]]:
    found = []
    for folder, *_ in loaded:
        for path in sorted(folder.glob("*")):
            with suppress(OSError):
                found.append((f"{folder.parent.name}/parameters/{path.name}", path.read_text()))
    return found


def fallback_notice(reason: str, hint: str = "") -> str:
    """Return the line that says, once, why machines run under TCG where KVM seems to be there."""
    return f"{reason}; using TCG, which is slower" + (f" ({hint})" if hint else "")


def obstacle(arch: str) -> Obstacle | None:
    """Return what keeps the hardware from accelerating guests of this architecture, or None."""
    machine = os.uname().machine
    native = {each.debian: each.name for each in ARCHES.values()}.get(machine, machine)
    if arch != native:
        from microvm.qemu import kvm_failure

        return Obstacle(kvm_failure.FOREIGN, f"this machine is {native}, the guest {arch}")
    return None if sys.platform == "darwin" else _kvm_obstacle()


def _kvm_obstacle() -> Obstacle | None:
    try:
        device = os.open(KVM, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return _of_error(error, f"{KVM}: {error.strerror}")
    try:
        version = fcntl.ioctl(device, _KVM_GET_API_VERSION, 0)
        if version != _KVM_API_VERSION:
            from microvm.qemu import kvm_failure

            why = f"{KVM} speaks version {version} of its interface"
            return Obstacle(kvm_failure.REFUSED, why)
        os.close(_create_vm(device))
    except OSError as error:
        return _of_error(error, f"{KVM} cannot create a virtual machine: {error.strerror}")
    finally:
        os.close(device)
    return None


def _of_error(error: OSError, why: str) -> Obstacle:
    from microvm.qemu import kvm_failure

    failure = kvm_failure.of_device(error)
    hints = _permission() if failure is kvm_failure.FORBIDDEN else ()
    return Obstacle(failure, why, *hints)


def _create_vm(device: int) -> int:
    while True:
        with suppress(InterruptedError):  # by a signal, which Python does not try again for ioctl
            return int(fcntl.ioctl(device, _KVM_CREATE_VM, 0))


def _permission() -> tuple[str, str]:
    """Return the hint for who may not use the device, how to join its group, and the command."""
    import grp
    import pwd
    import shlex

    if os.geteuid() == 0:
        return f"a container must be given it, as by `--device {KVM}`", ""
    device = KVM.stat()
    user = "$USER"
    with suppress(KeyError):
        user = shlex.quote(pwd.getpwuid(os.geteuid()).pw_name)
    join = f"sudo usermod -aG {{}} {user}"
    give = f"sudo chgrp kvm {KVM} && sudo chmod 660 {KVM} && {join.format('kvm')}"
    if "kvm" not in {each.gr_name for each in grp.getgrall()}:
        give = f"sudo groupadd --system kvm && {give}"
    if not (device.st_gid and device.st_mode & stat.S_IRGRP and device.st_mode & stat.S_IWGRP):
        return "only root may use it: it needs a group, mode 660, and you in that group", give
    try:
        group = grp.getgrgid(device.st_gid)
    except KeyError:
        return f"it belongs to group {device.st_gid}, which has no name", give
    joining = join.format(shlex.quote(group.gr_name))
    if user in group.gr_mem:
        return f"you are in its group from the next login on, or by `newgrp {group.gr_name}`", (
            f"newgrp {shlex.quote(group.gr_name)}"
        )
    return f"join its group: `{joining}`, then log in anew", joining
