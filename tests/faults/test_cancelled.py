"""Tests of cancellation at each step of the event loop: nothing remains, machines still work."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from microvm import MicroVM

from .check import nothing_left, uses_its_template
from .state import FaultScene

pytestmark = pytest.mark.thorough


class Steps(selectors.DefaultSelector):
    """A selector that calls a function before a certain step of the event loop."""

    def __init__(self) -> None:
        """Create it without a function."""
        super().__init__()
        self._left = 0
        self._then: Callable[[], object] = int

    def call(self, steps: int, then: Callable[[], object]) -> None:
        """Call `then` after this number of steps from now; with 0, never."""
        self._left, self._then = steps, then

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events, except at that step."""
        self._left -= 1
        if self._left == 0:
            self._then()
            timeout = 0
        return super().select(timeout)


Work = Callable[[], Awaitable[object]]


def each_step(
    prepare: Callable[[], MicroVM] | None,
    work: Callable[[MicroVM | None], Awaitable[object]],
    every: int,
    *folders: Path,
) -> int:
    """Cancel some work at each step, or at each n-th step, and check that nothing remains.

    :param prepare: function that creates the machine for the work, which must still work; None for
        no machine.
    :return: number of steps.
    """
    selector = Steps()

    async def is_cancelled(machine: MicroVM | None, steps: int) -> bool:
        with nothing_left(*folders):
            task = asyncio.ensure_future(work(machine))
            selector.call(steps, task.cancel)
            await asyncio.wait([task])
            selector.call(0, int)
        if machine is not None:
            assert (await machine.run(["echo", "hello"])).stdout == b"hello\n"
        return task.cancelled() or bool(task.result())

    async def main() -> int:
        machine = prepare() if prepare else None
        try:
            if machine is not None:
                await machine.start()
            for steps in count(1, every):
                if not await is_cancelled(machine, steps):
                    return steps
        finally:
            if machine is not None:
                await machine.stop()
        raise AssertionError

    def loop() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(selector)

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


async def _start(scene: FaultScene) -> None:
    async with scene.machine():
        pass


async def _run(machine: MicroVM | None) -> None:
    assert machine is not None
    await machine.run(["echo", "hello"])


async def _checkpoint(machine: MicroVM | None) -> None:
    assert machine is not None
    (await machine.checkpoint()).close()


async def _fork(machine: MicroVM | None) -> None:
    assert machine is not None
    async with await machine.fork(2):
        pass


async def _write(machine: MicroVM | None) -> None:
    assert machine is not None
    await machine.write_file("/tmp/file", bytes(1 << 20))


_long = partial(pytest.param, marks=pytest.mark.long)


@pytest.mark.parametrize(
    ("work", "every"),
    [(_run, 3), _long(_run, 1), _long(_write, 1), _long(_checkpoint, 1), _long(_fork, 3)],
)
def test_cancelled_operation_leaves_nothing(
    work: Callable[[MicroVM | None], Awaitable[object]],
    every: int,
    scene: FaultScene,
    cache: Path,
    temporary: Path,
) -> None:
    steps = each_step(scene.machine, work, every, cache, temporary)
    print(f"{steps} steps")
    assert steps > 5
    asyncio.run(uses_its_template(scene))


@pytest.mark.parametrize(("options", "every"), [({}, 40), _long({}, 1), _long({"cold": True}, 4)])
def test_cancelled_start_leaves_nothing(
    options: dict[str, bool], every: int, scene: FaultScene, cache: Path, temporary: Path
) -> None:
    async def work(_: MicroVM | None) -> None:
        async with scene.machine(**options) as machine:
            await machine.run(["echo", "hello"])

    steps = each_step(None, work, every, cache, temporary)
    print(f"{steps} steps")
    assert steps > 50
    asyncio.run(uses_its_template(scene))


@pytest.mark.long
def test_cancelled_template_leaves_nothing(
    scene: FaultScene, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time with another configuration, which has no template yet."""
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("MICROVM_CACHE", str(cache))
    asyncio.run(_start(scene))  # this start compiles the launcher
    sizes = count(97)

    async def work(_: MicroVM | None) -> None:
        async with scene.machine(memory=f"{next(sizes)}M"):
            pass

    steps = each_step(None, work, 8, cache, temporary)
    print(f"{steps} steps")
    assert steps > 50
