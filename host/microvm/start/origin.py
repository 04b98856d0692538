"""The origin of a saved guest: the image, QEMU, host and options with which it was started."""

from __future__ import annotations

from typing import NamedTuple

from microvm.arches import ACCELERATORS, Accel, native
from microvm.images import Image
from microvm.qemu.accel import Obstacle, obstacle
from microvm.qemu.command_line import QemuConfig
from microvm.qemu.launch import find_qemu, qemu_arguments
from microvm.sha256 import sha256
from microvm.start.host import HostDescription, describe, offered

# The fields of an origin that must have the same values when the guest is restored, each with the
# error text for a difference.
_REQUIREMENTS = {
    "qemu_build": "it was saved by another QEMU",
    "arguments_sha256": "its QEMU had other arguments",
    "image": "it was made from image {0}, not {1}",
    "kernel_sha256": "its image has another kernel now",
    "initramfs_sha256": "its image has another initramfs now",
    "disk_sha256": "its image has another disk now",
    "scratch": "its disk has another size",
    "host_sha256": "KVM offers other features of the processor than when it was saved: {host}",
}


class Origin(NamedTuple):
    """The origin of a saved guest: the image, QEMU, host and options with which it was started.

    Digests are SHA-256 in hexadecimal, or empty. If the cache or its container is copied to another
    host, only the paths change.

    :ivar image: Name of the image that the guest has booted.
    :ivar folder: Folder of the image; empty if the image is in the cache, where its name is enough.
    :ivar qemu: Path of the QEMU that saved the guest.
    :ivar qemu_build: Size and modification time of that QEMU.
    :ivar host_sha256: Digest of the processor's features that the host offers to guests; empty
        under emulation.
    :ivar host: Description of the host, which only explains why `host_sha256` differs.
    :ivar memory: Memory of the guest in MiB.
    :ivar scratch: See `QemuConfig.scratch`.
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
    host: HostDescription

    @property
    def requirements(self) -> tuple[object, ...]:
        """Values of the origin that the saving host and the restoring host must have in common."""
        return tuple(getattr(self, name) for name in _REQUIREMENTS)

    def obstacle(self, here: Origin) -> str:
        """Return why a host with the origin `here` for new guests cannot restore this guest.

        If the host can restore it, return "".
        """
        for name, text in _REQUIREMENTS.items():
            if (then := getattr(self, name)) != (now := getattr(here, name)):
                host = self.host.difference(here.host) if name == "host_sha256" else ""
                return text.format(then, now, host=host)
        return ""

    def lack(self) -> Obstacle | None:
        """Return why KVM cannot be used now, if the guest needs it to be restored."""
        return None if ACCELERATORS[self.accel].emulates else obstacle(native())

    def config(self, image: Image) -> QemuConfig:
        """Return QEMU's configuration for restoring a guest of this origin."""
        return config(image, self.accel, memory=self.memory, cpus=self.cpus, scratch=self.scratch)


def config(image: Image, accel: Accel, *, memory: int, cpus: int, scratch: int) -> QemuConfig:
    """Return QEMU's configuration for booting an image; see `QemuConfig`."""
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
    )


def origin(image: Image, config: QemuConfig) -> Origin:
    """Return the origin of a guest of this image that is being saved on this host now."""
    program = find_qemu(config.arch)
    build = program.stat()
    emulated = ACCELERATORS[config.accel].emulates
    host = HostDescription() if emulated else describe()
    manifest = image.manifest
    return Origin(
        image=image.name,
        folder="" if image.is_in_cache else str(image.path),
        kernel_sha256=manifest.kernel_sha256,
        initramfs_sha256=manifest.initramfs_sha256,
        disk_sha256=manifest.disk_sha256,
        qemu=str(program),
        qemu_build=f"{build.st_size}-{build.st_mtime_ns}",
        arguments_sha256=digest(qemu_arguments(config)),
        host_sha256="" if emulated else offered(host),
        accel=config.accel,
        memory=config.memory,
        cpus=config.cpus,
        scratch=config.scratch,
        host=host,
    )


def digest(value: object) -> str:
    """Return the SHA-256 of `repr(value)` in hexadecimal."""
    return sha256(repr(value).encode()).hexdigest()
