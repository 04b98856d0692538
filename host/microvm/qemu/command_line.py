"""The command line of QEMU and the first QMP requests to it, computed from a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from microvm import arches
from microvm.arches import ACCELERATORS, BUSES, Accel, Bus
from microvm.constants import PORT_NAME
from microvm.options import Confinement
from microvm.system import platform

# Filter of QEMU's system calls. Only Linux has it; elsewhere, QEMU refuses the option.
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

IGNORE_SHARED = "x-ignore-shared"
"""Name of a migration capability of QEMU: RAM that is in a shared file stays there, and is not
copied into the migration stream."""


class QemuConfig(NamedTuple):
    """The configuration of QEMU for one machine, such as its kernel, memory and CPUs.

    :ivar kernel: Path of the kernel: a bzImage, an Image or a PVH ELF file.
    :ivar initramfs: Path of the initramfs, a cpio archive.
    :ivar bus: Bus of the virtio devices. The kernel must have drivers for it.
    :ivar arch: Architecture of the guest, as `uname -m` prints it.
    :ivar memory: Size of the guest's memory in MiB.
    :ivar disk: Path of the EROFS file system that is the lower layer of the root file system; None
        if the initramfs is the root file system.
    :ivar scratch: Size in bytes of the disk that stores changes of the root file system; 0 if
        memory stores them.
    :ivar quiet: True if the kernel prints no boot messages.
    """

    kernel: Path
    initramfs: Path
    bus: Bus
    accel: Accel
    arch: str
    memory: int = 256
    cpus: int = 1
    disk: Path | None = None
    scratch: int = 0
    quiet: bool = True
    confinement: Confinement = "auto"


class Memory(NamedTuple):
    """The descriptors of the files to which QEMU saves a guest, or from which it restores one.

    :ivar ram: File of the guest's memory.
    :ivar state: File of the remaining state of the machine, in QEMU's format.
    :ivar scratch: This QEMU's own scratch disk, which stores changes of the root file system; None
        if memory stores them.
    :ivar saved: True if the files contain a guest to restore; False if QEMU shall save one there.
    :ivar sent: File to which another QEMU has sent its running guest, as a migration stream. This
        QEMU restores the guest from it, and then saves the guest to `ram` and `state`. None if the
        guest boots instead.
    :ivar copied: True if the file of the memory is a private copy, which this QEMU may write.
    :ivar identity: Value that distinguishes this saved guest from another one that was saved later
        under the same name.
    """

    ram: int
    state: int
    saved: bool
    sent: int | None = None
    scratch: int | None = None
    copied: bool = False
    identity: tuple[int, ...] = ()


class QmpRequest(NamedTuple):
    """A request to QEMU in QMP, the QEMU Machine Protocol: a command and its arguments."""

    command: str
    arguments: Mapping[str, object] = {}

    @property
    def message(self) -> dict[str, object]:
        """The request as the JSON object that is sent to QEMU."""
        return {"execute": self.command, "arguments": self.arguments}


class Inherited(NamedTuple):
    """The file descriptors that QEMU inherits, so that it needs neither paths nor socket files."""

    qmp: int
    port: int
    console: int
    kernel: int
    initramfs: int
    kvm: int | None = None
    disk: int | None = None
    scratch: int | None = None
    memory: Memory | None = None

    def all(self) -> tuple[int, ...]:
        """Return all file descriptors that QEMU inherits."""
        own = (self.qmp, self.port, self.console, self.kernel, self.initramfs)
        some: tuple[int | None, ...] = (self.kvm, self.disk, self.scratch)
        if self.memory is not None:
            some += (self.memory.ram, self.memory.state, self.memory.sent)
        return (*own, *(each for each in some if each is not None))

    def read_only(self) -> tuple[int, ...]:
        """Return the descriptors of files that QEMU opens again as /dev/fd/N, only for reading."""
        memory = self.memory
        shared = (memory.ram,) if memory and memory.saved and not memory.copied else ()
        return (self.kernel, self.initramfs, *shared)

    def disks(self) -> tuple[int, ...]:
        """Return the descriptors of disks that QEMU may only read, and does not open by a path."""
        return () if self.disk is None else (self.disk,)

    def writable(self) -> tuple[int, ...]:
        """Return the descriptors of memory files that QEMU opens again as /dev/fd/N for writing."""
        memory = self.memory
        if memory is None or (memory.saved and not memory.copied):
            return ()
        return (memory.ram,) if memory.saved else (memory.ram, memory.state)


def arguments(config: QemuConfig, inherited: Inherited, *, tsc_khz: int | None) -> list[str]:
    """Return QEMU's arguments, with the frequency of the host's time stamp counter for the guest.

    The name of the program is not among the arguments.

    :param tsc_khz: Frequency of the host's TSC in kHz; None if the host has none or it is unknown.
    """
    target = arches.find(config.arch)
    serial = BUSES[config.bus].serial + ACCELERATORS[config.accel].serial[config.bus]
    machine = target.machine[config.bus]
    if _passes_clock(config, tsc_khz):
        machine += target.no_timers[config.bus]
    return [
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *(("-incoming", "defer") if _restores(inherited.memory) else ("-S",)),
        *(() if platform.lack(platform.CONFINEMENT) else ("-sandbox", _SANDBOX)),
        # The host must not merge equal memory pages of several guests: otherwise a guest could find
        # out the contents of another guest's pages by measuring how long a write takes.
        *("-M", f"{machine},memory-backend=ram,mem-merge=off"),
        *("-cpu", target.cpu[config.accel]),
        *_accelerator(config.accel, inherited.kvm),
        *("-m", str(config.memory), "-smp", str(config.cpus)),
        *_backend(config, inherited.memory),
        *("-kernel", descriptor_path(inherited.kernel)),
        *("-initrd", descriptor_path(inherited.initramfs)),
        *("-append", kernel_command_line(config, tsc_khz=tsc_khz)),
        *_disks(config, inherited),
        *("-chardev", f"socket,id=qmp,fd={inherited.qmp}", "-mon", "chardev=qmp,mode=control"),
        *("-chardev", f"socket,id=console,fd={inherited.console}", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=port,fd={inherited.port}", "-device", serial),
        *("-device", f"virtserialport,chardev=port,name={PORT_NAME}"),
    ]


def requests(memory: Memory | None) -> Sequence[QmpRequest]:
    """Return the QMP requests that start the guest or, if `memory` has a saved guest, restore it.

    For a guest that another QEMU has sent to a file, the requests only negotiate capabilities. All
    further requests depend on QEMU's version, which is not known yet.
    """
    asked = [QmpRequest("qmp_capabilities")]
    if not _restores(memory):
        asked.append(QmpRequest("cont"))
    elif memory and memory.sent is None:
        # If QEMU needs its own copy of the guest's memory (`copied`), it is also too old to open
        # the file of a saved guest by a path. So pass it a descriptor.
        uri = f"fd:{memory.state}" if memory.copied else f"file:{descriptor_path(memory.state)}"
        shared = [{"capability": name, "state": True} for name in ("events", IGNORE_SHARED)]
        asked += [
            QmpRequest("migrate-set-capabilities", {"capabilities": shared}),
            QmpRequest("migrate-incoming", {"uri": uri}),
        ]
    return asked


def _restores(memory: Memory | None) -> bool:
    return memory is not None and (memory.saved or memory.sent is not None)


def _backend(config: QemuConfig, memory: Memory | None) -> list[str]:
    """Return QEMU's options for the guest's RAM, which is a file if `memory` is not None.

    The RAM has the same name in every QEMU, because QEMU finds the RAM of a saved guest by its
    name. Clones map the file of a saved guest copy-on-write.
    """
    if memory is None:
        return ["-object", f"memory-backend-ram,id=ram,size={config.memory}M"]
    # Without `rom=off`, QEMU would treat RAM in a file that is opened read-only as ROM.
    shared = memory.saved and not memory.copied
    mode = "share=off,readonly=on,rom=off" if shared else "share=on"
    path = descriptor_path(memory.ram)
    return ["-object", f"memory-backend-file,id=ram,size={config.memory}M,mem-path={path},{mode}"]


def descriptor_path(descriptor: int) -> str:
    """Return the path by which QEMU opens an inherited file, whose real path it may not access."""
    return f"/dev/fd/{descriptor}"


def _accelerator(accel: Accel, device: int | None) -> list[str]:
    option = ACCELERATORS[accel].option
    if device is None:
        return ["-accel", option]
    return ["-add-fd", f"fd={device},set=1", "-accel", f"{option},device=/dev/fdset/1"]


def _disks(config: QemuConfig, inherited: Inherited) -> list[str]:
    """Return QEMU's options for the image's read-only disk and for the guest's scratch disk.

    The scratch disk is deleted with the machine, so QEMU does not flush writes to the host's disk.
    If a write to the host's disk fails, QEMU pauses the guest. Otherwise a program in the guest
    that does not wait until its data are on the disk would never learn that they are lost.
    """
    found = []
    for number, name, descriptor, mode, errors in (
        (2, "disk", inherited.disk, "read-only=on", ""),
        (3, "scratch", inherited.scratch, "discard=unmap,cache.no-flush=on", ",werror=stop"),
    ):
        if descriptor is not None:
            node = f"driver=file,node-name={name},filename=/dev/fdset/{number},locking=off,{mode}"
            found += ["-add-fd", f"fd={descriptor},set={number}", "-blockdev", node]
            found += ["-device", f"{BUSES[config.bus].block},drive={name}{errors}"]
    return found


def kernel_command_line(config: QemuConfig, *, tsc_khz: int | None) -> str:
    """Return the guest kernel's command line, which contains the TSC's frequency if it is given.

    With `panic=-1`, a kernel panic resets the machine, and then QEMU exits. The program `init` in
    the guest reads the words `disk` and `scratch`, which say which disks exist.
    """
    target = arches.find(config.arch)
    words = [
        f"console={target.console}",
        "quiet" if config.quiet else "",
        "panic=-1",
        target.kernel_options,
        "disk" if config.disk else "",
        "scratch" if config.scratch else "",
    ]
    if _passes_clock(config, tsc_khz):
        words.append(target.clock_option.format(khz=tsc_khz))
    return " ".join(filter(None, words))


def _passes_clock(config: QemuConfig, tsc_khz: int | None) -> bool:
    """Return True if the guest's kernel is told the frequency of the host's time stamp counter."""
    return ACCELERATORS[config.accel].passes_clock and tsc_khz is not None
