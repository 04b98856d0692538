"""The origin of a saved guest: all that it was made of and with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from microvm.arches import Accel
from microvm.options import Confinement
from microvm.qemu.accel import host_cpu, kvm_parameters
from microvm.qemu.command_line import QemuConfig
from microvm.qemu.launch import find_qemu, qemu_arguments
from microvm.sha256 import sha256

if TYPE_CHECKING:
    from microvm.images import Image

# What shapes a guest, and what is wrong where it is not the same any more.
_FACTS = {
    "qemu_build": "QEMU is not the one that saved it",
    "arguments_sha256": "QEMU would get other arguments here than it got then",
    "image": "it was made of image {0}, not {1}",
    "kernel_sha256": "its image has another kernel now",
    "initramfs_sha256": "its image has another initramfs now",
    "disk_sha256": "its image has another disk now",
    "scratch": "its disk has another size",
    "host_sha256": "this host has another CPU, kernel, or KVM than the one that saved it",
}


class Origin(NamedTuple):
    """The origin of a saved guest; digests are SHA-256 in hex, empty where there is no such thing.

    Nothing in it but paths changes when the cache, or the container that it is in, is copied.

    :ivar image: the name of the image that was booted.
    :ivar folder: the image's folder; empty where the cache has it, which finds it by its name.
    :ivar qemu: the path of the QEMU that saves it.
    :ivar qemu_build: which build of it that is: its size, and when it was made.
    :ivar arguments_sha256: QEMU's arguments.
    :ivar host_sha256: what of the host such a guest sees; nothing where it is emulated.
    :ivar accel: QEMU's accelerator.
    :ivar memory: the guest's memory in MiB.
    :ivar cpus: the number of the guest's CPUs.
    :ivar scratch: the size of the disk that it writes its root to, in bytes; 0: to memory.
    """

    image: str
    folder: str
    kernel_sha256: str
    initramfs_sha256: str
    disk_sha256: str
    qemu: str
    qemu_build: str
    arguments_sha256: str
    host_sha256: str
    accel: Accel
    memory: int
    cpus: int
    scratch: int

    @property
    def facts(self) -> tuple[object, ...]:
        """All that shapes the guest: where one is another, it cannot be restored."""
        return tuple(getattr(self, fact) for fact in _FACTS)

    def obstacle(self, here: Origin) -> str:
        """Return why a guest of this origin cannot be restored here; empty if it can."""
        for text, then, now in zip(_FACTS.values(), self.facts, here.facts, strict=True):
            if then != now:
                return text.format(then, now)
        return ""


def config(
    image: Image,
    accel: Accel,
    *,
    memory: int,
    cpus: int,
    scratch: int,
    confinement: Confinement = "auto",
) -> QemuConfig:
    """Return the configuration of a machine that boots an image; see `QemuConfig`."""
    return QemuConfig(
        kernel=image.kernel,
        initramfs=image.initramfs,
        bus=image.manifest.bus,
        accel=accel,
        memory=memory,
        cpus=cpus,
        arch=image.manifest.arch,
        disk=image.disk,
        scratch=scratch,
        confinement=confinement,
    )


def origin(image: Image, config: QemuConfig) -> Origin:
    """Return the origin that a guest has which is saved here and now.

    :raises QemuError: QEMU is not installed.
    """
    program = find_qemu(config.arch)
    build = program.stat()
    host = (host_cpu(), kvm_parameters(), os.uname().release) if config.accel != "tcg" else None
    made = image.manifest
    return Origin(
        image=image.name,
        folder="" if image.is_in_cache else str(image.path),
        kernel_sha256=made.kernel_sha256,
        initramfs_sha256=made.initramfs_sha256,
        disk_sha256=made.disk_sha256,
        qemu=str(program),
        qemu_build=f"{build.st_size}-{build.st_mtime_ns}",
        arguments_sha256=digest(qemu_arguments(config)),
        host_sha256=digest(host) if host else "",
        accel=config.accel,
        memory=config.memory,
        cpus=config.cpus,
        scratch=config.scratch,
    )


def digest(value: object) -> str:
    """Return a digest of a value that has one way to be written."""
    return sha256(repr(value).encode()).hexdigest()
