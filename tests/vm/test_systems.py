"""Tests of kernels of other distributions, whose drivers may be modules."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from tests.support.target import build, target

from microvm import BootError, MicroVM
from microvm.images import Image
from microvm.progress import LineReporter
from microvm_image import package
from microvm_image.kernel import selection

SOURCES = Path("/etc/apt/sources.list.d/debian.sources")

pytestmark = [pytest.mark.thorough, pytest.mark.long]


@pytest.fixture(scope="module")
def kernel_of_debian_12(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the package of the kernel, and return the path of the kernel."""
    if not SOURCES.exists():
        pytest.skip("this is no Debian with sources whose release could be exchanged")
    folder = tmp_path_factory.mktemp("bookworm")
    older = folder / "bookworm.sources"
    older.write_text(re.sub("trixie", "bookworm", SOURCES.read_text()))
    host = target()
    apt = package._Apt(host, folder / "apt")
    apt._options += [f"-o=Dir::Etc::SourceList={older}", "-o=Dir::Etc::SourceParts=-"]
    apt.update(LineReporter())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICROVM_CACHE", str(folder / "cache"))
        found = package._extract(apt, selection.wanted(host), host, LineReporter())
    assert found.version.startswith("6.1.")
    return found.path


def image_with(path: Path, folder: Path) -> Image:
    return build(kernel=path, output=folder / "image")


@pytest.fixture
def modular_image(kernel_of_debian_12: Path, tmp_path: Path) -> Image:
    return image_with(kernel_of_debian_12, tmp_path)


@pytest.fixture
def bare_image(kernel_of_debian_12: Path, tmp_path: Path) -> Image:
    """An image with that kernel and without modules."""
    bare = tmp_path / "vmlinuz"
    shutil.copy(kernel_of_debian_12, bare)
    return image_with(bare, tmp_path)


async def test_drivers_that_are_modules_are_loaded(modular_image: Image) -> None:
    async with MicroVM(modular_image, cold=True) as vm:
        modules = await vm.run(["cut", "-d ", "-f1", "/proc/modules"], text=True, check=True)
    assert {"virtio_pci", "virtio_console"} <= set(modules.stdout.split())


async def test_kernel_without_drivers_is_an_error_that_names_them(bare_image: Image) -> None:
    with pytest.raises(BootError, match="virtio-console, built in or as modules"):
        async with MicroVM(bare_image, cold=True):
            pass
