"""The checks of images: the default one, its kernel, and the tools that others are made with."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from microvm.cli.checks.check import CheckResult, EarlierResults, HostCheck, HostFault, Severity, ok
from microvm.errors import ImageError

if TYPE_CHECKING:
    from microvm.images import Image

NO_KERNEL = HostFault(
    "failed",
    "MICROVM_KERNEL names {path}, which is not there",
    "unset MICROVM_KERNEL",
)
NO_SMALL = HostFault("failed", "no small kernel has been built", "microvm kernel build")
NO_APT = HostFault(
    "failed",
    "there is no {program}, by which Debian's kernel is downloaded",
    means="and no small kernel has been built, and no image either",
    hint="MICROVM_KERNEL=FILE names a kernel, such as one of Debian's for the cloud",
)
SLOW_KERNEL = HostFault(
    "note",
    "new images get Debian's kernel: a small one boots several times faster",
    "microvm kernel build",
    "or the small one that was built is another version's; the extra `guest` brings one",
)


def kernel(_: EarlierResults) -> CheckResult:
    """See which one new images get."""
    from microvm import arches
    from microvm_image.kernel import selection

    try:
        given = selection.given(arches.find())
    except ImageError as error:
        if error.message.startswith(NO_SMALL.text):
            return NO_SMALL.found()
        return NO_SMALL.of(error, mend="")  # of a guest pack that is damaged
    if given is not None:
        path = Path(given)
        if os.path.isfile(path):  # noqa: PTH113 - which does not raise
            return ok(f"new images get {path}")
        return NO_KERNEL.found(path=path)
    programs = ("apt-get", "apt-cache", "dpkg-deb")
    missing = next((each for each in programs if shutil.which(each) is None), None)
    if missing and there() is None:
        return NO_APT.found(program=missing)
    return SLOW_KERNEL.found()


NO_ROOTFS = HostFault(
    "failed",
    "MICROVM_ROOTFS names {path}, and there is no archive",
    "unset MICROVM_ROOTFS",
)
CLOSED_ROOTFS = HostFault(
    "failed",
    "MICROVM_ROOTFS names {path}, which you cannot read: {why}",
    "unset MICROVM_ROOTFS",
    "where an image is there already, this is a note",
    "or `chmod` it, and the folders that it is in, so that you can",
)
NOT_BUILT = HostFault(
    "note",
    "it is built on the first start, of {what}",
    "microvm image build",
    "nothing is wrong; what it is built of comes from a mirror, where it is not here",
)


def image(_: EarlierResults) -> CheckResult:
    """See whether the default image is there, or what it would be built of."""
    from microvm import arches, cache, guest_pack
    from microvm.cli.presets import Presets
    from microvm_image import rootfs
    from microvm_image.sources import alpine

    target = arches.find()
    found, given = there(), rootfs.given(target)
    needed: Severity = "note" if found or Presets().find("image", "run") else "failed"
    if given:
        try:
            os.close(cache.open_plain(given))
        except PermissionError as error:
            return CLOSED_ROOTFS.found(status=needed, path=given, why=error.strerror)
        except OSError:
            return NO_ROOTFS.found(status=needed, path=given)
    if found:
        made = found.manifest
        return ok(f"{found.name}: {made.base}, kernel {made.kernel_version}")
    if given:
        return NOT_BUILT.found(what=given)
    kept = rootfs.cached(target)
    if kept.is_file():
        return NOT_BUILT.found(what=kept)
    if rootfs.packed(target):
        return NOT_BUILT.found(what=guest_pack.distribution(target))
    mirror = os.environ.get("MICROVM_MIRROR") or alpine.MIRROR
    return NOT_BUILT.found(what=alpine.url(target, mirror))


def there() -> Image | None:
    """Return the default image, if it is there and whole."""
    from microvm import arches
    from microvm.images import load
    from microvm_image import defaults

    try:
        return load(defaults.noted(arches.find()))
    except ImageError:
        return None


NO_TOOLS = HostFault(
    "note",
    "not installed: {tools}",
    "sudo apt install {packages}",
    "each is for what stands behind it, and for nothing else",
)

TOOLS = {
    "mkfs.erofs": ("erofs-utils", "images larger than memory"),
    "mkfs.ext4": ("e2fsprogs", "--disk"),
    "mmdebstrap": ("mmdebstrap", "images of Debian's packages"),
    "newuidmap": ("uidmap", "these, without root"),
    "skopeo": ("skopeo", "images of registries"),
}
"""Programs by their names: their packages, and what they are for."""


def tools(_: EarlierResults) -> CheckResult:
    """Look for the programs that some images are made with."""
    from microvm.system.tools import find

    wanted = {name for name in TOOLS if name != "newuidmap" or os.geteuid() != 0}
    missing = [name for name in TOOLS if name in wanted and find(name) is None]
    if missing:
        return NO_TOOLS.found(
            tools=", ".join(f"{name} ({TOOLS[name][1]})" for name in missing),
            mend=f"sudo apt install {' '.join(TOOLS[name][0] for name in missing)}",
        )
    return ok(", ".join(sorted(wanted)))


CHECKS = (
    HostCheck(
        "kernel",
        "The kernel that new images get.",
        kernel,
        (NO_KERNEL, NO_SMALL, NO_APT, SLOW_KERNEL),
        after=("cache",),
    ),
    HostCheck(
        "image",
        "The default image.",
        image,
        (NO_ROOTFS, CLOSED_ROOTFS, NOT_BUILT),
        after=("config", "cache"),
    ),
    HostCheck("tools", "Programs that some images are made with.", tools, (NO_TOOLS,)),
)
