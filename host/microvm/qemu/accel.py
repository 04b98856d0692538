"""The choice of the accelerator that a guest runs under: KVM, HVF or TCG (emulation).

On some hosts, /dev/kvm exists and can create a virtual machine, but every guest crashes. So
`candidates` only excludes accelerators that cannot work. The caller boots a machine with each
candidate in turn, and stores the result in a `ProbeCache`: the first candidate works if a guest
becomes ready under it, and is broken if a guest becomes ready only under the next one. The table in
`kvm_failure` contains the time for which each failure is remembered.
"""

from __future__ import annotations

import fcntl
import functools
import grp
import os
import pwd
import shlex
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from microvm import arches, cache
from microvm.arches import ACCELERATORS, Accel
from microvm.errors import CacheError, QemuError
from microvm.log import Area
from microvm.sha256 import sha256
from microvm.system import platform

if TYPE_CHECKING:
    from microvm.qemu.kvm_failure import KvmFailure

_logger = Area("qemu")

#: Maximum time from QEMU's start to the guest's `ready`, in seconds. Emulation on a busy host is
#: slow, and so is the first boot under a nested accelerator.
BOOT_TIMEOUT = 60.0

#: The same under an accelerator that may not work, if another accelerator can be tried next.
TRIAL_TIMEOUT = 20.0

#: Maximum number of seconds for which the result of a probe is valid, as the host may change.
PROBE_LIFETIME = 24 * 3600.0

#: The device file of KVM.
KVM = Path(ACCELERATORS["kvm"].device)

_MODULES = Path("/sys/module")

# Constants of KVM's interface, from <linux/kvm.h>. The version of the interface has been 12 since
# Linux 2.6.22, and applications should check it (Documentation/virt/kvm/api.rst, 4.1).
_KVM_GET_API_VERSION = 0xAE00
_KVM_CREATE_VM = 0xAE01
_KVM_API_VERSION = 12


class ProbeCache(NamedTuple):
    """A cache of the results of probes, such as whether KVM works on this host.

    A result is valid for at most a day, on the same host, with the same kernel, KVM parameters and
    QEMU.

    :ivar folder: Folder of the results; created when the first result is stored.
    :ivar subject: Name of the feature that is probed; by default the hardware accelerator.
    """

    folder: Path
    binary: Path
    subject: str = "accel"

    def recall(self) -> bool | None:
        """Return whether the probed feature works, as stored; None if no valid result is stored."""
        try:
            with os.fdopen(cache.open_file(self.path)) as file:
                age = time.time() - os.fstat(file.fileno()).st_mtime
                text, seconds = file.read().split()  # the result, and for how long it is valid
            lifetime = min(float(seconds), PROBE_LIFETIME)
            return {"works": True, "broken": False}.get(text) if 0 <= age < lifetime else None
        except (OSError, ValueError):
            return None

    def remember(self, *, works: bool, lifetime: float = PROBE_LIFETIME) -> None:
        """Store the result of a probe for `lifetime` seconds: whether the probed feature works.

        If it cannot be stored, the next start of a machine probes again.
        """
        text = f"{'works' if works else 'broken'} {lifetime:.0f}\n"
        with suppress(OSError, CacheError):
            cache.make(self.folder)
            # No lock is needed, because a process that reads a half-written result ignores it.
            cache.write(self.path, text.encode())

    def forget(self) -> None:
        """Remove the stored result of the probe, so that the next start probes again."""
        with suppress(OSError):
            self.path.unlink()

    @property
    def path(self) -> Path:
        """The path of the file that stores the result, which may not exist.

        Its name has a digest of properties of this host and QEMU on which the result depends.
        """
        machine_id = b""
        with suppress(OSError):
            machine_id = Path("/etc/machine-id").read_bytes()
        build = self.binary.stat()
        binary = self.binary, build.st_mtime_ns, build.st_size
        facts = (machine_id, *platform.kernel(), kvm_parameters(), *binary)
        return self.folder / f"{self.subject}-{sha256(repr(facts).encode()).hexdigest()[:16]}"


class Obstacle(NamedTuple):
    """A reason why the hardware cannot accelerate a guest, found without starting a guest.

    :ivar why: The cause, such as the host's error message.
    :ivar hint: Advice for the user; may be empty.
    :ivar command: Shell command that removes the obstacle; empty if none can.
    """

    failure: KvmFailure
    why: str
    hint: str = ""
    command: str = ""

    @property
    def text(self) -> str:
        """The failure of KVM and its cause, as one line for the user."""
        return self.failure.line(self.why)


def candidates(
    requested: Literal["auto", "kvm", "tcg"], *, arch: str, probes: ProbeCache
) -> tuple[Accel, ...]:
    """Return the accelerators to try for a guest, in order. `probes` stores whether hardware works.

    :param arch: Architecture of the guest. Hardware accelerates only guests of its own one.
    :raises QemuError: KVM is requested and cannot work.
    """
    if requested == "tcg" or (requested == "auto" and probes.recall() is False):
        return ("tcg",)
    hardware, found = arches.hardware(), obstacle(arch)
    if found and requested == "kvm":
        hint = found.hint or "use --accel tcg, which emulates the processor"
        raise QemuError(f"KVM cannot be used: {found.why}", hint=hint)
    if found or hardware is None:
        _logger.debug("no hardware acceleration: %s", found and found.why)
        return ("tcg",)
    works = requested == "kvm" or probes.recall()
    return (hardware.name,) if works else (hardware.name, "tcg")


def kvm_parameters() -> list[tuple[str, str]]:
    """Return the names and values of the parameters of KVM's modules, such as `kvm_amd.nested`.

    There are about a hundred parameters, so they are read again only if a module was reloaded.
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
                found.append((f"{folder.parent.name}.{path.name}", path.read_text().strip()))
    return found


def fallback_notice(reason: str, hint: str = "") -> str:
    """Return the notice that a machine uses TCG, with the `reason` and a `hint` for the user."""
    return f"{reason}; using TCG, which is slower" + (f" ({hint})" if hint else "")


def obstacle(arch: str) -> Obstacle | None:
    """Return the reason why hardware cannot accelerate a guest of `arch`; None if it may work."""
    native, hardware = arches.native(), arches.hardware()
    if arch != native:
        from microvm.qemu import kvm_failure

        return Obstacle(kvm_failure.FOREIGN, f"this machine is {native}, the guest {arch}")
    if hardware is None:
        from microvm.qemu import kvm_failure

        return Obstacle(kvm_failure.ABSENT, f"{platform.name()} has no accelerator of QEMU")
    return _kvm_obstacle() if hardware.device else None


def _kvm_obstacle() -> Obstacle | None:
    try:
        device = os.open(KVM, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return _device_obstacle(error, f"{KVM}: {error.strerror}")
    try:
        version = fcntl.ioctl(device, _KVM_GET_API_VERSION, 0)
        if version != _KVM_API_VERSION:
            from microvm.qemu import kvm_failure

            why = f"{KVM} has version {version} of the interface, and not {_KVM_API_VERSION}"
            return Obstacle(kvm_failure.REFUSED, why)
        os.close(_create_vm(device))
    except OSError as error:
        return _device_obstacle(error, f"{KVM} cannot create a virtual machine: {error.strerror}")
    finally:
        os.close(device)
    return None


def _device_obstacle(error: OSError, why: str) -> Obstacle:
    from microvm.qemu import kvm_failure

    failure = kvm_failure.failure_of_device(error)
    hints = _permission_hint() if failure is kvm_failure.FORBIDDEN else ()
    return Obstacle(failure, why, *hints)


def _create_vm(device: int) -> int:
    while True:
        with suppress(InterruptedError):  # Python does not repeat an ioctl that a signal interrupts
            return int(fcntl.ioctl(device, _KVM_CREATE_VM, 0))


def _permission_hint() -> tuple[str, str]:
    """Return a hint on how to get permission to use /dev/kvm, and the command that grants it."""
    if os.geteuid() == 0:
        return f"in a container, start the container with `--device {KVM}`", ""
    device = KVM.stat()
    user = "$USER"
    with suppress(KeyError):
        user = shlex.quote(pwd.getpwuid(os.geteuid()).pw_name)
    join = f"sudo usermod -aG {{}} {user}"
    give = f"sudo chgrp kvm {KVM} && sudo chmod 660 {KVM} && {join.format('kvm')}"
    if "kvm" not in {each.gr_name for each in grp.getgrall()}:
        give = f"sudo groupadd --system kvm && {give}"
    if not (device.st_gid and device.st_mode & stat.S_IRGRP and device.st_mode & stat.S_IWGRP):
        return f"only root may use {KVM}: give it a group and mode 660, and join the group", give
    try:
        group = grp.getgrgid(device.st_gid)
    except KeyError:
        return f"{KVM} belongs to group {device.st_gid}, which has no name", give
    joining = join.format(shlex.quote(group.gr_name))
    if user in group.gr_mem:
        return f"log in again, because you joined its group, or run `newgrp {group.gr_name}`", (
            f"newgrp {shlex.quote(group.gr_name)}"
        )
    return f"join its group: `{joining}`, then log in again", joining
