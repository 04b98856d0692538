"""What only many repetitions show."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from microvm import MicroVM
from microvm_image import Image

BOOTS = 100
DRIFT = 0.050
MINUTE = 60.0


@pytest.fixture
def _load() -> Iterator[None]:
    """Two busy loops."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.long
@pytest.mark.usefixtures("_load")
@pytest.mark.parametrize("boot", range(BOOTS))
async def test_every_boot_of_a_loaded_machine_is_ready(image: Image, boot: int) -> None:
    del boot
    async with MicroVM(image) as machine:
        assert (await machine.run(["echo", "hello"])).stdout == b"hello\n"


@pytest.mark.long
async def test_the_guests_clock_does_not_drift(vm: MicroVM) -> None:
    async def offset() -> float:
        """The guest's clock minus ours; of several answers the quickest tells best."""
        samples = []
        for _ in range(20):
            before = time.monotonic()
            status = await vm.status()
            after = time.monotonic()
            samples.append((after - before, status.now_ns / 1e9 - (before + after) / 2))
        return min(samples)[1]

    first = await offset()
    await asyncio.sleep(MINUTE)
    drift = await offset() - first
    print(f"drift over {MINUTE:g} s: {drift * 1e3:.2f} ms")
    assert abs(drift) < DRIFT
