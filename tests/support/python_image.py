"""An image with the host's own Python, which is built in seconds and needs no network."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from microvm.images import Image
from microvm_image.build import build
from microvm_image.recipe import AddStep, Recipe

PYTHON = Path("/usr/bin/python3")

#: The parts of the standard library that no test needs in a guest.
_LEFT_OUT = shutil.ignore_patterns(
    *("test", "tests", "idlelib", "ensurepip", "pydoc_data", "tkinter", "turtledemo", "lib2to3"),
    *("config-*", "*.opt-?.pyc", "_test*", "xx*", "*.a", "sitecustomize.py", "EXTERNALLY-MANAGED"),
)
_LOADED = re.compile(r"(/\S+) \(0x")
_WHERE = (
    "import sys, sysconfig; print(sysconfig.get_path('stdlib'), '%d.%d' % sys.version_info[:2])"
)


def python_image(folder: Path) -> Image:
    """Build an image from the default image, the host's Python and the C library of the host.

    :param folder: An empty folder for the files that are added.
    """
    command = [str(PYTHON), "-I", "-c", _WHERE]
    library, version = subprocess.check_output(command, text=True).split()
    copied = folder / "library"
    shutil.copytree(library, copied, ignore=_LEFT_OUT)
    binaries = [PYTHON.resolve(), *copied.glob("lib-dynload/*.so")]
    steps = [
        AddStep(copied, f"/usr/lib/python{version}"),
        AddStep(PYTHON.resolve(), "/usr/bin/python3"),
        *(AddStep(Path(each).resolve(), each) for each in sorted(_libraries(binaries))),
    ]
    return build(
        Recipe(steps=tuple(steps), cmd=(PYTHON.name,), warm=((PYTHON.name, "-c", "pass"),))
    )


def _libraries(binaries: list[Path]) -> set[str]:
    """Return the shared libraries that the binaries load, and the dynamic linker."""
    listed = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    return set(_LOADED.findall(listed))
