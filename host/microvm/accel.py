"""Which accelerator to run under.

That /dev/kvm exists, or even that it makes a VM, proves nothing: there are hosts where a guest
dies under it. So `candidates` only rules out what cannot work; whoever boots a machine tries them
in order, and lets `Verdicts` remember: that the first works once a guest is ready under it, that
it is broken only once a guest is ready under the next.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from microvm_image import cache

from .arch import Accel
from .errors import ImageError, QemuError

#: How long an accelerator that is not proven has to bring a guest up, in seconds.
PROOF_TIMEOUT = 20.0

#: The device that KVM is used through.
KVM = Path("/dev/kvm")

# <linux/kvm.h>; the version has been 12 since Linux 2.6.22, and applications should check it
# (Documentation/virt/kvm/api.rst, 4.1).
_KVM_GET_API_VERSION = 0xAE00
_KVM_CREATE_VM = 0xAE01
_KVM_API_VERSION = 12


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What experience says about something that works on some hosts only.

    A verdict holds for one host, one kernel and one build of QEMU.

    :ivar folder: where verdicts are kept; made when needed.
    :ivar binary: QEMU's program.
    :ivar subject: what it is about; by default the hardware's accelerator.
    """

    folder: Path
    binary: Path
    subject: str = "accel"

    def recall(self) -> bool | None:
        """Whether it works, or None if that is not known."""
        try:
            with os.fdopen(cache.open_file(self.path)) as file:
                text = file.read().strip()
            return {"works": True, "broken": False}.get(text)
        except (OSError, UnicodeDecodeError):
            return None

    def remember(self, *, works: bool) -> None:
        """Keep a verdict; a folder that cannot be written costs the next run time, no more."""
        with suppress(OSError, ImageError):
            cache.make(self.folder)
            # Half of it, for whoever reads it in this moment, says nothing, which is harmless.
            cache.write(self.path, b"works\n" if works else b"broken\n")

    @property
    def path(self) -> Path:
        """The file of this verdict, there or not."""
        machine_id = b""
        with suppress(OSError):
            machine_id = Path("/etc/machine-id").read_bytes()
        build = self.binary.stat()
        host = os.uname()
        facts = (
            machine_id,
            host.release,
            host.version,
            self.binary,
            build.st_mtime_ns,
            build.st_size,
        )
        return (
            self.folder / f"{self.subject}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}"
        )


def candidates(
    requested: Literal["auto", "kvm", "tcg"], *, arch: str, verdicts: Verdicts
) -> tuple[Accel, ...]:
    """The accelerators to try, in order.

    :param arch: the guest's architecture; hardware accelerates its own only.
    :raise QemuError: if KVM is requested and cannot work.
    """
    if requested == "tcg":
        return ("tcg",)
    hardware: Accel = "hvf" if sys.platform == "darwin" else "kvm"
    obstacle = _obstacle(hardware, arch)
    if requested == "kvm":
        if obstacle:
            raise QemuError(f"KVM cannot be used: {obstacle}", hint="try --accel tcg")
        return (hardware,)
    if obstacle:
        return ("tcg",)
    return {True: (hardware,), False: ("tcg",), None: (hardware, "tcg")}[verdicts.recall()]


def host_cpu() -> str:
    """What a guest can see of this host's processor, without acceleration nothing."""
    with suppress(OSError):
        first, _, _ = Path("/proc/cpuinfo").read_text().partition("\n\n")
        own = ("model name", "stepping", "microcode", "flags", "Features", "CPU ")
        return "\n".join(line for line in first.splitlines() if line.startswith(own))
    return platform.processor()


def notice(accel: Accel) -> str:
    """The line that says, once, why machines run under TCG where there seems to be better."""
    return f"{accel.upper()} does not work here; using TCG, which is slower (--accel kvm shows why)"


def _obstacle(hardware: Accel, arch: str) -> str:
    """Why the hardware cannot accelerate this guest for sure; empty if it may."""
    native = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if arch != native:
        return f"this machine is {native}, the guest {arch}"
    return _kvm_obstacle() if hardware == "kvm" else ""


def _kvm_obstacle() -> str:
    try:
        device = os.open(KVM, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"{KVM}: {error.strerror}"
    try:
        version = fcntl.ioctl(device, _KVM_GET_API_VERSION, 0)
        if version != _KVM_API_VERSION:
            return f"{KVM} speaks version {version} of its interface"
        os.close(fcntl.ioctl(device, _KVM_CREATE_VM, 0))
    except OSError as error:
        return f"{KVM} makes no virtual machine: {error.strerror}"
    finally:
        os.close(device)
    return ""
