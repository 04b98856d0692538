"""Tests of the initramfs that is written from a tar archive."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pytest

from microvm.cpio import CpioEntry
from microvm.errors import ImageError
from microvm_image import initramfs


def initramfs_of(*base: CpioEntry, modules: Mapping[str, bytes] | None = None) -> bytes:
    out = io.BytesIO()
    initramfs.write(base, {"init": b"first", "sandboxd": b"daemon"}, modules or {}, out)
    return out.getvalue()


def test_our_programs_replace_those_of_the_base() -> None:
    data = initramfs_of(CpioEntry.file("init", b"other"))
    for name, program in ((b"init\0", b"first"), (b"sandboxd\0", b"daemon")):
        assert data.index(name) < data.index(program)
    assert b"other" not in data


def test_modules_are_in_their_folders() -> None:
    data = initramfs_of(modules={"0.ko": b"the root's", "disk/0.ko": b"a disk's"})
    assert data.index(b"lib/modules/0.ko\0") < data.index(b"the root's")
    assert b"lib/modules/disk\0" in data
    assert data.index(b"lib/modules/disk/0.ko\0") < data.index(b"a disk's")


def test_missing_folders_are_added() -> None:
    data = initramfs_of(CpioEntry.file("usr/share/x", b""))
    for name in (b"usr\0", b"usr/share\0", b"proc\0", b"tmp\0", b".\0"):
        assert name in data


def test_a_member_inside_a_link_is_refused() -> None:
    with pytest.raises(ImageError, match="no folder"):
        initramfs_of(CpioEntry.link("a", "/etc"), CpioEntry.file("a/passwd", b""))
