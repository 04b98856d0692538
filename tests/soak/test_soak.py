"""Tests that a soak finds planted leaks, and that a short soak finds no others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.ordinary import only_root

from microvm import GuestDied
from microvm.images import Image

from . import report
from .__main__ import of_its_own
from .endurance import endure
from .events import COMMANDS, FAULTS, STARTS, SoakEvent, World
from .pools import POOL_EVENTS
from .soak import Soak


@pytest.fixture
def folders(image: Image) -> Iterator[tuple[Path, Path]]:
    """A cache and a folder for temporary files."""
    del image
    with of_its_own() as both:
        yield both


@pytest.mark.long
@pytest.mark.deadline(120.0)
async def test_leak_is_found(image: Image, folders: tuple[Path, Path]) -> None:
    kept: list[int] = []

    async def descriptor(_: World) -> None:
        kept.append(os.open(os.devnull, os.O_RDONLY))

    async def process(world: World) -> None:
        await world.witness.run(["sh", "-c", "sleep 1000 >/dev/null 2>&1 &"])

    async def file(world: World) -> None:
        (world.folder / str(len(kept))).touch()

    async def dies(_: World) -> None:
        raise GuestDied("out of turn")

    planted = [SoakEvent(each.__name__, each, alone=True) for each in (descriptor, process, file)]
    plan = [*planted * 10, SoakEvent("dies", dies)]
    soak = Soak(image, *folders, seed=1, seconds=60.0, interval=0.0, plan=plan)
    try:
        await soak.run()
    finally:
        for fd in kept:
            os.close(fd)
    assert {trend.resource.name for trend in soak.trends if trend.is_upward} == {
        "controller's descriptors",
        "temporary files",
        "guest's processes",
        "guest's cgroups",
    }
    failed = "\n".join(soak.failures)
    assert "dies, after 30 others" in failed
    assert "out of turn" in failed
    assert failed.count("descriptor (") == 10
    assert failed.count("/temporary/") == 10
    said = "\n".join(report.lines(soak))
    assert "GREW: controller's descriptors: seed 1\n" in said
    assert said.endswith("\nnot good")


@pytest.mark.alone
@pytest.mark.deadline(180.0)
async def test_short_soak_finds_no_leak(image: Image, folders: tuple[Path, Path]) -> None:
    """Each quick start, command and fault once. Random events are left to `make soak`."""
    slow = {"QEMU stopped", "guest fills its memory"}
    plan = [event for event in (*STARTS, *COMMANDS, *FAULTS) if event.name not in slow]
    soak = Soak(image, *folders, seed=1, seconds=60.0, interval=0.0, plan=plan)
    await soak.run()
    assert soak.failures == []
    assert soak.done == len(plan)


@only_root
@pytest.mark.long
@pytest.mark.deadline(300.0)
async def test_short_soak_of_a_pool_finds_no_leak(image: Image) -> None:
    with of_its_own("2g") as folders:
        soak = Soak(image, *folders, seed=1, seconds=60.0, plan=[*POOL_EVENTS] * 2, pool=True)
        await soak.run()
    assert soak.failures == []
    assert soak.done == 2 * len(POOL_EVENTS)


@pytest.mark.long
@pytest.mark.deadline(900.0)
async def test_commands_at_once_leave_nothing(image: Image, folders: tuple[Path, Path]) -> None:
    assert await endure(image, *folders, count=2000) == []
