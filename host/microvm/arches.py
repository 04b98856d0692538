"""The tables of processor architectures, buses and accelerators.

To support another architecture, bus or accelerator, add a row to its table. No other module
compares names of architectures. Only `microvm.system.platform` also compares names of systems.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from microvm.errors import UsageError
from microvm.system import platform

Bus = Literal["pci", "mmio"]
"""Bus that connects the guest's virtio devices. It is one that the guest's kernel supports."""

Accel = Literal["kvm", "hvf", "tcg"]
"""Accelerators of QEMU, by the names that QEMU uses."""

Magic = tuple[tuple[int, bytes], ...]
"""Signature of a file: pairs of an offset and the bytes at that offset."""


class Arch(NamedTuple):
    """A processor architecture of guests, and how QEMU, Debian and the kernel refer to it.

    :ivar name: Name that Linux (`uname -m`), QEMU and Alpine use.
    :ivar debian: Name that Debian and macOS (`uname -m`) use.
    :ivar qemu_package: Debian package that contains the QEMU program for this architecture.
    :ivar machine: Machine type of QEMU for each bus, for its option `-M`.
    :ivar cpu: CPU model of QEMU for each accelerator, for its option `-cpu`.
    :ivar flash: Size in MiB of the machine's flash memory. QEMU saves it with the guest's memory.
    :ivar console: Name of the serial console in the guest's kernel.
    :ivar kernel_options: Words that are added to the kernel's command line.
    :ivar clock_option: Format of the word on the kernel's command line that contains `khz`, the
        frequency of the host's clock; empty if the guest's kernel knows the frequency. See
        `Accelerator.passes_clock`.
    :ivar no_timers: Properties of the machine type for each bus, which remove the timers that a
        guest's kernel only needs to measure the frequency in `clock_option`; empty if there are
        none.
    :ivar alpine_sha256: SHA-256 of the pinned Alpine minirootfs archive, in hexadecimal.
    :ivar kernel_package: Debian package that depends on the newest kernel for clouds.
    :ivar kernel_arch: Name of the architecture in the Makefile of the kernel.
    :ivar kernel_target: Target of the kernel's Makefile that makes a file that QEMU can start.
        `vmlinux` is faster to start than a file that the guest has to decompress.
    :ivar kernel_magics: Forms of the kernel files that QEMU can start.
    :ivar kvm_modules: KVM's kernel module for each flag of the processor in /proc/cpuinfo that says
        that the processor can run guests; empty if KVM is a part of the kernel.
    :ivar zig_target: Name of the architecture for the compiler Zig.
    :ivar oldest_glibc: Minor version of the oldest glibc 2 for which wheels exist (PEP 600).
    """

    name: str
    debian: str
    qemu_package: str
    machine: Mapping[Bus, str]
    cpu: Mapping[Accel, str]
    flash: int
    console: str
    kernel_options: str
    clock_option: str
    no_timers: Mapping[Bus, str]
    alpine_sha256: str
    kernel_package: str
    kernel_arch: str
    kernel_target: str
    kernel_magics: tuple[Magic, ...]
    kvm_modules: Mapping[str, str]
    zig_target: str
    oldest_glibc: int

    @property
    def qemu(self) -> str:
        """The name of the QEMU program for this architecture."""
        return f"qemu-system-{self.name}"

    @property
    def cross_prefix(self) -> str:
        """The beginning of the names of gcc's programs that compile for this architecture."""
        return f"{self.name}-linux-gnu-"

    @property
    def cross_packages(self) -> str:
        """Debian's packages of gcc and the C library that compile for this architecture."""
        gcc = f"gcc-{self.cross_prefix}".rstrip("-").replace("_", "-")
        return f"{gcc} libc6-dev-{self.debian}-cross"


ARCHES = {
    arch.name: arch
    for arch in (
        Arch(
            name="x86_64",
            debian="amd64",
            qemu_package="qemu-system-x86",
            machine={"pci": "microvm,pcie=on", "mmio": "microvm,acpi=off"},
            # Hide the CPU flags fsrm and erms from guests under TCG (emulation). A guest's kernel
            # that sees them copies memory by the instruction `rep movs`, which TCG emulates slowly,
            # byte by byte. Nested virtualization and performance counters are disabled, because
            # guests need neither.
            cpu={"tcg": "max,-fsrm,-erms", "kvm": "host,-svm,-vmx,pmu=off", "hvf": "host"},
            flash=0,
            console="ttyS0",
            kernel_options="reboot=t tsc=reliable",
            clock_option="tsc_early_khz={khz}",
            # On a machine with ACPI, the kernel uses the PIT, an old timer, only to measure
            # frequencies, and never stops it. It would wake an idle QEMU 36 times a second.
            no_timers={"pci": ",pit=off", "mmio": ""},
            alpine_sha256="d4e6fd67dcf75e40c451560ac7265166c2b72a0f38ddc9aae756a7de3d1efa0c",
            kernel_package="linux-image-cloud-amd64",
            kernel_arch="x86_64",
            kernel_target="vmlinux",
            kernel_magics=(
                ((0x1FE, b"\x55\xaa"), (0x202, b"HdrS")),  # bytes in the header of a bzImage
                # the bytes by which a vmlinux, an ELF file for this processor, is recognized
                ((0, b"\x7fELF\x02\x01"), (18, b"\x3e\x00")),
            ),
            kvm_modules={"vmx": "kvm_intel", "svm": "kvm_amd"},
            zig_target="x86_64-linux-musl",
            oldest_glibc=5,
        ),
        Arch(
            name="aarch64",
            debian="arm64",
            qemu_package="qemu-system-arm",
            machine={"pci": "virt", "mmio": "virt"},
            # Select QEMU's own algorithm of pointer authentication, because QEMU emulates the
            # processor's default algorithm more slowly (see arm/cpu-features in QEMU's
            # documentation).
            cpu={"tcg": "max,pauth-impdef=on", "kvm": "host", "hvf": "host"},
            flash=128,
            console="ttyAMA0",
            kernel_options="",
            clock_option="",
            no_timers={"pci": "", "mmio": ""},
            alpine_sha256="041fa34a81788242df9e78fa69b97ab45b8ec47ddbf88864755610414a7bf3de",
            kernel_package="linux-image-cloud-arm64",
            kernel_arch="arm64",
            kernel_target="arch/arm64/boot/Image",
            kernel_magics=(((56, b"ARM\x64"),),),
            kvm_modules={},
            zig_target="aarch64-linux-musl",
            oldest_glibc=17,
        ),
    )
}


class BusDevices(NamedTuple):
    """The names of QEMU's virtio devices for a bus, for its option `-device`.

    :ivar serial: Device for the ports of host and guest. Host and guest communicate over port 1,
        because port 0 is reserved for a console. The guest's kernel sets up queues for every
        possible port, so the device allows only these two.
    :ivar block: Device for a disk.
    """

    name: Bus
    serial: str
    block: str


BUSES = {
    bus.name: bus
    for bus in (
        BusDevices("pci", "virtio-serial-pci,max_ports=2", "virtio-blk-pci"),
        BusDevices("mmio", "virtio-serial-device,max_ports=2", "virtio-blk-device"),
    )
}


class Accelerator(NamedTuple):
    """An accelerator of QEMU, which executes the code of guests.

    :ivar system: The only operating system of hosts that has the accelerator, by its name in
        `sys.platform`; empty if the accelerator exists on all systems.
    :ivar emulates: True if QEMU emulates the processor. Such an accelerator executes guests of
        every architecture, and hides the host's processor from guests.
    :ivar device: Device file of the host that QEMU opens; empty if it opens none.
    :ivar option: Value of QEMU's option `-accel`.
    :ivar serial: Properties of `BusDevices.serial` for each bus; empty if QEMU's defaults are used.
    :ivar passes_clock: True if a guest reads the host's clock, but cannot reliably measure its
        frequency. Then the kernel's command line contains `Arch.clock_option`.
    """

    name: Accel
    system: str
    emulates: bool
    device: str
    option: str
    serial: Mapping[Bus, str]
    passes_clock: bool


ACCELERATORS = {
    accelerator.name: accelerator
    for accelerator in (
        Accelerator(
            name="kvm",
            system="linux",
            emulates=False,
            device="/dev/kvm",
            option="kvm",
            # Keep `ioeventfd`. Without it, QEMU handles the guest's opening of the port in the
            # thread of the processor, and does not wake its main loop. Then nothing reads what the
            # host has already sent, and the boot hangs until another event wakes the main loop.
            serial={"pci": "", "mmio": ""},
            passes_clock=False,
        ),
        Accelerator(
            name="hvf",
            system="darwin",
            emulates=False,
            device="",
            option="hvf",
            serial={"pci": "", "mmio": ""},
            passes_clock=False,
        ),
        Accelerator(
            name="tcg",
            system="",
            emulates=True,
            device="",
            option="tcg",
            # Let QEMU handle each write to the port at once, instead of waking another thread for
            # it. This is cheaper under emulation.
            serial={"pci": ",ioeventfd=off", "mmio": ""},
            # An emulated guest reads the time stamp counter of the host. On a busy host, the kernel
            # of the guest may fail to measure the frequency of the counter. Then the boot hangs.
            passes_clock=True,
        ),
    )
}


def find(name: str | None = None) -> Arch:
    """Return the architecture with this name, or without a name, the architecture of this host."""
    name = name or native()
    try:
        return ARCHES[name]
    except KeyError:
        raise UsageError(
            f"guests of architecture {name!r} are not supported",
            hint=f"choose one of {', '.join(ARCHES)}",
        ) from None


def native() -> str:
    """Return the name of this host's architecture. If the table lacks it, use the system's name."""
    machine = platform.machine()
    return next((each.name for each in ARCHES.values() if machine == each.debian), machine)


def hardware() -> Accelerator | None:
    """Return the accelerator of this host's operating system; None if it only has emulation."""
    system = platform.system()
    return next((each for each in ACCELERATORS.values() if each.system == system), None)
