"""What passes for a kernel."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from microvm.errors import ImageError
from microvm_image import arch, kernel, package
from microvm_image.kernel import Kernel
from microvm_image.progress import Silent


def find(path: Path | None, name: str | None = None) -> Kernel:
    return kernel.find(arch.find(name), path, Silent())


@pytest.mark.parametrize("name", arch.ARCHES)
def test_a_kernel_tells_its_version(kernel: Path, name: str) -> None:
    found = find(kernel, name)
    assert found.version == "6.1.2-test"
    assert found.bus == "pci"


def test_the_environment_names_one(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROVM_KERNEL", str(kernel))
    assert find(None).version == "6.1.2-test"


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"#!/bin/sh\n" * 999])
def test_what_is_no_kernel(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ImageError, match="not a kernel for"):
        find(path)


def test_a_program_is_no_kernel() -> None:
    with pytest.raises(ImageError, match="not a kernel for"):
        find(Path(sys.executable))


def test_a_kernel_of_another_architecture(kernel: Path) -> None:
    data = bytearray(kernel.read_bytes())
    data[56:60] = bytes(4)
    kernel.write_bytes(data)
    with pytest.raises(ImageError, match="not a kernel for aarch64"):
        find(kernel, "aarch64")


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_kernel_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="cannot read the kernel"):
        find(tmp_path / name)


def test_no_package_says_what_else_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ImageError, match=r"apt-get is not installed.*--kernel"):
        find(None)


def test_the_package_in_the_cache_needs_no_apt(
    kernel: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = arch.find()
    (cache / "downloads").mkdir(parents=True)
    kernel.rename(cache / "downloads" / f"{host.kernel_package}_{host.debian}_1%3a6.1-1")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find(None).version == "6.1.2-test"
    wanted = package.Wanted(host.kernel_package, "boot/.*")
    assert package.fetch(wanted, host, Silent()).version == "1:6.1-1"
