"""Builds the guest of the baseline: the file system of the image with another first process."""

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
    """Return the initramfs of the baseline: the initramfs of the image with another first process.

    :raises ImageError: If no compiler is installed.
    """
    archive = BytesIO()
    # The kernel accepts several archives after each other. If two files have the same name, it uses
    # the later one.
    archive.write(image.initramfs.read_bytes())
    # With a disk, the `init` of the image mounts the root file system, and then executes
    # `sandboxd`.
    name = "sandboxd" if image.disk else "init"
    cpio.write([cpio.CpioEntry.file(name, _compile(image), 0o755)], archive)
    return archive.getvalue()


def _compile(image: Image) -> bytes:
    command = compiler(arches.find(image.manifest.arch), "sandboxd")
    with private.temporary() as folder:
        program = Path(folder, "init")
        run([*command, *_FLAGS, "-o", str(program), str(SOURCE)], what="compiling the baseline")
        return program.read_bytes()
