"""Tests of guests whose architecture is not that of this host, and of docs/architectures.md."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast, get_args

import pytest
import pytest_asyncio
from tests.vm.conftest import Command

from microvm import ImageError, MicroVM, Pool, Snapshot, UsageError, arches
from microvm.images import Image
from microvm.options import Architecture
from microvm_image import default

pytestmark = pytest.mark.thorough

HERE = cast(Architecture, arches.find().name)
[OTHER] = set(get_args(Architecture)) - {HERE}
PAGE = (Path(__file__).parents[2] / "docs/architectures.md").read_text()


@pytest.fixture(scope="module")
def other() -> Image:
    return default(arch=OTHER)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def machine(other: Image) -> AsyncIterator[MicroVM]:
    """A machine of the default image for the other architecture."""
    async with MicroVM(arch=OTHER) as vm:
        assert vm.image == other
        yield vm


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def snapshot(machine: MicroVM) -> AsyncIterator[Snapshot]:
    await machine.write_file("/srv/saved", b"before")
    async with await machine.checkpoint() as taken:
        yield taken


async def test_command_and_files(machine: MicroVM, tmp_path: Path) -> None:
    assert machine.cloned
    assert (await machine.run(["uname", "-m"], text=True)).stdout == f"{OTHER}\n"
    (tmp_path / "sent").write_bytes(bytes(range(256)) * 512)
    await machine.put(tmp_path / "sent", "/srv/sent")
    await machine.run(["cp", "/srv/sent", "/srv/back"], check=True)
    await machine.get("/srv/back", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "sent").read_bytes()


async def test_two_forks_differ_and_keep_the_files(snapshot: Snapshot) -> None:
    assert snapshot.arch == OTHER
    ids = set()
    for _ in range(2):
        async with MicroVM(snapshot, arch=OTHER) as fork:
            assert await fork.read_file("/srv/saved") == b"before"
            random = await fork.run(["cat", "/proc/sys/kernel/random/uuid"], text=True)
            ids.add(random.stdout)
    assert len(ids) == 2


async def test_snapshot_of_another_architecture_is_refused(snapshot: Snapshot) -> None:
    with pytest.raises(UsageError, match=f"have {OTHER}, not {HERE}") as caught:
        MicroVM(snapshot, arch=HERE)
    assert caught.value.hint == "leave out arch, or start the machine from an image"


async def test_image_of_another_architecture_is_refused(other: Image) -> None:
    with pytest.raises(ImageError, match=f"is for {OTHER}, not for {HERE}"):
        await MicroVM(other, arch=HERE).start()


async def test_pool_and_named_machine(other: Image) -> None:
    async with Pool(1, arch=OTHER) as pool, pool.machine() as vm:
        assert vm.image == other
    async with await MicroVM.start_named(arch=OTHER) as named:
        assert (await named.run(["uname", "-m"], text=True)).stdout == f"{OTHER}\n"
        await named.stop()


@pytest.mark.usefixtures("other")
def test_command_line_and_its_variable(microvm: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (("--arch", OTHER, "--"), ("--",)):
        done = microvm("run", *words, "uname", "-m")
        assert done.stdout.decode().strip() == OTHER, done.stderr
        monkeypatch.setenv("MICROVM_ARCH", OTHER)


@pytest.mark.usefixtures("other")
def test_code_of_the_page(tmp_path: Path) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout == "aarch64\naarch64\n", done.stderr


def test_missing_qemu_is_named_with_its_package(
    other: Image, microvm: Command, tmp_path: Path
) -> None:
    done = microvm("run", "--image", str(other.path), "--", "true", env={"PATH": str(tmp_path)})
    package = arches.find(OTHER).qemu_package
    assert done.returncode == 125
    assert f"apt install {package}" in done.stderr.decode()
