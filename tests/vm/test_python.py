"""Tests that run the test suites of Python and numpy in a guest, with the usual results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from microvm import MicroVM
from microvm.images import Image, readymade
from microvm.options import MachineOptions
from microvm_image.build import build
from microvm_image.recipe import AddStep, Recipe, RunStep, shell
from microvm_image.step_runner import StepRunner

pytestmark = [pytest.mark.long, pytest.mark.deadline(3000)]

PACKAGES = readymade.IMAGES["python"].packages
SIZE: MachineOptions = {"memory": "1G", "cpus": 2, "disk": "2G"}

#: Quick tests of these parts of numpy. All of its tests take hours in an emulated guest.
NUMPY = """
import numpy, sys
parts = ["numpy.linalg", "numpy.random.tests.test_seed_sequence"]
sys.exit(not numpy.test("fast", tests=parts))
"""


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


async def test_test_suite_of_numpy_passes_in_a_guest(tmp_path: Path) -> None:
    platforms = ("manylinux2014_x86_64", "manylinux_2_27_x86_64", "manylinux_2_28_x86_64", "any")
    command = [sys.executable, "-m", "pip", "download", "--quiet"]
    command += ["--dest", str(tmp_path / "wheels")]
    command += ["--python-version", "3.13", "--only-binary", ":all:"]
    command += [word for each in platforms for word in ("--platform", each)]
    subprocess.run([*command, "numpy", "pytest", "hypothesis"], check=True)  # noqa: ASYNC221
    pip = "pip install --break-system-packages --no-index --find-links /wheels"
    made = build(
        Recipe(
            source=readymade.DEBIAN,
            packages=PACKAGES,
            steps=(
                AddStep(Path("wheels"), "/wheels"),
                RunStep(shell(f"{pip} numpy pytest hypothesis")),
            ),
            folder=tmp_path,
        ),
        run=StepRunner(**SIZE),
    )
    async with MicroVM(made, **SIZE) as vm:
        done = await vm.run(["python3", "-c", NUMPY], text=True)
    print(done.stdout[-2000:])
    assert done.returncode == 0, done.stdout + done.stderr
