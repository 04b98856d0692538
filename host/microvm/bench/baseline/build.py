"""Builds the guest of the baseline: the image's file system, with its first process replaced."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from microvm import arches, cpio
from microvm.system import private
from microvm.system.compiler import compiler
from microvm.system.tools import run

if TYPE_CHECKING:
    from microvm.images import Image

SOURCE = Path(__file__).with_name("guest.c")

_FLAGS = ("-std=c11", "-D_DEFAULT_SOURCE", "-Os", "-static", "-s")


def build(image: Image) -> bytes:
    """Return the image's initramfs, with its first process replaced by the baseline's program."""
    archive = BytesIO()
    # An initramfs may consist of several archives. If two of them contain the same file, the kernel
    # uses the later one, so appending an archive replaces a file.
    archive.write(image.initramfs.read_bytes())
    # If the root file system is on a disk, the `init` of the image mounts it, and then executes
    # `sandboxd`. So replace `sandboxd`.
    name = "sandboxd" if image.disk else "init"
    cpio.write([cpio.CpioEntry.file(name, _compile(image), 0o755)], archive)
    return archive.getvalue()


def _compile(image: Image) -> bytes:
    command = compiler(arches.find(image.manifest.arch), "sandboxd")
    with private.temporary() as folder:
        program = Path(folder, "init")
        run([*command, *_FLAGS, "-o", str(program), str(SOURCE)], what="compiling the baseline")
        return program.read_bytes()
