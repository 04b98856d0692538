"""Tests of the order of events in a pool, with fake machines; see tests/vm/test_pool.py."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import ClassVar, cast

import pytest

from microvm.errors import GuestDied, ImageError, NotRun, QemuExit, UsageError
from microvm.guest.process import CompletedProcess
from microvm.jobs import lease as leases
from microvm.jobs import pool as pools
from microvm.jobs import stock
from microvm.jobs.job import Job
from microvm.jobs.lease import Lease, NewMachineLease
from microvm.jobs.pool import Pool
from microvm.jobs.stock import Stock
from microvm.option import ParsedOptions, parse_options
from microvm.options import PoolOptions
from microvm.start import retry

CPUS = 3
DEADLINE = 10.0
BROKEN = ImageError("it is broken")  # because another start would fail in the same way


def lost() -> GuestDied:
    """Return the error of a machine whose QEMU was killed."""
    error = GuestDied("it was killed")
    error.qemu_exit = QemuExit("killed", "it was killed", -9)
    return error


class PoolMachine:
    """A fake machine that starts after a few turns of the event loop, or fails to start.

    :cvar failures: returns the error of each start, or None.
    :cvar lost_in_warmup: the number of machines, from now on, that die in their first command.
    """

    alive: ClassVar[set[PoolMachine]] = set()
    started = 0
    starting = 0
    most_alive = 0
    most_starting = 0
    failures: ClassVar[Iterator[Exception | None]] = itertools.repeat(None)
    lost_in_warmup = 0

    def __init__(self, image: object = None, **options: object) -> None:
        self.image = image
        self.options = options
        self.dead = False
        self.commands: list[object] = []
        self.waited = asyncio.Event()
        self.failed = asyncio.Event()

    @classmethod
    def _from_options(cls, image: object, options: ParsedOptions) -> PoolMachine:
        return cls(image, **{name: options[name] for name in options.given})

    async def start(self) -> None:
        kind = type(self)
        kind.started += 1
        kind.alive.add(self)
        kind.starting += 1
        kind.most_alive = max(kind.most_alive, len(kind.alive))
        kind.most_starting = max(kind.most_starting, kind.starting)
        try:
            for _ in range(3):
                await asyncio.sleep(0)
            if failure := next(kind.failures):
                raise failure
        except BaseException:
            kind.alive.discard(self)
            raise
        finally:
            kind.starting -= 1

    async def ping(self) -> None:
        await asyncio.sleep(0)
        if self.dead:
            raise GuestDied("it is dead")

    async def wait_lost(self) -> GuestDied:
        await self.failed.wait()
        return lost()

    async def _run(self, argv: list[str], options: ParsedOptions) -> CompletedProcess[str]:
        return await self.run(argv, **{name: options[name] for name in options.given})

    async def run(self, argv: list[str], **options: object) -> CompletedProcess[str]:
        await self.ping()
        if not self.commands and type(self).lost_in_warmup:
            type(self).lost_in_warmup -= 1
            raise lost()
        self.commands.append(argv)
        if argv[0] == "wait":
            await self.waited.wait()
        if argv[0] == "die":
            self.dead = True
            await self.ping()
        return CompletedProcess(tuple(argv), 0, str(options), "")

    async def stop(self) -> None:
        try:
            await asyncio.sleep(0)
        finally:
            self.alive.discard(self)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[PoolMachine]]:
    """A class of fake machines for one test. None may remain."""

    class Own(PoolMachine):
        alive: ClassVar[set[PoolMachine]] = set()

    monkeypatch.setattr(pools, "MicroVM", Own)
    for module in (pools, stock):
        monkeypatch.setattr(module, "usable_cpus", lambda: CPUS)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.001)
    yield Own
    assert not Own.alive


async def settle(turns: int = 40) -> None:
    """Let the event loop run until nothing more happens."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def use(pool: Pool) -> None:
    """Run a command in a machine of a pool."""
    async with pool.machine() as vm:
        await vm.run(["true"])


async def test_pool_is_filled_within_its_bounds(machine: type[PoolMachine]) -> None:
    async with Pool(8, memory="128M") as pool:
        await settle(100)
        assert (pool.ready, machine.started) == (8, 8)
        async with pool.machine() as first, pool.machine():
            await settle()
            assert (pool.ready, machine.started) == (6, 8)
            own = cast(PoolMachine, first)
            assert own.options == {"memory": 128 << 20}
            assert own.commands[0] == ["true"]
        await settle()
        assert (pool.ready, machine.started) == (8, 10)
    assert (machine.most_alive, machine.most_starting) == (8, CPUS)


async def test_a_start_that_cannot_succeed_fails_all_users(machine: type[PoolMachine]) -> None:
    machine.failures = itertools.repeat(BROKEN)
    async with Pool(8) as pool:
        await settle(200)
        assert machine.started == CPUS  # the starts that had begun before the first failure
        for number in range(1, 4):
            with pytest.raises(ImageError, match="broken"):
                await use(pool)
            await settle()
            assert machine.started == CPUS + number
        machine.failures = itertools.repeat(None)
        await use(pool)
        await settle(100)
        assert pool.ready == 8


async def test_a_machine_that_dies_in_its_start_is_replaced(machine: type[PoolMachine]) -> None:
    failures = retry.MAX_FAILURES - 1
    machine.failures = itertools.chain([lost()] * failures, itertools.repeat(None))
    told: list[str] = []
    async with Pool(1, notify=told.append) as pool:
        outcomes = [outcome async for outcome in pool.map([["true"]] * 5)]
    assert [outcome.result().returncode for outcome in outcomes] == [0] * 5
    lost_one = "a machine was lost while it started: it was killed; starting another"
    assert told == [lost_one] * failures


async def test_starts_that_are_lost_together_count_once(machine: type[PoolMachine]) -> None:
    events = retry.MAX_FAILURES - 1
    machine.failures = itertools.chain([lost()] * CPUS * events, itertools.repeat(None))
    async with Pool(CPUS) as pool:
        outcomes = [outcome async for outcome in pool.map([["true"]] * 9)]
    assert [outcome.error for outcome in outcomes] == [None] * 9


async def test_starts_that_are_always_lost_have_a_bound(machine: type[PoolMachine]) -> None:
    machine.failures = itertools.repeat(lost())
    async with Pool(1) as pool:
        while machine.started < retry.MAX_FAILURES:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)
        await asyncio.sleep(10 * retry.LONGEST_PAUSE)
        assert machine.started == retry.MAX_FAILURES
        with pytest.raises(GuestDied, match=r"^12 starts of a machine failed in a row, the last"):
            await use(pool)
        assert machine.started == 2 * retry.MAX_FAILURES
        machine.failures = itertools.repeat(None)
        await use(pool)


async def test_idle_guest_that_hangs_is_replaced(
    machine: type[PoolMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "PING_INTERVAL", 0.01)

    async with Pool(3) as pool:
        await settle()
        dead = set(machine.alive)
        for each in dead:
            each.dead = True
        while dead & machine.alive or pool.ready < 3:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        assert machine.started == 6


async def test_idle_loss_of_qemu_is_replaced_without_a_ping(machine: type[PoolMachine]) -> None:
    async with Pool(3) as pool:
        await settle()
        dead = set(machine.alive)
        for each in dead:
            each.dead = True
            each.failed.set()
        await settle()
        assert not dead & machine.alive
        assert (pool.ready, machine.started) == (3, 6)


async def test_closing_a_pool_fails_waiting_users() -> None:
    pool = Pool(1)
    with pytest.raises(UsageError, match="closed"):
        await use(pool)
    async with pool, pool.machine():
        waiting = asyncio.create_task(anext(pool.map([["true"]])))
        await settle()
    with pytest.raises(UsageError, match="closed"):
        await waiting


async def test_a_cancellation_at_any_moment_leaves_nothing(machine: type[PoolMachine]) -> None:
    async def work() -> None:
        async with Pool(3) as pool:
            async with pool.machine() as vm, pool.machine():
                await vm.run(["true"])
            async for outcome in pool.map([["true"], ["die"], ["true"], ["true"]], ordered=False):
                assert outcome.seconds >= 0

    turns, cancelled = 0, True
    while cancelled:
        task = asyncio.create_task(work())
        await settle(turns)
        cancelled = task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not machine.alive
        turns += 1
    assert turns > 30


@pytest.mark.parametrize("ordered", [True, False])
async def test_the_source_is_not_taken_beyond_the_bound(ordered: bool) -> None:
    taken = given = 0

    async def source() -> AsyncIterator[list[str]]:
        nonlocal taken
        while True:
            taken += 1
            assert taken - given <= 4
            yield ["echo", str(taken)]

    async with Pool(4) as pool:
        outcomes = pool.map(source(), ordered=ordered)
        async for outcome in outcomes:
            given += 1
            await settle()
            assert ordered is False or outcome.job.argv == ["echo", str(given)]
            if given == 50:
                break
        assert taken <= given + 4
        await outcomes.aclose()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("failure", [BROKEN, lost()], ids=["broken", "lost"])
async def test_each_job_of_a_batch_that_ends_has_one_outcome(
    machine: type[PoolMachine], failure: Exception, ordered: bool
) -> None:
    first = itertools.chain([None], itertools.repeat(failure))
    machine.failures = first
    jobs = [Job(["echo", str(number)]) for number in range(20)]
    async with Pool(3) as pool:
        outcomes = [outcome async for outcome in pool.map(jobs, ordered=ordered)]
        started = machine.started
        await settle()
        assert machine.started == started
    if ordered:
        assert [outcome.job for outcome in outcomes] == jobs
    assert sorted(outcome.job.argv[1] for outcome in outcomes) == sorted(map(str, range(20)))
    ran = [outcome for outcome in outcomes if outcome.error is None]
    assert [outcome.job.argv for outcome in ran] == [["echo", "0"]]
    for outcome in outcomes:
        if outcome.error:
            assert isinstance(outcome.error, NotRun)
            assert type(outcome.error.reason) is type(failure)
            assert outcome.seconds == 0


async def test_a_job_has_the_last_word_on_its_options() -> None:
    async with Pool(1) as pool:
        job = Job(["true"], timeout=3)
        outcome = await anext(pool.map([job], timeout=9, user="nobody"))
        assert outcome.job is job
        options = ast.literal_eval(outcome.result().stdout)
        assert options == {"timeout": 3, "user": b"nobody"}


def a_stock(machine: type[PoolMachine], size: int = 8, **options: int) -> Stock:
    """Return a stock of machines, which has not been opened."""
    image = parse_options(PoolOptions, {}, "Pool")
    return Stock(
        lambda: NewMachineLease(machine._from_options(None, image)),  # type: ignore[arg-type]
        size,
        lambda _: None,
        **options,
    )


def commands_of(lease: Lease) -> list[object]:
    """Return the commands that have run in a fake machine."""
    return cast("PoolMachine", cast("NewMachineLease", lease).vm).commands


async def test_spare_machines_are_kept_ready(machine: type[PoolMachine]) -> None:
    stocked = a_stock(machine, spare=2)
    stocked.open()
    assert await stocked.take() is None  # does not wait
    await settle()
    assert len(stocked.ready) == machine.started == 2
    taken = await stocked.take()
    assert taken is not None
    await settle()
    assert (len(stocked.ready), stocked.used) == (1, 1)  # the CPU of the user may not be known yet
    stocked.fill()
    await settle()
    assert (len(stocked.ready), stocked.used) == (2, 1)
    stocked.keep(0)
    await settle()
    assert machine.alive == {taken.vm}  # type: ignore[attr-defined]
    taken.released.set()
    await settle()
    assert not machine.alive
    await stocked.close()


async def test_no_spare_machine_starts_on_a_busy_cpu(machine: type[PoolMachine]) -> None:
    stocked = a_stock(machine, spare=CPUS)
    stocked.busy = CPUS
    stocked.open()
    await settle()
    assert machine.started == 0
    stocked.busy = 0
    stocked.fill()
    await settle()
    assert machine.started == CPUS
    await stocked.close()


async def test_a_machine_that_has_died_is_not_taken(machine: type[PoolMachine]) -> None:
    stocked = a_stock(machine, spare=1)
    stocked.open()
    first = await stocked.wait_ready()
    first.vm.dead = True  # type: ignore[attr-defined]
    assert await stocked.take() is None
    await settle()
    assert first not in stocked.ready
    assert len(stocked.ready) == 1
    await stocked.close()


async def test_a_starting_machine_is_for_one_user(machine: type[PoolMachine]) -> None:
    stocked = a_stock(machine, spare=1)
    stocked.open()
    first = asyncio.create_task(stocked.take_starting(DEADLINE))
    await settle(1)
    assert await stocked.take_starting(DEADLINE) is None  # does not wait
    taken = await first
    assert taken is not None
    await settle()
    assert (machine.started, stocked.used) == (1, 1)  # the CPU of the user may not be known yet
    stocked.fill()
    await settle()
    assert (machine.started, stocked.used) == (2, 1)
    assert commands_of(taken) == [["true"]]
    assert len(commands_of(stocked.ready[0])) > 1
    await stocked.close()


@pytest.mark.parametrize("turns", range(20))
async def test_a_user_that_no_longer_waits_keeps_no_machine(
    machine: type[PoolMachine], turns: int
) -> None:
    stocked = a_stock(machine, spare=1)
    stocked.open()
    user = asyncio.create_task(stocked.take_starting(DEADLINE))
    await settle(turns)
    user.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        lease = await user
        assert lease is not None
        lease.released.set()
    await settle()
    assert (len(stocked.ready), stocked.used, len(machine.alive)) == (1, 0, 1)
    await stocked.close()
