"""The checks of images: the default image, its kernel, and the tools that build other images."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from microvm import arches, cache, guest_pack
from microvm.cli.checks.check import CheckResult, EarlierResults, HostCheck, HostFault, Severity, ok
from microvm.cli.presets import Presets
from microvm.errors import MicroVMError
from microvm.images import Image, load
from microvm.system.tools import find
from microvm_image import defaults, rootfs
from microvm_image.kernel import selection
from microvm_image.sources import alpine

NO_KERNEL = HostFault(
    "failed",
    "the kernel of new images cannot be used: {why}",
    "unset MICROVM_KERNEL",
    "MICROVM_KERNEL names a kernel that does not exist, or the guest pack is damaged",
)
NO_APT = HostFault(
    "failed",
    "{program} is missing, which downloads Debian's kernel",
    meaning="no small kernel has been built, and no image either",
    hint="name a kernel with MICROVM_KERNEL=FILE, such as Debian's kernel for the cloud",
)
SLOW_KERNEL = HostFault(
    "note",
    "new images get Debian's kernel, although a small kernel boots several times faster",
    "microvm kernel build",
    "no small kernel has been built, or an older version of microvm built it; the extra `guest` "
    "contains one",
)


def check_kernel(_: EarlierResults) -> CheckResult:
    """Check that a kernel exists that `microvm image build` can put into new images."""
    try:
        given = selection.given(arches.find())
    except MicroVMError as error:
        unset = "unset MICROVM_KERNEL" if os.environ.get("MICROVM_KERNEL") else ""
        return NO_KERNEL.result(why=error.message, hint=error.hint, fix=unset)
    if given is not None:
        path = Path(given)
        if os.path.isfile(path):  # noqa: PTH113 - Path.is_file may raise PermissionError
            return ok(f"new images get {path}")
        return NO_KERNEL.result(why=f"{path} is not a file")
    programs = ("apt-get", "apt-cache", "dpkg-deb")
    missing = next((each for each in programs if shutil.which(each) is None), None)
    if missing and default_image() is None:
        return NO_APT.result(program=missing)
    return SLOW_KERNEL.result()


NO_ROOTFS = HostFault(
    "failed",
    "the archive of the root file system, which MICROVM_ROOTFS names, cannot be read: {why}",
    "unset MICROVM_ROOTFS",
    "this is a note if the default image exists",
)


def check_image(_: EarlierResults) -> CheckResult:
    """Check that the default image exists, or find the archive from which it will be built."""
    target = arches.find()
    found, given = default_image(), rootfs.given(target)
    if given:
        try:
            os.close(cache.open_plain(given))
        except OSError as error:
            needed: Severity = "note" if found or Presets().find("image", "run") else "failed"
            return NO_ROOTFS.result(status=needed, why=f"{given}: {error.strerror or error}")
    if found:
        return ok(f"{found.name}: {found.manifest.base}, kernel {found.manifest.kernel_version}")
    kept = rootfs.cached(target)
    if given or kept.is_file():
        source = str(given or kept)
    elif rootfs.packed(target):
        source = guest_pack.distribution(target)
    else:
        source = alpine.url(target, os.environ.get("MICROVM_MIRROR") or alpine.MIRROR)
    return ok(f"the first start builds it from {source}")


def default_image() -> Image | None:
    """Return the default image, or None if it does not exist or is damaged."""
    try:
        return load(defaults.noted(arches.find()))
    except MicroVMError:
        return None


NO_TOOLS = HostFault(
    "note",
    "not installed: {tools}",
    "sudo apt install {packages}",
    "each program is needed only for the purpose in parentheses",
)

TOOLS = {
    "mkfs.erofs": ("erofs-utils", "images larger than memory"),
    "mkfs.ext4": ("e2fsprogs", "--disk"),
    "mmdebstrap": ("mmdebstrap", "images with Debian"),
    "newuidmap": ("uidmap", "images with Debian, without root"),
    "skopeo": ("skopeo", "images from registries"),
}
"""The Debian package and the purpose of each program that some builds of images need."""


def check_tools(_: EarlierResults) -> CheckResult:
    """Look for the programs that some builds of images need, such as mkfs.erofs."""
    wanted = [name for name in TOOLS if name != "newuidmap" or os.geteuid() != 0]
    missing = [name for name in wanted if find(name) is None]
    if missing:
        packages = " ".join(TOOLS[name][0] for name in missing)
        tools = ", ".join(f"{name} ({TOOLS[name][1]})" for name in missing)
        return NO_TOOLS.result(tools=tools, fix=f"sudo apt install {packages}")
    return ok(", ".join(wanted))


CHECKS = (
    HostCheck(
        "kernel",
        "The kernel that new images get.",
        check_kernel,
        (NO_KERNEL, NO_APT, SLOW_KERNEL),
        after=("cache",),
    ),
    HostCheck("image", "The default image.", check_image, (NO_ROOTFS,), after=("config", "cache")),
    HostCheck("tools", "Programs that some images need.", check_tools, (NO_TOOLS,)),
)
