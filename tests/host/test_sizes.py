"""Tests of sizes of machines that are rounded up."""

from __future__ import annotations

import pytest

from microvm import size_class
from microvm.system import capacity

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "usable_memory", lambda: 3000 * MIB)
    monkeypatch.setattr(capacity, "usable_cpus", lambda: 3)


@pytest.mark.parametrize(
    ("memory", "cpus", "expected"),
    [
        ("100M", 1, (256, 1)),
        ("256M", 2, (256, 2)),
        ("257M", 1, (512, 1)),
        (1 << 30, 1, (1024, 1)),
        ("1025M", 3, (2048, 3)),
        ("2500M", 5, (2500, 5)),
    ],
)
def test_sizes_are_rounded_up_if_the_host_has_room(
    memory: str | int, cpus: int, expected: tuple[int, int]
) -> None:
    size = size_class(memory, cpus)
    assert (size["memory"], size["cpus"]) == (expected[0] * MIB, expected[1])
