"""Tests of controllers with few descriptors, little memory, few threads or few processes."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count, islice
from pathlib import Path

import pytest
from tests.support.ordinary import as_user
from tests.support.process_settings import soft_limit
from tests.support.processes import open_files

from microvm import MicroVM, MicroVMError
from microvm.images import Image

from .check import nothing_left, uses_its_template
from .state import FaultScene

pytestmark = pytest.mark.thorough

MOST = 200
"""A number of descriptors that suffices for each of these operations."""


_long = partial(pytest.param, marks=pytest.mark.long)


@contextmanager
def descriptors(number: int) -> Iterator[None]:
    """Limit this process to this number of additional descriptors."""
    taken = open_files()
    free = (each for each in count() if each not in taken)
    with soft_limit(resource.RLIMIT_NOFILE, next(islice(free, number, None))):
        yield


async def _works(do: Callable[[], Awaitable[object]], number: int) -> bool:
    """Return True if a function works with this number of descriptors.

    An error must have a hint.
    """
    try:
        with descriptors(number):
            await do()
    except MicroVMError as error:
        assert "Too many open files" in str(error) + error.detail, repr(error)  # noqa: PT017
        assert "ulimit -n" in error.hint, repr(error)  # noqa: PT017
        return False
    return True


@pytest.mark.deadline(600)
@pytest.mark.parametrize(("options", "every"), [({}, 7), _long({}, 1), _long({"cold": True}, 1)])
async def test_few_descriptors_for_a_machine(
    options: dict[str, bool], every: int, scene: FaultScene, cache: Path, temporary: Path
) -> None:
    async def start() -> None:
        async with scene.machine(**options):
            pass

    for number in range(0, MOST, every):
        scene.told.clear()
        with nothing_left(cache, temporary):
            works = await _works(start, number)
        assert all("Too many open files" in line for line in scene.told), scene.told
        if works and not scene.told:
            print(f"{number} descriptors")
            break
    assert 7 < number < MOST - every
    await uses_its_template(scene)


async def _run(machine: MicroVM) -> None:
    assert (await machine.run(["echo", "hello"])).stdout == b"hello\n"


async def _checkpoint(machine: MicroVM) -> None:
    (await machine.checkpoint()).close()


async def _fork(machine: MicroVM) -> None:
    async with await machine.fork():
        pass


@pytest.mark.deadline(600)
@pytest.mark.parametrize("do", [_run, _long(_checkpoint), _long(_fork)])
async def test_operations_fail_cleanly_with_few_descriptors(
    do: Callable[[MicroVM], Awaitable[object]], scene: FaultScene, cache: Path, temporary: Path
) -> None:
    async with scene.machine() as machine:
        for number in range(MOST):
            with nothing_left(cache, temporary):
                works = await _works(lambda: do(machine), number)
            await _run(machine)
            if works:
                print(f"{number} descriptors")
                break
    assert number < MOST - 1
    await uses_its_template(scene)


LIMITED = """
import os, resource, sys
from pathlib import Path
import microvm.cli.verbs.run, microvm.cli.attach, microvm.start.running_vm, microvm.guest.process
from microvm.cli import root
kind, more, user = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if kind == "RLIMIT_AS":
    more += int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
resource.setrlimit(getattr(resource, kind), (more, more))
sys.argv[1:] = sys.argv[4:]
root.main()
"""


def limited(kind: str, more: int, image: Image) -> subprocess.CompletedProcess[str]:
    """Run `microvm run` with a limit of additional memory, or of the number of processes."""
    options = ["--image", str(image.path), "--memory", "96M", "--accel", "tcg"]
    words = [
        sys.executable,
        "-c",
        LIMITED,
        kind,
        str(more),
        "0",
        "run",
        *options,
        "--",
        "echo",
        "x",
    ]
    words = as_user(*words) if kind == "RLIMIT_NPROC" else words
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("kind", "step", "most"), [("RLIMIT_NPROC", 1, 12), ("RLIMIT_AS", 64 << 20, 2 << 30)]
)
@pytest.mark.long
def test_little_memory_and_few_processes(
    kind: str, step: int, most: int, image: Image, scene: FaultScene, cache: Path
) -> None:
    for more in range(0, most, step):
        done = limited(kind, more, image)
        assert "Traceback" not in done.stderr, (more, done.stderr)
        if done.returncode == 0:
            break
        assert done.returncode == 125
    asyncio.run(uses_its_template(scene))
