"""The API in an event loop that is not asyncio's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from subprocess import PIPE
from typing import Any

import pytest
import uvloop

import microvm.sync
from microvm import ExecTimeout, GuestDied, MicroVM, Pool
from microvm_image import Image


async def _commands(image: Image) -> None:
    async with MicroVM(image) as vm:
        process = await vm.exec(["cat"], stdin=PIPE)
        sent = bytes(range(256)) * 10_000
        assert await process.communicate(sent) == (sent, b"")
        with pytest.raises(ExecTimeout):
            await vm.run(["sleep", "60"], timeout=0.2)
        async with await vm.exec(["yes"]) as process:
            assert await anext(process.stdout)
        assert (await vm.run(["echo", "hello"])).stdout == b"hello\n"
        os.kill(vm.pid or 0, 9)
        with pytest.raises(GuestDied, match="killed by signal 9"):
            await vm.run(["true"])


async def _a_boot(image: Image) -> None:
    async with MicroVM(image, cold=True) as vm:
        assert (await vm.run(["echo", "hello"])).stdout == b"hello\n"


async def _a_pool(image: Image) -> None:
    async with Pool(2, image=image) as pool:
        words = [
            outcome.result().stdout async for outcome in pool.map([["echo", w] for w in "abc"])
        ]
    assert words == [b"a\n", b"b\n", b"c\n"]


async def _without_async(image: Image) -> None:
    with microvm.sync.MicroVM(image) as vm:
        assert vm.run(["echo", "hello"]).stdout == b"hello\n"


async def _snapshots(image: Image) -> None:
    async with MicroVM(image) as vm:
        async with await vm.fork(2) as forks:
            for fork in forks:
                assert (await fork.run(["echo", "hello"])).stdout == b"hello\n"
        assert (await vm.run(["echo", "hello"])).stdout == b"hello\n"


@pytest.mark.parametrize("use", [_commands, _a_boot, _a_pool, _without_async, _snapshots])
def test_a_machine_works_in_uvloop(
    image: Image, use: Callable[[Image], Coroutine[Any, Any, None]]
) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(use(image), 120))
