"""Tests of the test suite of Python in a guest, and of hostile wheels, which the guest refuses."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from tests.support.target import build
from tests.support.wheels import use_index, wheel

from microvm import MicroVM
from microvm.errors import ImageError
from microvm.images import Image, readymade
from microvm.options import MachineOptions
from microvm_image.recipe import Recipe
from microvm_image.step_runner import StepRunner

pytestmark = [pytest.mark.long, pytest.mark.deadline(3000)]

PACKAGES = readymade.IMAGES["python"].packages
SIZE: MachineOptions = {"memory": "1G", "cpus": 2, "disk": "2G"}


@pytest.fixture(scope="module")
def with_tests() -> Image:
    """An image of Debian with Python and Python's test suite."""
    packages = (*PACKAGES, "libpython3.13-testsuite")
    return build(Recipe(source=readymade.DEBIAN, packages=packages))


@pytest.mark.parametrize(
    "module", ["test_json", "test_re", "test_subprocess", "test_socket", "test_asyncio"]
)
async def test_test_suite_of_python_passes_in_a_guest(with_tests: Image, module: str) -> None:
    async with MicroVM(with_tests, **SIZE) as vm:
        done = await vm.run(["python3", "-m", "test", "--timeout", "600", module], text=True)
    print(done.stdout[-2000:])
    assert done.stdout.rstrip().endswith("Result: SUCCESS"), done.stdout + done.stderr


def link(path: str) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(path)
    made.external_attr = 0o120777 << 16
    return made


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"../../../../../../srv/out": b""}, "outside the target directory"),
        ({"/srv/out": b""}, "outside the target directory"),
        ({link("up/link"): "/srv", "up/link/out": b""}, "Not a directory"),
        ({"up.bin": bytes(300 << 20)}, "the changes are larger than the limit"),
    ],
    ids=["parent", "absolute", "link", "bomb"],
)
def test_hostile_wheel_is_refused_in_the_guest(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str | zipfile.ZipInfo, str | bytes],
    reason: str,
) -> None:
    wheel(tmp_path, "up", files=files)
    use_index(monkeypatch, tmp_path)
    recipe = Recipe(source=readymade.DEBIAN, packages=PACKAGES, pip=("up",))
    with pytest.raises(ImageError, match="install 1 Python package: ") as caught:
        build(recipe, run=StepRunner(limit=64 << 20, disk="1G"))
    assert reason in caught.value.detail
