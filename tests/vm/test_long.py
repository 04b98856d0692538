"""Tests with many repetitions, which find rare failures."""

from __future__ import annotations

import pytest
from tests.vm.conftest import DRIFT, drift

from microvm import MicroVM
from microvm.images import Image

BOOTS = 100


@pytest.mark.long
@pytest.mark.usefixtures("_load")
@pytest.mark.parametrize("boot", range(BOOTS))
async def test_every_boot_of_a_loaded_machine_is_ready(image: Image, boot: int) -> None:
    del boot
    async with MicroVM(image) as machine:
        assert (await machine.run(["echo", "hello"])).stdout == b"hello\n"


@pytest.mark.long
async def test_the_guests_clock_does_not_drift(vm: MicroVM) -> None:
    moved = await drift(vm)
    print(f"drift over a minute: {moved * 1e3:.2f} ms")
    assert abs(moved) < DRIFT
