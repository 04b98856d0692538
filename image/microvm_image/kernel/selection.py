"""The choice of an image's kernel: a file of the user, the small kernel, or Debian's kernel."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from microvm import cache, guest_pack
from microvm.arches import Arch, Bus, Magic
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm_image.kernel import cached, recipe

if TYPE_CHECKING:
    from microvm_image import package

SMALL, DEBIAN = "small", "debian"
"""Words that users can write instead of a file: the small kernel, and Debian's kernel."""

_KERNEL_LIMIT = 256 << 20
_MODULE_LIMIT = 64 << 20
_XZ_MEMORY = 160 << 20
"""Maximum size of a kernel, of a module, and of the memory to decompress a module, in bytes."""

LOCAL_VERSION = "-microvm"
"""End of the version of the small kernel, which distinguishes it from Debian's kernel.

The small kernel supports virtio devices on the bus mmio, Debian's kernel supports PCI.
"""


MODULES = {
    "": (
        "drivers/virtio/virtio_ring",
        "drivers/virtio/virtio",
        "drivers/virtio/virtio_pci_legacy_dev",
        "drivers/virtio/virtio_pci_modern_dev",
        "drivers/virtio/virtio_pci",
        "drivers/char/virtio_console",
        "fs/overlayfs/overlay",
    ),
    "disk/": (
        "crypto/crc32c_generic",
        "lib/libcrc32c",
        "lib/lz4/lz4_decompress",
        "drivers/block/virtio_blk",
        "fs/erofs/erofs",
        "lib/crc16",
        "fs/mbcache",
        "fs/jbd2/jbd2",
        "fs/ext4/ext4",
    ),
}
"""Kernel modules that `init`, the first process of the guest, loads.

The first list is for the port to the host and the root file system, the second list for disks. The
keys are folders below `lib/modules`, which can have at most ten modules each. Each module is named
by its number, and follows the modules that it needs. A module that is built into the kernel is left
out. Debian 13's kernel for the cloud has the first list built in except for the overlay,
and the second list except for libcrc32c, virtio_blk and erofs.
"""


class Kernel(NamedTuple):
    """A kernel that QEMU can start.

    :ivar version: The version, as `uname -r` prints it.
    :ivar bus: The bus of the virtio devices that the kernel supports.
    :ivar modules: The modules of `MODULES` that are not built into the kernel, by their paths below
        `lib/modules` of the guest.
    """

    data: bytes
    sha256: str
    version: str
    bus: Bus
    modules: Mapping[str, bytes]


def given(arch: Arch, named: str | Path | None = None) -> Path | None:
    """Return the path of the kernel `named`, or of the default one; None for Debian's kernel.

    Without `named`, the first of these is used: $MICROVM_KERNEL, the newest small kernel in the
    cache, the kernel in the guest pack.

    :param named: The path of a kernel, `small` or `debian`.
    :return: The path of a file, which may not exist.
    :raises ImageError: The user wants the small kernel, but none has been built.
    """
    named = _requested(named)
    if named == DEBIAN:
        return None
    if named and named != SMALL:
        return Path(named)
    built = cached.newest(arch) or packed(arch)
    if named and built is None:
        since = " since microvm has changed" if cached.outdated(arch) else ""
        raise ImageError(
            f"no small kernel has been built{since}",
            hint=f"`microvm kernel build` builds one; or {guest_pack.how_to_install(arch)}, which "
            "contains one",
        )
    return built


def packed(arch: Arch) -> Path | None:
    """Return the path of the small kernel in the guest pack, a wheel with compiled guest files.

    Return None if no pack is installed, or if its kernel was built by another recipe.
    """
    folder = guest_pack.part(arch, guest_pack.KERNEL, recipe.digest(arch))
    return folder / guest_pack.KERNEL if folder else None


def _packed(arch: Arch) -> bytes:
    names, digest = [guest_pack.KERNEL], recipe.digest(arch)
    return guest_pack.files(arch, guest_pack.KERNEL, digest, names)[guest_pack.KERNEL]


def _requested(named: str | Path | None) -> str | Path | None:
    return named or os.environ.get("MICROVM_KERNEL")


def find(arch: Arch, named: str | Path | None, report: Reporter) -> Kernel:
    """Return the kernel `named` by the user, or else a small kernel, or else Debian's kernel.

    Debian's kernel is downloaded, unless the cache has it.

    :raises ImageError: The file does not exist or is no kernel, or the package cannot be
        downloaded.
    """
    if chosen := given(arch, named):
        return _read(chosen, arch, _packed(arch) if chosen == packed(arch) else None)
    if not _requested(named) and cached.outdated(arch):
        report.notice(
            "the small kernel is not used, because another version of microvm built it: "
            "run `microvm kernel build`"
        )
    from microvm_image import package

    try:
        return _read(package.fetch(wanted(arch), arch, report).path, arch)
    except ImageError as error:
        reason, hint = "", "set MICROVM_KERNEL to the path of a kernel, such as /boot/vmlinuz"
        if not _requested(named):
            reason = f"{guest_pack.absence(arch)}; "
            hint = f"{guest_pack.how_to_install(arch)}, which has a kernel, or {hint}"
        message = f"cannot get a kernel for the guest: {reason}{error.message}"
        raise ImageError(message, hint=hint, detail=error.detail) from error


def check(arch: Arch, named: str | Path | None) -> None:
    """Check that the kernel's file that `find` uses can be read. Debian's kernel is not checked.

    :raises ImageError: The file cannot be read; or the user wants the small kernel, but none has
        been built.
    """
    if chosen := given(arch, named):
        try:
            chosen.open("rb").close()
        except OSError as error:
            raise _unreadable(chosen, error) from error


def _unreadable(path: Path, error: OSError) -> ImageError:
    return ImageError(f"{path}: cannot read the kernel: {error.strerror}")


def wanted(arch: Arch) -> package.WantedPackage:
    """Return a description of the files that an image needs from Debian's kernel package."""
    from microvm_image import package

    return package.WantedPackage(
        arch.kernel_package,
        "boot/vmlinuz-[^/]*",
        rf"(usr/)?lib/modules/[^/]*/kernel/({'|'.join(chain(*MODULES.values()))})\.ko(\.xz)?",
        stands_for="linux-image-",
    )


def _read(path: Path, arch: Arch, data: bytes | None = None) -> Kernel:
    """Return the kernel in a file, or in its content `data`, after checking its format."""
    import hashlib

    try:
        if data is None:
            data = cache.read(path, _KERNEL_LIMIT, cache.open_plain)
    except OSError as error:
        raise _unreadable(path, error) from error
    version = _version(data)
    if not (version and any(_has(data, magic) for magic in arch.kernel_magics)):
        raise ImageError(
            f"{path}: not a kernel for {arch.name}",
            hint="MICROVM_KERNEL, and --kernel of `microvm image build` and `microvm bench`, take "
            "a file such as /boot/vmlinuz",
        )
    is_small = version.endswith(LOCAL_VERSION)
    bus: Bus = "mmio" if is_small else "pci"
    modules = {} if is_small else _modules(path, version)
    return Kernel(data, hashlib.sha256(data).hexdigest(), version, bus, modules)


def _modules(kernel: Path, version: str) -> dict[str, bytes]:
    """Read the modules that a guest needs: for the kernel /boot/vmlinuz, those in /lib/modules."""
    root = kernel.resolve().parent.parent
    lib = next((lib for lib in (root / "usr/lib", root / "lib") if lib.exists()), root)
    found: dict[str, bytes] = {}
    for folder, names in MODULES.items():
        available = filter(None, (_module(lib / "modules" / version / "kernel" / n) for n in names))
        found |= {f"{folder}{number}.ko": data for number, data in enumerate(available)}
    return found


def _module(path: Path) -> bytes:
    """Read and decompress a module's file; b"" if the file is missing, as for built-in modules."""
    plain, packed = path.with_name(f"{path.name}.ko"), path.with_name(f"{path.name}.ko.xz")
    if plain.exists():
        return _module_file(plain)
    if not packed.exists():
        return b""
    import lzma

    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    try:
        data = decoder.decompress(_module_file(packed), _MODULE_LIMIT + 1)
    except lzma.LZMAError as error:
        raise ImageError(f"{packed}: damaged module: {error}") from error
    if len(data) > _MODULE_LIMIT:
        raise ImageError(f"{packed}: has more than {_MODULE_LIMIT >> 20} MiB, decompressed")
    if not decoder.eof:
        raise ImageError(f"{packed}: damaged module: it is cut short")
    return data


def _module_file(path: Path) -> bytes:
    try:
        return cache.read(path, _MODULE_LIMIT, cache.open_plain)
    except OSError as error:
        raise ImageError(f"{path}: cannot read the module: {error.strerror}") from error


def _has(data: bytes, magic: Magic) -> bool:
    return all(data[offset : offset + len(part)] == part for offset, part in magic)


def _version(data: bytes) -> str:
    # If the kernel is a bzImage, its header contains the offset of the text with the version.
    if data[0x202:0x206] == b"HdrS":
        offset = 0x200 + int.from_bytes(data[0x20E:0x210], "little")
        found = re.match(rb"(\d[\x21-\x7e]+)", data[offset : offset + 256])
    else:
        found = re.search(rb"Linux version (\d[\x21-\x7e]+)", data)
    return found[1].decode() if found else ""
