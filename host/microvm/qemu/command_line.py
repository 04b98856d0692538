"""The command line of QEMU, and what it is asked first: pure functions of a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from microvm import arches
from microvm.arches import Accel, Bus
from microvm.constants import PORT_NAME
from microvm.options import Confinement

_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
# Port 0 is reserved for a console, ours is port 1: the kernel sets up queues for each that may be.
_SERIAL_DEVICE = {
    "pci": "virtio-serial-pci,max_ports=2",
    "mmio": "virtio-serial-device,max_ports=2",
}
_BLOCK_DEVICE = {"pci": "virtio-blk-pci", "mmio": "virtio-blk-device"}

IGNORE_SHARED = "x-ignore-shared"
"""The capability of migrations by which RAM that is a shared file stays where it is."""


class QemuConfig(NamedTuple):
    """The configuration of a machine, as QEMU needs it.

    :ivar kernel: a bzImage, an Image or a PVH ELF file.
    :ivar initramfs: a cpio archive.
    :ivar bus: the bus of the virtio devices, for which the kernel has drivers.
    :ivar memory: the guest's memory in MiB.
    :ivar cpus: the number of CPUs that the guest sees.
    :ivar arch: the guest's architecture, as `uname -m` names it.
    :ivar disk: the EROFS file system that is the lower layer of the root; None if that is the
        initramfs.
    :ivar scratch: the size in bytes of the disk to which changes of the root are written; 0 for
        memory.
    :ivar quiet: whether the kernel prints no boot messages.
    :ivar confinement: what QEMU is to be confined by; see `microvm.qemu.confinement`.
    """

    kernel: Path
    initramfs: Path
    bus: Bus
    accel: Accel
    memory: int = 256
    cpus: int = 1
    arch: str = "x86_64"
    disk: Path | None = None
    scratch: int = 0
    quiet: bool = True
    confinement: Confinement = "auto"


class Memory(NamedTuple):
    """The files that a guest is saved in, or restored from, by their descriptors.

    :ivar ram: the guest's memory.
    :ivar state: the rest of the machine, as QEMU writes it.
    :ivar scratch: the disk that the root is written to, if it is on one: this QEMU's own.
    :ivar saved: whether a guest is in them, to be restored; else QEMU is to save one there.
    :ivar sent: the file to which the guest that is to be saved was sent; None: it is booted.
    :ivar copied: whether the memory of a saved guest is a copy for this QEMU alone, to be written.
    :ivar identity: a value that tells a saved guest from a later one of the same name.
    """

    ram: int
    state: int
    saved: bool
    sent: int | None = None
    scratch: int | None = None
    copied: bool = False
    identity: tuple[int, ...] = ()


class QmpRequest(NamedTuple):
    """A request of QMP."""

    command: str
    arguments: Mapping[str, object] = {}

    @property
    def message(self) -> dict[str, object]:
        """What is sent, as JSON."""
        return {"execute": self.command, "arguments": self.arguments}


class Inherited(NamedTuple):
    """The descriptors that QEMU inherits; so it needs no path, and nothing has to be unlinked."""

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
        """Return every descriptor that is there."""
        own = (self.qmp, self.port, self.console, self.kernel, self.initramfs)
        some: tuple[int | None, ...] = (self.kvm, self.disk, self.scratch)
        if self.memory is not None:
            some += (self.memory.ram, self.memory.state, self.memory.sent)
        return (*own, *(each for each in some if each is not None))

    def read(self) -> tuple[int, ...]:
        """Return the files that QEMU opens again by their descriptors, and may not write."""
        memory = self.memory
        shared = (memory.ram,) if memory and memory.saved and not memory.copied else ()
        return (self.kernel, self.initramfs, *shared)

    def disks(self) -> tuple[int, ...]:
        """Return the disks that QEMU reads by their descriptors alone, and may not write."""
        return () if self.disk is None else (self.disk,)

    def written(self) -> tuple[int, ...]:
        """Return those that it opens anew to write them, which are in memory."""
        memory = self.memory
        if memory is None or (memory.saved and not memory.copied):
            return ()
        return (memory.ram,) if memory.saved else (memory.ram, memory.state)


def arguments(config: QemuConfig, inherited: Inherited, *, tsc_khz: int | None) -> list[str]:
    """Return the arguments that QEMU is started with, without its own name.

    :param tsc_khz: the frequency of the host's TSC, if it has one and we know it.
    :raises UsageError: for an architecture that is not in the table.
    """
    target = arches.find(config.arch)
    return [
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *(("-incoming", "defer") if _restores(inherited) else ("-S",)),
        *("-sandbox", _SANDBOX),
        # Pages merged with others' would tell, by the time that a write takes, what these hold.
        *("-M", f"{target.machine[config.bus]},memory-backend=ram,mem-merge=off"),
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
        *("-chardev", f"socket,id=port,fd={inherited.port}", "-device", _serial_device(config)),
        *("-device", f"virtserialport,chardev=port,name={PORT_NAME}"),
    ]


def requests(memory: Memory | None) -> Sequence[QmpRequest]:
    """Return what QEMU is asked before anything else: to start its guest, if that can be said.

    How one is restored that was sent depends on QEMU's version.
    """
    asked = [QmpRequest("qmp_capabilities")]
    if memory is None or not (memory.saved or memory.sent is not None):
        asked.append(QmpRequest("cont"))
    elif memory.sent is None:
        # Of versions that need a copy of the memory, none can read a file by its name.
        uri = f"fd:{memory.state}" if memory.copied else f"file:{descriptor_path(memory.state)}"
        shared = [{"capability": name, "state": True} for name in ("events", IGNORE_SHARED)]
        asked += [
            QmpRequest("migrate-set-capabilities", {"capabilities": shared}),
            QmpRequest("migrate-incoming", {"uri": uri}),
        ]
    return asked


def _restores(inherited: Inherited) -> bool:
    memory = inherited.memory
    return memory is not None and (memory.saved or memory.sent is not None)


def _backend(config: QemuConfig, memory: Memory | None) -> list[str]:
    """Return the RAM, under one name for all, so that a guest can move from one to another.

    As a file it is written while a guest is saved in it, and copied on write by clones.
    """
    if memory is None:
        return ["-object", f"memory-backend-ram,id=ram,size={config.memory}M"]
    # A file that is opened for reading only would make the RAM a ROM without `rom=off`.
    shared = memory.saved and not memory.copied
    mode = "share=off,readonly=on,rom=off" if shared else "share=on"
    path = descriptor_path(memory.ram)
    return ["-object", f"memory-backend-file,id=ram,size={config.memory}M,mem-path={path},{mode}"]


def descriptor_path(descriptor: int) -> str:
    """Return a path that opens an inherited file anew, even if its own is in root's home."""
    return f"/dev/fd/{descriptor}"


def _accelerator(accel: Accel, kvm: int | None) -> list[str]:
    if kvm is None:
        return ["-accel", accel]
    return ["-add-fd", f"fd={kvm},set=1", "-accel", "kvm,device=/dev/fdset/1"]


def _disks(config: QemuConfig, inherited: Inherited) -> list[str]:
    """Return the disks, which all clones read, and which this guest alone writes.

    The one that is written is gone with the machine: so nothing waits until it is safe on the host.
    Where the host does not take a write, QEMU stops the guest: a program that has not waited for
    its data would never be told that they are lost.
    """
    found = []
    for number, name, descriptor, mode, errors in (
        (2, "disk", inherited.disk, "read-only=on", ""),
        (3, "scratch", inherited.scratch, "discard=unmap,cache.no-flush=on", ",werror=stop"),
    ):
        if descriptor is not None:
            node = f"driver=file,node-name={name},filename=/dev/fdset/{number},locking=off,{mode}"
            found += ["-add-fd", f"fd={descriptor},set={number}", "-blockdev", node]
            found += ["-device", f"{_BLOCK_DEVICE[config.bus]},drive={name}{errors}"]
    return found


def _serial_device(config: QemuConfig) -> str:
    device = _SERIAL_DEVICE[config.bus]
    if config.accel == "tcg" and config.bus == "pci":
        # An emulated CPU writes to the port itself for less than it costs to wake another thread.
        device += ",ioeventfd=off"
    return device


def kernel_command_line(config: QemuConfig, *, tsc_khz: int | None) -> str:
    """Return the kernel's command line: a panic resets, and a reset ends QEMU.

    What the kernel does not know is for `init`: which disks there are.
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
    if config.accel == "tcg" and config.arch == "x86_64" and tsc_khz is not None:
        # TCG's TSC is the host's. Calibrating it on a busy host fails at random and hangs the boot.
        words.append(f"tsc_early_khz={tsc_khz}")
    return " ".join(filter(None, words))
