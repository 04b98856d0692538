"""Tests of machines with the option `wait`, whose commands wait for their turn."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from microvm import MicroVM, sync
from microvm.images import Image

pytestmark = pytest.mark.thorough


async def test_commands_copies_and_checkpoints_wait(image: Image) -> None:
    async with MicroVM(image, wait=True) as vm:
        append = [vm.run(["sh", "-c", f"echo {n} >>/tmp/order"]) for n in range(6)]
        async with asyncio.TaskGroup() as tasks:
            for each in (vm.run(["sleep", "0.2"]), *append):
                tasks.create_task(each)
            reading = tasks.create_task(vm.read_file("/tmp/order"))
            saving = tasks.create_task(vm.checkpoint())
        assert reading.result() == b"0\n1\n2\n3\n4\n5\n"
        snapshot = saving.result()
        async with snapshot, MicroVM(snapshot, wait=True) as clone:
            sizes = await asyncio.gather(*[clone.stat("/tmp/order") for _ in range(3)])
            assert [each.size for each in sizes] == [12, 12, 12]


def test_threads_wait_for_their_turn(image: Image) -> None:
    with sync.MicroVM(image, wait=True, commands=2) as vm, ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda n: vm.run(["echo", f"{n}"], text=True).stdout, range(8)))
    assert done == [f"{n}\n" for n in range(8)]
