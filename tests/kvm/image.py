"""The image of the emulated machine: Debian with QEMU, Python, a compiler and KVM's modules."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.kvm.sources import BUILD, ROOT

from microvm import arches
from microvm.errors import ImageError
from microvm.images import Image, load
from microvm.progress import LineReporter
from microvm.sha256 import sha256
from microvm_image import package, programs
from microvm_image.build import build
from microvm_image.kernel.selection import DEBIAN
from microvm_image.recipe import AddStep, Recipe
from microvm_image.step_runner import StepRunner

FOLDER = "/opt/kvm"
"""The folder in the image that contains KVM's modules."""

MODULES = ("irqbypass", "kvm", "kvm-amd")
"""The names of KVM's modules, each after the modules that it needs."""

_TAG = "test-kvm"
# A test writes to a register of the processor through the module `msr`.
_MEMBERS = "virt/lib/irqbypass", "arch/x86/kvm/kvm", "arch/x86/kvm/kvm-amd", "arch/x86/kernel/msr"
_PACKAGES = (
    "qemu-system-x86 python3 gcc libc6-dev make kmod procps util-linux passwd strace e2fsprogs "
    "erofs-utils spin"
).split()
_PYTHON_PACKAGES = set(
    "anyio attrs backports-zstd click execnet hypothesis idna iniconfig markdown-it-py mdurl "
    "outcome packaging pexpect platformdirs pluggy ptyprocess pygments pytest pytest-asyncio "
    "pytest-xdist qemu-qmp rich sniffio sortedcontainers trio typing-extensions uvloop".split()
)


def find() -> Image:
    """Return the image, and build it if it does not exist, which takes some minutes."""
    pins = _pinned()
    facts = (*_PACKAGES, *pins, *_MEMBERS, programs.source_digest())
    digest = sha256("\n".join(facts).encode()).hexdigest()
    note = BUILD / "image"
    with suppress(OSError, ImageError, ValueError):
        known, name = note.read_text().split()
        if known == digest:
            return load(name)
    image = _built(pins)
    BUILD.mkdir(parents=True, exist_ok=True)
    note.write_text(f"{digest} {image.name}\n")
    return image


def _built(pins: list[str]) -> Image:
    report = LineReporter()
    with TemporaryDirectory() as folder:
        version = _copy_modules(Path(folder), report)
        recipe = Recipe(
            source="debian:trixie",
            packages=tuple(_PACKAGES),
            pip=tuple(pins),
            steps=(AddStep(Path(folder), FOLDER),),
        )
        run = StepRunner(memory="1G", cpus=2, disk="4G", accel="tcg")
        image = build(recipe, kernel=DEBIAN, tag=_TAG, run=run, report=report)
    if image.manifest.kernel_version != version:
        raise ImageError(f"KVM's modules are of Linux {version}, the kernel is another one")
    return image


def _copy_modules(folder: Path, report: LineReporter) -> str:
    """Copy KVM's modules of Debian's kernel to a folder, and return the version of the kernel."""
    arch = arches.find("x86_64")
    wanted = package.WantedPackage(
        arch.kernel_package,
        "boot/vmlinuz-[^/]*",
        rf"(usr/)?lib/modules/[^/]*/kernel/({'|'.join(_MEMBERS)})\.ko\.xz",
        stands_for="linux-image-",
    )
    kernel = package.fetch(wanted, arch, report).path
    for path in kernel.parents[1].rglob("*.ko.xz"):
        shutil.copyfile(path, folder / path.name)
    return kernel.name.removeprefix("vmlinuz-")


def _pinned() -> list[str]:
    """Return the Python packages of the image with their versions in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line.partition("==")[0] in _PYTHON_PACKAGES]
    if len(pins) != len(_PYTHON_PACKAGES):
        raise ImageError("constraints.txt lacks a package of the emulated machine")
    return pins
