"""Tests of images whose root is on a disk, and of scratch disks for writable roots."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.changed_image import changed_image
from tests.support.disk import disk_image
from tests.support.small_disk import small_disk
from tests.support.target import target

from microvm import BootError, CacheError, GuestDied, MicroVM, cache
from microvm.images import DISK, Image
from microvm.progress import NullReporter
from microvm.start import template
from microvm_image import rootfs

# The tests look for new templates, so they use a cache of their own.
pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("copied_cache")]

MIB = 1 << 20


def member(name: str, **facts: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in facts.items():
        setattr(info, key, value)
    return info


@pytest.fixture(scope="module")
def on_disk(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image with its root on a disk, with files that an initramfs cannot contain."""
    root = rootfs.find(target(), None, None, NullReporter())
    with root.tree() as tree:
        shell = next(entry.data for entry in tree.entries() if entry.name == "bin/busybox")
    capability = {"SCHILY.xattr.security.capability": "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0"}
    return disk_image(
        image,
        tmp_path_factory.mktemp("disk") / "image",
        without=["proc", "sys", "dev", "run", "root"],
        more=[
            (member("tmp", type=tarfile.DIRTYPE, mode=0o700), b""),
            (member("srv/mine", uid=1234, gid=4321, mode=0o4751, mtime=86400), b""),
            (member("srv/same", type=tarfile.LNKTYPE, linkname="srv/mine"), b""),
            (member("srv/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666), b""),
            (member("srv/able", mode=0o755, size=len(shell), pax_headers=capability), shell),
        ],
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def disk_vm(on_disk: Image) -> AsyncIterator[MicroVM]:
    """A running machine with its root on a disk, which the tests only read."""
    async with MicroVM(on_disk) as vm:
        yield vm


async def test_owners_links_devices_and_times_equal_the_image(disk_vm: MicroVM) -> None:
    listed = await disk_vm.run(
        ["stat", "-c", "%n %a %u %g %h %Y %F", "mine", "same", "null"], cwd="/srv", text=True
    )
    assert listed.stdout.splitlines() == [
        "mine 4751 1234 4321 2 86400 regular empty file",
        "same 4751 1234 4321 2 86400 regular empty file",
        "null 666 0 0 1 0 character special file",
    ]
    read = await disk_vm.run(["sh", "-c", "wc -c < /srv/null"], text=True)
    assert read.stdout == "0\n"


async def test_capabilities_are_those_of_the_image(disk_vm: MicroVM) -> None:
    argv = ["grep", "CapEff", "/proc/self/status"]
    shown = await disk_vm.run(argv, command="/srv/able", user=1234, text=True)
    assert shown.stdout.split() == ["CapEff:", f"{1 << 10:016x}"]  # CAP_NET_BIND_SERVICE


async def test_standard_files_exist_with_any_image(disk_vm: MicroVM) -> None:
    seen = await disk_vm.run(
        ["stat", "-c", "%n %a %F", "/", "/tmp", "/root", "/run", "/dev/null", "/proc/self"],
        text=True,
    )
    assert seen.stdout.splitlines() == [
        "/ 755 directory",
        "/tmp 1777 directory",
        "/root 700 directory",
        "/run 755 directory",
        "/dev/null 666 character special file",
        "/proc/self 777 symbolic link",
    ]


async def test_root_is_writable_and_changes_are_not_kept(on_disk: Image) -> None:
    for _ in range(2):
        async with MicroVM(on_disk) as vm:
            script = "ls /etc/new /bin/busybox; echo x > /etc/new && rm /bin/busybox"
            done = await vm.run(["sh", "-c", script], text=True)
            assert (done.returncode, done.stdout) == (0, "/bin/busybox\n")
    assert hashlib.sha256((on_disk.path / DISK).read_bytes()).hexdigest() == (
        on_disk.manifest.disk_sha256
    )


async def test_disk_boots_with_the_kernel_of_the_distribution(image: Image, tmp_path: Path) -> None:
    made = disk_image(image, tmp_path / "image", built_for="debian")
    console = tmp_path / "console"
    async with MicroVM(made, cold=True, disk="64M", console=console) as vm:
        done = await vm.run(["sh", "-c", "head -n 1 /proc/mounts; df -m / | tail -n 1"], text=True)
        assert done.stdout.startswith("overlay / overlay ")
        assert 32 < int(done.stdout.split()[-5]) <= 64
    assert "init: " not in console.read_text(errors="replace")


async def test_boot_from_an_invalid_disk_reports_an_error(on_disk: Image, tmp_path: Path) -> None:
    zeros = bytes(on_disk.manifest.disk_size)
    broken = changed_image(on_disk, tmp_path / "broken", {DISK: zeros}, name="broken")
    with pytest.raises(BootError) as caught:
        async with MicroVM(broken, cold=True):
            pass
    assert "init: mount /dev/vd" in caught.value.detail


@pytest.fixture
def scratch_folder() -> Path:
    """The folder of the files of scratch disks, which have no names."""
    return cache.folder("scratch")


async def test_a_scratch_disk_holds_more_than_the_memory(
    image: Image, scratch_folder: Path
) -> None:
    async with MicroVM(image, memory="96M", disk="128M") as vm:
        assert vm.cloned
        for paths in ("if=/dev/zero of=/var/big", "if=/var/big of=/dev/null"):
            moved = await vm.run(f"dd bs=1M count=96 {paths}".split(), text=True, check=True)
            assert "96+0 records in\n96+0 records out\n" in moved.stderr
        assert not os.listdir(scratch_folder)  # noqa: PTH208 -- it has no name
        full = await vm.run(["dd", "if=/dev/zero", "of=/var/more", "bs=1M"], text=True)
        assert full.returncode == 1
        assert "No space left on device" in full.stderr


async def test_each_clone_has_its_own_scratch_disk(image: Image) -> None:
    async def written(number: int) -> bytes:
        async with MicroVM(image, disk="64M") as vm:
            script = f"ls /etc/mine; echo {number} > /etc/mine; sync; cat /etc/mine"
            return (await vm.run(["sh", "-c", script])).stdout

    assert await asyncio.gather(*map(written, range(3))) == [b"0\n", b"1\n", b"2\n"]


async def test_a_saved_disk_that_was_changed_is_not_used(image: Image) -> None:
    async with MicroVM(image, disk="80M"):
        pass
    saved = cache.folder("templates") / template.STORE.installed()[0].name / "scratch"
    saved.chmod(0o644)
    with saved.open("r+b") as file:
        file.seek(1080)
        file.write(b"\0\0")
    said: list[str] = []
    async with MicroVM(image, disk="80M", notify=said.append) as vm:
        assert (await vm.run(["true"])).returncode == 0
    assert ["its disk has changed since it was saved" in line for line in said] == [True]


@pytest.fixture
def small_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of scratch disks, on a file system that a guest can fill."""
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    with small_disk(tmp_path / "cache/scratch", "24m") as folder:
        yield folder


def fill(folder: Path, *, leave: int) -> Path:
    """Write a file to a file system until it has this number of free bytes."""
    filler = folder / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(folder).free - leave))
    return filler


async def write_too_much(vm: MicroVM, scratch: Path) -> None:
    """Write more to the guest's disk than the host can store, and return the error that results."""
    dd = ["dd", "if=/dev/urandom", "of=/filler", "bs=1M", "count=16", "conv=fsync"]
    with pytest.raises(GuestDied) as caught:
        await vm.run(dd)
    assert caught.value.message == (
        f"disk full on the host: cannot write the guest's scratch disk in {scratch}: "
        "No space left on device"
    )
    assert "free some space, or set MICROVM_CACHE" in caught.value.hint
    assert caught.value.qemu_exit
    assert caught.value.qemu_exit.kind == "limit"


async def test_full_disk_of_the_host_keeps_the_template(image: Image, small_scratch: Path) -> None:
    async with MicroVM(image, disk="64M") as vm:
        assert vm.cloned
        filler = fill(small_scratch, leave=4 * MIB)
        await write_too_much(vm, small_scratch)
    filler.unlink()
    filler = fill(small_scratch, leave=0)
    for cold in (False, True):
        told = rf"disk full while writing {small_scratch} \(free some space, or set "
        with pytest.raises(CacheError, match=told):
            async with MicroVM(image, disk="64M", cold=cold):
                pass
    filler.unlink()
    async with MicroVM(image, disk="64M") as vm:
        assert vm.cloned
