"""Tests of the way from a tar archive to what the guest unpacks."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from microvm import arch
from microvm.errors import ImageError
from microvm_image import initramfs
from microvm_image.cpio import Entry
from microvm_image.sources.alpine import Alpine


def entries(path: Path) -> dict[str, Entry]:
    base = Alpine.check(path.read_bytes(), arch.find(), path)
    return {entry.name: entry for entry in base.entries()}


def initramfs_of(*base: Entry, modules: Mapping[str, bytes] | None = None) -> bytes:
    out = io.BytesIO()
    initramfs.write(base, {"init": b"first", "sandboxd": b"daemon"}, modules or {}, out)
    return out.getvalue()


def kind(type_: bytes, target: str = "") -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        info.type = type_
        info.linkname = target

    return change


def test_members_keep_what_they_are(pin: Callable[..., Path]) -> None:
    found = entries(
        pin(
            **{
                "./": kind(tarfile.DIRTYPE),
                "./bin": kind(tarfile.DIRTYPE),
                "./bin/busybox": b"code",
                "./bin/sh": kind(tarfile.SYMTYPE, "/bin/busybox"),
                "./bin/copy": kind(tarfile.LNKTYPE, "./bin/busybox"),
                "./dev/null": kind(tarfile.CHRTYPE),
            }
        )
    )
    assert list(found) == ["bin", "bin/busybox", "bin/sh", "bin/copy"]
    assert stat.S_ISDIR(found["bin"].mode)
    assert found["bin/sh"] == Entry("bin/sh", stat.S_IFLNK | 0o644, b"/bin/busybox")
    assert found["bin/copy"].data == b"code"


@pytest.mark.parametrize("name", ["../etc/passwd", "/etc/passwd", "a/../../b", ".."])
def test_a_name_that_leads_out_is_refused(pin: Callable[..., Path], name: str) -> None:
    with pytest.raises(ImageError, match="leads out"):
        entries(pin(**{name: b"x"}))


def test_a_hard_link_to_nothing_is_refused(pin: Callable[..., Path]) -> None:
    with pytest.raises(ImageError, match="damaged"):
        entries(pin(link=kind(tarfile.LNKTYPE, "nowhere")))


@pytest.mark.parametrize("data", [b"", b"no archive", gzip.compress(bytes(range(256)) * 8)[:-9]])
def test_what_is_no_whole_archive_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="damaged"):
        list(Alpine("", data).entries())


def test_an_archive_cut_anywhere_is_refused(archive: Path) -> None:
    data = archive.read_bytes()
    for end in range(0, len(data) - 8, 16):
        with pytest.raises(ImageError, match="damaged"):
            list(Alpine("", data[:end]).entries())


def test_our_programs_are_there_whatever_the_base_has() -> None:
    data = initramfs_of(Entry.file("init", b"other"))
    for name, program in ((b"init\0", b"first"), (b"sandboxd\0", b"daemon")):
        assert data.index(name) < data.index(program)
    assert b"other" not in data


def test_modules_lie_in_their_folders() -> None:
    data = initramfs_of(modules={"0.ko": b"the root's", "disk/0.ko": b"a disk's"})
    assert data.index(b"lib/modules/0.ko\0") < data.index(b"the root's")
    assert b"lib/modules/disk\0" in data
    assert data.index(b"lib/modules/disk/0.ko\0") < data.index(b"a disk's")


def test_missing_folders_are_added() -> None:
    data = initramfs_of(Entry.file("usr/share/x", b""))
    for name in (b"usr\0", b"usr/share\0", b"proc\0", b"tmp\0", b".\0"):
        assert name in data


def test_a_member_inside_a_link_is_refused() -> None:
    with pytest.raises(ImageError, match="no folder"):
        initramfs_of(Entry.link("a", "/etc"), Entry.file("a/passwd", b""))
