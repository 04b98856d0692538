"""Tests that no two clones and no two forks are alike, and that the clock of each is correct."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import pytest

from microvm import MicroVM
from microvm.images import Image
from microvm_image.build import build
from microvm_image.recipe import Recipe, shell

pytestmark = pytest.mark.thorough

OLD_ID = "0123456789abcdef" * 2
TOGETHER = 5  # number of machines that run at the same time

#: Maximum number of seconds by which the clock of a guest may be late. It is late by the time that
#: the message with the host's time takes, and the host may be busy.
LATE = 2.0
#: Maximum number of seconds by which a clock may be early, and by which it may be slow or fast
#: between two commands. The time of a file has the resolution of the kernel's tick.
INACCURACY = 0.02

#: A command that prints values that must differ, and the guest's clocks. Busybox's `date` prints
#: only seconds, so the command creates a file and prints its time.
LOOK = """
cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid /etc/machine-id
head -c 16 /dev/urandom | od -An -tx1 | tr -d ' '
: >/run/now; stat -c %z /run/now; rm /run/now
cat /proc/timer_list
"""


@dataclass(frozen=True)
class Look:
    """The result of `LOOK` in a machine.

    :ivar values: the values that must differ between all machines.
    :ivar real: the time of the guest, in seconds since 1970.
    :ivar running: the time since the boot, in seconds.
    :ivar before: the time of the host before the command.
    :ivar after: the time of the host after the command.
    """

    values: tuple[str, ...]
    real: float
    running: float
    before: float
    after: float

    @classmethod
    async def of(cls, vm: MicroVM) -> Look:
        before = time.time()
        done = await vm.run(["sh", "-c", LOOK], text=True, check=True)
        after = time.time()
        *values, now, timers = done.stdout.split("\n", 5)
        real = datetime.fromisoformat(re.sub(r"(\.\d{6})\d* ", r"\1", now)).timestamp()
        running = re.search(r"^now at (\d+) nsecs$", timers, re.MULTILINE)
        assert running
        return cls(tuple(values), real, int(running[1]) / 1e9, before, after)

    def check(self, earlier: Look | None = None) -> None:
        """Check the clocks: against those of the host, and against an earlier look."""
        assert self.before - LATE < self.real < self.after + INACCURACY
        if earlier:
            least, most = self.before - earlier.after, self.after - earlier.before
            for took in (self.real - earlier.real, self.running - earlier.running):
                assert least - INACCURACY < took < most + INACCURACY


@pytest.fixture(scope="module")
def with_machine_id(tmp_path_factory: pytest.TempPathFactory, image: Image) -> Image:
    """An image whose guests have a machine id before they are saved as a template."""
    recipe = Recipe(warm=(shell(f"echo {OLD_ID} >/etc/machine-id"),))
    folder = tmp_path_factory.mktemp("image") / "with-id"
    return build(recipe, arch=image.manifest.arch, output=folder)


@pytest.mark.parametrize(
    ("clones", "forks"), [(3, 2), pytest.param(200, 100, marks=pytest.mark.long)]
)
async def test_all_machines_differ_and_know_the_time(
    with_machine_id: Image, clones: int, forks: int
) -> None:
    limit = asyncio.Semaphore(TOGETHER)
    looks: list[Look] = []

    async def look(vm: MicroVM) -> None:
        first, second = await Look.of(vm), await Look.of(vm)
        first.check()
        second.check(first)
        looks.append(first)

    async def clone() -> None:
        async with limit, MicroVM(with_machine_id) as vm:
            await look(vm)

    async with MicroVM(with_machine_id) as source:
        looks.append(await Look.of(source))
        async with asyncio.TaskGroup() as group:
            for _ in range(clones):
                group.create_task(clone())
        for _ in range(0, forks, TOGETHER):
            async with await source.fork(min(TOGETHER, forks)) as machines:
                await asyncio.gather(*map(look, machines))
        (await Look.of(source)).check()
    drawn = Counter(value for each in looks for value in each.values)
    assert len(looks) == clones + forks + 1
    assert len(drawn) == 4 * len(looks)
    assert OLD_ID not in drawn
