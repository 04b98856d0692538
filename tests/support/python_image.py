"""An image with the host's own Python, or with Debian's Python for another architecture.

The first is built in seconds, and needs no network.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.support.target import build, target

from microvm import arches
from microvm.images import Image
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
    """Build an image from the default image, Python and its C library.

    :param folder: An empty folder for the files that are added.
    """
    steps = _of_this_host(folder) if target() is arches.find() else _of_debian(folder)
    return build(
        Recipe(steps=tuple(steps), cmd=(PYTHON.name,), warm=((PYTHON.name, "-c", "pass"),))
    )


def _of_debian(folder: Path) -> list[AddStep]:
    """Add Debian's Python, of which no program runs on this host."""
    packed = folder / "debian.tar"
    command = ["mmdebstrap", "--quiet", "--variant=extract", "--include=python3"]
    command += [f"--architectures={target().debian}", "trixie", str(packed)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    library, shared = "usr/lib/python3.13", f"usr/lib/{target().name}-linux-gnu"
    subprocess.run(["tar", "-xf", packed, "-C", folder, f"./{library}", f"./{shared}"], check=True)
    subprocess.run(["tar", "-xf", packed, "-C", folder, "./usr/bin/python3.13"], check=True)
    linker = next((folder / shared).glob("ld-linux-*"))
    shutil.copytree(folder / library, folder / "library", ignore=_LEFT_OUT)
    return [
        AddStep(folder / "library", f"/{library}"),
        AddStep(folder / "usr/bin/python3.13", "/usr/bin/python3"),
        AddStep(folder / shared, f"/{shared}"),
        AddStep(linker, f"/lib/{linker.name}"),
    ]


def _of_this_host(folder: Path) -> list[AddStep]:
    """Add the Python and the C library of this host."""
    command = [str(PYTHON), "-I", "-c", _WHERE]
    library, version = subprocess.check_output(command, text=True).split()
    copied = folder / "library"
    shutil.copytree(library, copied, ignore=_LEFT_OUT)
    binaries = [PYTHON.resolve(), *copied.glob("lib-dynload/*.so")]
    return [
        AddStep(copied, f"/usr/lib/python{version}"),
        AddStep(PYTHON.resolve(), "/usr/bin/python3"),
        *(AddStep(Path(each).resolve(), each) for each in sorted(_libraries(binaries))),
    ]


def _libraries(binaries: list[Path]) -> set[str]:
    """Return the shared libraries that the binaries load, and the dynamic linker."""
    listed = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    return set(_LOADED.findall(listed))
