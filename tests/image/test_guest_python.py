"""Tests that read the version and the platform of Python from the files of an image."""

from __future__ import annotations

import pytest
from tests.image.layers import LayerMember, file, folder, layer, link, tar

from microvm.errors import ImageError
from microvm_image.pip import guest_python
from microvm_image.pip.guest_python import GuestPython
from microvm_image.tree import RootfsTree

GLIBC = b"\x7fELF..\0/lib64/ld-linux-x86-64.so.2\0"
MUSL = b"\x7fELF..\0/lib/ld-musl-x86_64.so.1\0"
VERSION = b"\0Python/3.13.5\x003.131.7\0"
LIBRARY = b"GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n"
DEBIAN = (
    link("bin", "usr/bin"),
    link("lib64", "usr/lib64"),
    link("usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
    file("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
    file("usr/lib/x86_64-linux-gnu/libc.so.6", LIBRARY),
)


def read(*members: LayerMember, env: tuple[str, ...] = (), arch: str = "x86_64") -> GuestPython:
    with RootfsTree() as tree:
        tree.add(layer(tar(*members)))
        return guest_python.find(tree, env, arch)


def test_debian_package_of_python() -> None:
    found = read(
        *DEBIAN,
        link("usr/bin/python3", "python3.13"),
        file("usr/bin/python3.13", GLIBC + VERSION),
        file("usr/lib/python3/dist-packages/pip/__main__.py"),
    )
    assert (found.version, found.abi, found.has_pip) == ("3.13.5", "cp313", True)
    assert found.platforms[:2] == ("manylinux_2_36_x86_64", "manylinux_2_35_x86_64")
    assert found.platforms[-2:] == ("manylinux_2_5_x86_64", "manylinux1_x86_64")
    assert "manylinux2014_x86_64" in found.platforms
    assert str(found) == "Python 3.13 on x86_64 with glibc"


def test_python_in_a_library_of_its_own_folder() -> None:
    found = read(
        *DEBIAN,
        link("usr/bin/python3", "python3.11"),
        file("usr/bin/python3.11", GLIBC),
        link("usr/local/bin/python3", "python3.12"),
        file("usr/local/bin/python3.12", GLIBC),
        file("usr/local/lib/libpython3.12.so.1.0", b"\x003.12.11\0"),
        file("usr/lib/python3/dist-packages/other/__main__.py"),
    )
    assert (found.version, found.has_pip) == ("3.12.11", False)


def test_python_of_a_virtual_environment() -> None:
    found = read(
        *DEBIAN,
        link("venv/bin/python3", "/usr/local/bin/python3"),
        link("usr/local/bin/python3", "python3.12"),
        file("usr/local/bin/python3.12", GLIBC),
        env=("PATH=/venv/bin:/usr/bin",),
    )
    assert (found.version, found.abi) == ("3.12.0", "cp312")


def test_python_of_alpine() -> None:
    found = read(
        link("usr/bin/python3", "python3.12"),
        file("usr/bin/python3.12", MUSL.replace(b"x86_64", b"aarch64")),
        arch="aarch64",
    )
    assert found.platforms == ("musllinux_1_2_aarch64", "musllinux_1_1_aarch64")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "the image has no python3"),
        ([folder("usr/bin/python3")], "usr/bin/python3 is not a program"),
        ([link("usr/bin/python3", "python3")], "the image has no python3"),
        ([link("usr/bin/python3", "/dev/zero"), file("dev/zero")], "/dev/zero is not a program"),
        ([link("usr/bin/python3", "pypy3.10"), file("usr/bin/pypy3.10", GLIBC)], "use CPython"),
        (
            [link("usr/bin/python3", "python3.9"), file("usr/bin/python3.9", GLIBC)],
            "libc.so.6 does not tell the version of glibc",
        ),
        ([link("usr/bin/python3", "a/" * 2000 + "b")], "the image has no python3"),
    ],
)
def test_image_without_a_usable_python(members: list[LayerMember], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read(*members)


def test_file_that_is_too_large_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_python, "_LIMIT", 1 << 10)
    members = (link("usr/bin/python3", "python3.13"), file("usr/bin/python3.13", GLIBC + VERSION))
    assert read(*DEBIAN, *members).version == "3.13.5"
    large = file("usr/bin/python3.13", GLIBC + VERSION + bytes(1 << 10))
    assert read(*DEBIAN, members[0], large).version == "3.13.0"
