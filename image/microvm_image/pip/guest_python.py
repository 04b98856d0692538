"""The Python of an image: its version and platform, which determine the wheels that it can use.

They are read from the files of the image, so that no machine has to be started. The files may be
hostile. If they lead to a wrong version or platform, the guest's pip refuses the wheels.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from microvm.arches import ARCHES
from microvm.errors import ImageError
from microvm_image.node import FileNode
from microvm_image.tree import RootfsTree

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The variable PATH of commands in a guest if the image does not set it (guest/environment.c)."""

_LIMIT = 64 << 20  # maximum size in bytes of a program or library that is searched for its version
_NAME = re.compile(r"python3\.(\d{1,2})", re.ASCII)
# the path of the dynamic linker, as the header of a program (ELF) contains it
_LOADER = re.compile(rb"(/[\w./-]{1,100}/ld-(musl|linux)[\w.-]{1,40})\0", re.ASCII)
_HEADER = 64 << 10
_GLIBC = re.compile(rb"release version 2\.(\d{1,3})\b", re.ASCII)
_OLD_NAMES = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}


@dataclass(frozen=True, slots=True)
class GuestPython:
    """The Python of an image.

    :ivar version: The version, such as `3.13.5`. If its last number is unknown, this is 0.
    :ivar arch: The architecture, as `uname -m` prints it.
    :ivar platforms: The platform tags of the wheels that it can use, such as
        `manylinux_2_41_x86_64`.
    :ivar has_pip: True if the image contains pip for this Python.
    """

    version: str
    arch: str
    platforms: tuple[str, ...]
    has_pip: bool

    @property
    def abi(self) -> str:
        """The ABI tag of the wheels with native code that it can use, such as `cp313`."""
        return "cp" + "".join(self.version.split(".")[:2])

    def __str__(self) -> str:
        kind = "musl" if "musl" in self.platforms[0] else "glibc"
        return f"Python {self.version.rpartition('.')[0]} on {self.arch} with {kind}"


def find(tree: RootfsTree, env: tuple[str, ...], arch: str) -> GuestPython:
    """Return the Python that `python3` starts in an image.

    :param env: The variables of commands in the image, as `NAME=VALUE`.
    :param arch: The architecture of the image.
    :raises ImageError: The image has no Python, or one for which no wheels can be chosen.
    """
    variables = dict(entry.split("=", 1) for entry in env)
    folders = variables.get("PATH", _PATH).split(":")
    paths = (posixpath.join(folder, "python3") for folder in folders if folder)
    found = next(filter(None, map(tree.find, paths)), None)
    if found is None:
        raise ImageError(
            "the image has no python3, so no Python packages can be installed",
            hint="use `--from python`, or add Python to the image that `--from` names",
        )
    path, program = found
    name = _NAME.fullmatch(posixpath.basename(path))
    loader = _LOADER.search(_head(program))
    if name is None or loader is None:
        why = f"{path} is not a program with the name python3.N and the library glibc or musl"
        raise ImageError(f"cannot choose Python packages for the image: {why}", hint="use CPython")
    folder = posixpath.dirname(path)
    minor = int(name[1])
    if loader[2] == b"musl":
        platforms = tuple(f"musllinux_1_{each}_{arch}" for each in (2, 1))
    else:
        platforms = tuple(_manylinux(_glibc(tree, loader[1].decode()), arch))
    return GuestPython(
        version=f"3.{minor}.{_patch(tree, program, folder, minor)}",
        arch=arch,
        platforms=platforms,
        has_pip=any(tree.find(f"{each}/pip/__main__.py") for each in _sites(folder, minor)),
    )


def _head(program: FileNode) -> bytes:
    return next(program.data.chunks(), b"")[:_HEADER] if program.data else b""


def _content(found: tuple[str, FileNode] | None) -> bytes:
    """Return the content of a file of the tree; b"" if it is missing or too large."""
    data = found[1].data if found else None
    return b"".join(data.chunks()) if data and data.size <= _LIMIT else b""


def _patch(tree: RootfsTree, program: FileNode, folder: str, minor: int) -> str:
    """Return the last number of Python's version, which is in the program or in its library."""
    version = re.compile(rb"(?<![0-9.])3\.%d\.(\d{1,2})[+abr\0]" % minor)
    library = f"libpython3.{minor}.so.1.0"
    for found in ((folder, program), *(tree.find(f"{folder}/../{lib}/{library}") for lib in _LIBS)):
        if match := version.search(_content(found)):
            return match[1].decode()
    return "0"


_LIBS = ("lib", "lib64")


def _glibc(tree: RootfsTree, loader: str) -> int:
    """Return N if the image has glibc 2.N. Its library is in the folder of the dynamic linker."""
    found = tree.find(loader)
    folder = posixpath.dirname(found[0] if found else loader)
    match = _GLIBC.search(_content(tree.find(f"{folder}/libc.so.6")))
    if match is None:
        why = f"{folder}/libc.so.6 does not tell the version of glibc"
        raise ImageError(f"cannot choose Python packages for the image: {why}")
    return int(match[1])


def _manylinux(newest: int, arch: str) -> Iterator[str]:
    for minor in range(newest, ARCHES[arch].oldest_glibc - 1, -1):
        yield f"manylinux_2_{minor}_{arch}"
        if minor in _OLD_NAMES:
            yield f"{_OLD_NAMES[minor]}_{arch}"


def _sites(folder: str, minor: int) -> Iterator[str]:
    """Yield the folders in which a Python, whose program is in `folder`, searches for packages."""
    for prefix in (f"{folder}/..", "/usr/local", "/usr"):
        for lib in _LIBS:
            yield f"{prefix}/{lib}/python3.{minor}/site-packages"
            yield f"{prefix}/{lib}/python3.{minor}/dist-packages"
        yield f"{prefix}/lib/python3/dist-packages"
