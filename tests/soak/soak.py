"""A soak: random events, between which all resources are sampled."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
import traceback
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.check import Traces
from tests.support.processes import adopting

from microvm import MicroVM
from microvm.images import Image

from . import pools, resources
from .events import EVENTS, MUST_FAIL, SoakEvent, World, quiet
from .resources import RESOURCES, Resource
from .trend import growth

TIMEOUT = 120.0
"""Maximum number of seconds of an event, on a busy host."""

_WIDTH = 2  # number of concurrent events
_TOLD = 30  # number of samples between two lines


class Samples:
    """The samples, in arrays, so that they add no objects to the counted ones.

    :ivar seconds: times since the beginning.
    :ivar done: numbers of finished events.
    :ivar values: resources by name.
    """

    def __init__(self) -> None:
        self.seconds = array("d")
        self.done = array("d")
        self.values = {resource.name: array("d") for resource in RESOURCES}

    def __len__(self) -> int:
        return len(self.done)

    def add(self, seconds: float, done: int, values: dict[str, float]) -> None:
        self.seconds.append(seconds)
        self.done.append(done)
        for name, value in values.items():
            self.values[name].append(value)


@dataclass(frozen=True)
class Trend:
    """The growth of a resource over the whole time, and its permitted growth."""

    resource: Resource
    values: Sequence[float]
    growth: float
    bound: float

    @property
    def is_upward(self) -> bool:
        """True if the resource has grown by more than permitted."""
        return self.growth > self.bound


@dataclass
class Soak:
    """A soak and its results.

    :ivar plan: events in order; None for random events.
    :ivar pool: True to start a named pool, and to draw random events from those of `pools`.
    :ivar seconds: maximum duration.
    :ivar interval: number of seconds between two samples.
    :ivar tell: function that is called with progress lines.
    :ivar outcomes: number of events by their result.
    :ivar failures: unexpected results and remaining objects.
    """

    image: Image
    cache: Path
    temporary: Path
    seed: int
    seconds: float
    interval: float = 2.0
    plan: list[SoakEvent] | None = None
    pool: bool = False
    tell: Callable[[str], object] = id
    samples: Samples = field(default_factory=Samples)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Number of finished events."""
        return self.outcomes.total()

    @property
    def trends(self) -> list[Trend]:
        """The trends of the sampled resources."""
        done = self.samples.done
        found = []
        for resource in RESOURCES:
            values = self.samples.values[resource.name]
            bound = resource.bound.of(done[-1] - done[0]) if done else 0.0
            found.append(Trend(resource, values, growth(done, values), bound))
        return found

    @property
    def is_good(self) -> bool:
        """True if all events ended as expected, no resource grew, and nothing remains."""
        return not self.failures and not any(trend.is_upward for trend in self.trends)

    async def run(self) -> None:
        async with MicroVM(self.image, **quiet()) as first:  # this start saves the template
            await first.run(["true"], check=True)
        with adopting():
            before, tasks = Traces.now(self.cache, self.temporary), asyncio.all_tasks()
            await self._soak()
            after = Traces.now(self.cache, self.temporary)
            self.failures += [f"left at the end: {each}" for each in _left(before, after)]
            self.failures += [f"left at the end: {each}" for each in asyncio.all_tasks() - tasks]

    async def _soak(self) -> None:
        chance = random.Random(self.seed)
        async with AsyncExitStack() as stack:
            witness = await stack.enter_async_context(
                MicroVM(self.image, commands=_WIDTH, **quiet())
            )
            world = World(self.image, chance, self.temporary, witness)
            async with MicroVM(self.image, **quiet()) as prepared:
                await prepared.run(["sh", "-c", "sleep 1000000 >/dev/null 2>&1 &"], check=True)
                world.snapshot = stack.enter_context(await prepared.checkpoint())
            if self.pool:
                await pools.start(world)
                stack.push_async_callback(pools.stop)
            begun = time.monotonic()
            sampled = 0.0
            for events in self._rounds(chance):
                await asyncio.gather(*(self._happen(event, world) for event in events))
                seconds = time.monotonic() - begun
                if seconds - sampled >= self.interval:
                    await self._sample(world, seconds)
                    sampled = seconds
                if seconds > self.seconds:
                    break

    def _rounds(self, chance: random.Random) -> Iterator[list[SoakEvent]]:
        """Yield the events that run concurrently."""
        if self.plan is not None:
            drawn = iter(self.plan)
        else:
            events = list(pools.POOL_EVENTS if self.pool else EVENTS.values())
            weights = [event.weight for event in events]
            drawn = (chance.choices(events, weights)[0] for _ in itertools.count())
        waiting: list[SoakEvent] = []
        for event in drawn:
            if event.alone:
                yield [event]
                continue
            waiting.append(event)
            if len(waiting) == _WIDTH:
                yield waiting
                waiting = []
        if waiting:
            yield waiting

    async def _happen(self, event: SoakEvent, world: World) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                await event.happens(world)
            outcome = "done"
            if event.name in MUST_FAIL:
                self._fail(event, "it should have failed")
        except event.expected as error:
            outcome = type(error).__name__
            if type(error) not in event.expected:
                self._fail(event, traceback.format_exc())
        except Exception as error:
            outcome = type(error).__name__
            self._fail(event, traceback.format_exc())
        self.outcomes[event.name, outcome] += 1

    def _fail(self, event: SoakEvent, why: str) -> None:
        self.failures.append(f"{event.name}, after {self.done} others: {why}")
        self.tell(self.failures[-1])

    async def _sample(self, world: World, seconds: float) -> None:
        values = await resources.guest(world.witness)
        values |= resources.host(self.cache, self.temporary)
        self.samples.add(seconds, self.done, values)
        if len(self.samples) % _TOLD == 0:
            self.tell(f"{seconds:.0f} s: {self.done}")


def _left(before: Traces, after: Traces) -> Iterator[object]:
    yield from (f"process {pid}" for pid in after.children - before.children)
    yield from (f"descriptor {fd}" for fd in after.descriptors.items() - before.descriptors.items())
    yield from (path for path in after.files - before.files if path.is_file())
    yield from after.threads - before.threads
