"""Tests of MICROVM_PATIENCE, which makes all time limits for guests longer on a very slow host."""

from __future__ import annotations

import pytest

from microvm import BootError, MicroVM, UsageError
from microvm.images import Image
from microvm.qemu import accel

pytestmark = pytest.mark.thorough

TOO_SHORT = 0.05  # seconds in which no guest boots


async def test_time_limit_of_a_boot_is_multiplied(
    image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accel, "BOOT_TIMEOUT", TOO_SHORT)
    with pytest.raises(BootError, match=f"was not ready within {TOO_SHORT} s"):
        await MicroVM(image, cold=True, accel="tcg").start()
    monkeypatch.setenv("MICROVM_PATIENCE", "1000")
    async with MicroVM(image, cold=True, accel="tcg") as vm:
        await vm.run(["true"], check=True)


@pytest.mark.parametrize("value", ["0.5", "1001", "nan", "slow"])
async def test_invalid_factor_is_refused(
    image: Image, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MICROVM_PATIENCE", value)
    with pytest.raises(UsageError, match=f"MICROVM_PATIENCE is '{value}', which is not a number"):
        await MicroVM(image, cold=True).start()
