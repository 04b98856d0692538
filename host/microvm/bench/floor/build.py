"""The floor's guest: the image's own file system with another first process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from microvm_image import arch as arches
from microvm_image import cpio, daemon
from microvm_image.process import run

if TYPE_CHECKING:
    from microvm_image.image import Image

SOURCE = Path(__file__).with_name("guest.c")

_FLAGS = ("-std=c11", "-D_DEFAULT_SOURCE", "-Os", "-static", "-s")
_INITRAMFS = "initramfs.cpio"
_INIT = "init"


def build(image: Image, folder: Path) -> Path:
    """Write an initramfs that is the image's but for its first process, and return its path.

    :raise ImageError: there is no compiler that makes it.
    """
    program = folder / _INIT
    compiler = daemon.compiler(arches.find(image.manifest.arch))
    run([*compiler, *_FLAGS, "-o", str(program), str(SOURCE)], what="compiling the floor's guest")
    path = folder / _INITRAMFS
    with path.open("wb") as out:
        # Archives may follow one another, and of two files with one name the later counts.
        out.write(image.initramfs.read_bytes())
        cpio.write([cpio.Entry.file(_INIT, program.read_bytes(), 0o755)], out)
    return path
