"""Tests of the choice of a kernel and of its modules."""

from __future__ import annotations

import lzma
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from microvm import arches
from microvm.errors import ImageError
from microvm.progress import NullReporter
from microvm.system.tools import run
from microvm_image import package
from microvm_image.build import build
from microvm_image.kernel import selection
from microvm_image.kernel.selection import Kernel

pytestmark = pytest.mark.thorough


def find(path: Path | None, name: str | None = None) -> Kernel:
    return selection.find(arches.find(name), path, NullReporter())


@pytest.mark.parametrize("name", arches.ARCHES)
def test_version_is_read_from_the_kernel(kernel: Path, name: str) -> None:
    found = find(kernel, name)
    assert found.version == "6.1.2-test"
    assert found.bus == "pci"


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"#!/bin/sh\n" * 999, None])
def test_file_that_is_no_kernel_is_refused(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "file"
    path.write_bytes(Path(sys.executable).read_bytes() if data is None else data)
    with pytest.raises(ImageError, match="not a kernel for"):
        find(path)


def test_kernel_of_another_architecture_is_refused(kernel: Path) -> None:
    data = bytearray(kernel.read_bytes())
    data[56:60] = bytes(4)
    kernel.write_bytes(data)
    with pytest.raises(ImageError, match="not a kernel for aarch64"):
        find(kernel, "aarch64")


@pytest.mark.parametrize("name", ["missing", "."])
def test_missing_kernel_file_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="cannot read the kernel"):
        find(tmp_path / name)


def beside(kernel: Path, modules: Mapping[str, bytes]) -> Path:
    """Move the kernel and its modules to the paths of a distribution, and return the kernel."""
    root = kernel.parent / "root"
    for name, data in modules.items():
        path = root / "lib/modules/6.1.2-test/kernel" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (root / "boot").mkdir(parents=True, exist_ok=True)
    return kernel.rename(root / "boot" / "vmlinuz")


def test_modules_are_included_in_their_order(kernel: Path) -> None:
    modules = {
        "drivers/char/virtio_console.ko": b"last",
        "drivers/virtio/virtio.ko": b"first",
        "drivers/virtio/virtio_pci.ko.xz": lzma.compress(b"packed"),
        "drivers/net/virtio_net.ko": b"for a network",
        "fs/erofs/erofs.ko": b"for a disk",
        "lib/libcrc32c.ko": b"before it",
    }
    found = find(beside(kernel, modules)).modules
    assert list(found.items()) == [
        ("0.ko", b"first"),
        ("1.ko", b"packed"),
        ("2.ko", b"last"),
        ("disk/0.ko", b"before it"),
        ("disk/1.ko", b"for a disk"),
    ]


def test_built_in_drivers_need_no_modules(kernel: Path) -> None:
    assert find(beside(kernel, {})).modules == {}


def test_a_damaged_module_is_refused(kernel: Path) -> None:
    with pytest.raises(ImageError, match=r"virtio\.ko\.xz: damaged module"):
        find(beside(kernel, {"drivers/virtio/virtio.ko.xz": b"cut"}))


def test_other_modules_make_another_image(archive: Path, kernel: Path) -> None:
    path = beside(kernel, {"drivers/virtio/virtio.ko": b"one"})
    module = next(path.parent.parent.rglob("*.ko"))
    first = build(rootfs=archive, kernel=path)
    module.write_bytes(b"two")
    second = build(rootfs=archive, kernel=path)
    assert first.name != second.name
    assert b"two" in second.initramfs.read_bytes()


def test_only_needed_files_are_extracted(tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    tree = tmp_path / "tree"
    drivers = "lib/modules/6.1-x/kernel/drivers"
    wanted = {"boot/vmlinuz-6.1-x", f"{drivers}/virtio/virtio.ko"}
    others = {"boot/config-6.1-x", f"{drivers}/net/virtio_net.ko", "DEBIAN/control"}
    for name in wanted | others:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x\n")
    subprocess.run(["dpkg-deb", "--build", tree, tmp_path / "x.deb"], check=True)
    taken = tmp_path / "taken"
    package._unpack(tmp_path / "x.deb", selection.wanted(arches.find()), taken)
    assert {str(path.relative_to(taken)) for path in taken.rglob("*") if path.is_file()} == wanted


def test_missing_package_names_the_alternatives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ImageError, match=r"apt-get is not installed.*MICROVM_KERNEL"):
        find(None)


def test_the_package_in_the_cache_needs_no_apt(
    kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = arches.find()
    wanted = selection.wanted(host)
    boot = package.folder_of(wanted, host, "1:6.1-1") / "boot"
    boot.mkdir(parents=True)
    kernel.rename(boot / "vmlinuz-6.1.2-test")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find(None).version == "6.1.2-test"
    assert package.fetch(wanted, host, NullReporter()).version == "1:6.1-1"


def test_program_that_cannot_run_is_no_fault_of_the_cache(tmp_path: Path) -> None:
    (tmp_path / "make").write_text("")
    with pytest.raises(ImageError, match=r"^trying failed: .*/make: Permission denied$"):
        run([str(tmp_path / "make")], what="trying")
