"""Tests of the API in event loops other than that of asyncio, under anyio, and in two loops."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from subprocess import PIPE
from typing import Any

import anyio
import pytest
import trio
import uvloop
from tests.support.dialog import hold_dialog
from tests.support.processes import children

import microvm.sync
from microvm import ExecTimeout, GuestDied, MicroVM, Pool, UsageError
from microvm.images import Image

pytestmark = pytest.mark.thorough


async def _commands(image: Image) -> None:
    async with MicroVM(image) as vm:
        process = await vm.exec(["cat"], stdin=PIPE)
        sent = bytes(range(256)) * 10_000
        assert await process.communicate(sent) == (sent, b"")
        with pytest.raises(ExecTimeout):
            await vm.run(["sleep", "60"], timeout=0.2)
        async with await vm.exec(["yes"]) as process:
            assert await anext(process.stdout)
        await hold_dialog(vm)
        assert (await vm.run(["echo", "hello"])).stdout == b"hello\n"
        os.kill(vm.pid or 0, 9)
        with pytest.raises(GuestDied, match="killed by signal 9"):
            await vm.run(["true"])


async def _a_pool(image: Image) -> None:
    async with Pool(2, image=image) as pool:
        words = [
            outcome.result().stdout async for outcome in pool.map([["echo", w] for w in "abc"])
        ]
    assert words == [b"a\n", b"b\n", b"c\n"]


async def _without_async(image: Image) -> None:
    with microvm.sync.MicroVM(image) as vm:
        assert vm.run(["echo", "hello"]).stdout == b"hello\n"


async def _batch(image: Image) -> None:
    from microvm.dask import map as batch

    async for _ in batch([["true"]], image=image):
        raise AssertionError


async def _machine(image: Image) -> None:
    async with MicroVM(image):
        raise AssertionError


def _without_a_loop(use: Callable[[Image], Coroutine[Any, Any, None]], image: Image) -> None:
    use(image).send(None)


@pytest.mark.parametrize("run", [trio.run, _without_a_loop])
@pytest.mark.parametrize("use", [_machine, _batch])
def test_without_asyncio_the_error_names_microvm_sync(
    image: Image, use: Callable[[Image], Coroutine[Any, Any, None]], run: Callable[..., None]
) -> None:
    with pytest.raises(UsageError, match=r"needs an event loop of asyncio") as caught:
        run(use, image)
    assert "use `microvm.sync`" in caught.value.hint
    assert "trio.to_thread.run_sync" in caught.value.hint


@pytest.mark.parametrize("use", [_commands, _a_pool, _without_async])
def test_a_machine_works_in_uvloop(
    image: Image, use: Callable[[Image], Coroutine[Any, Any, None]]
) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(use(image), 120))


async def _in_cancel_scopes(image: Image) -> None:
    """Cancel the block as anyio does: in each turn of the loop until the scope is left."""
    before = children(os.getpid())
    async with MicroVM(image) as vm, Pool(1, image) as pool:
        with anyio.move_on_after(0.3) as scope:
            await vm.run(["sleep", "60"])
        assert scope.cancelled_caught
        with anyio.move_on_after(0.05):
            await vm.checkpoint()
        with pytest.RaisesGroup(ZeroDivisionError):
            async with anyio.create_task_group() as group:
                group.start_soon(vm.run, ["sleep", "60"])
                async with pool.machine() as other:
                    await other.run(["true"])
                    raise ZeroDivisionError
        assert (await vm.run(["echo", "hello"])).stdout == b"hello\n"
    for seconds in (0.05, 0.3):
        with anyio.move_on_after(seconds):
            async with MicroVM(image) as vm, Pool(1, image) as pool:
                async for _ in pool.map([["sleep", "60"]]):
                    pass
        assert children(os.getpid()) == before


def test_a_machine_works_under_anyio(image: Image) -> None:
    anyio.run(_in_cancel_scopes, image)


def test_use_in_a_second_loop_is_an_error(image: Image) -> None:
    with asyncio.Runner() as theirs, asyncio.Runner() as another:
        vm, pool = MicroVM(image), Pool(1, image)
        theirs.run(vm.start())
        theirs.run(pool.__aenter__())
        uses = (vm.ping, vm.stop, pool.machine().__aenter__, pool.__aexit__)
        for use in (*uses, lambda: vm.run(["true"]), lambda: anext(pool.map([["true"]]))):
            with pytest.raises(UsageError, match="belongs to another event loop"):
                another.run(_awaited(use()))
        theirs.run(vm.stop())
        theirs.run(pool.__aexit__())


async def _awaited(awaitable: Awaitable[object]) -> object:
    return await awaitable
