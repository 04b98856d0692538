"""Tests of starting a named machine from Python."""

from __future__ import annotations

import asyncio

import pytest
from tests.vm.conftest import Command

from microvm import MicroVM, MicroVMError, UsageError, sync
from microvm.images import Image

pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("_runtime")]


async def test_named_machine_outlives_its_object(image: Image, microvm: Command) -> None:
    notices: list[str] = []
    async with await MicroVM.start_named(
        "web", image, memory="128M", commands=2, idle_timeout="1h", notify=notices.append
    ) as vm:
        await vm.write_file("/tmp/kept", "content")
        assert (vm.name, vm.commands, vm.facts["memory"]) == ("web", 2, 128 << 20)
    with pytest.raises(MicroVMError, match="web"):
        await MicroVM.start_named("web", image)
    done = microvm("exec", "web", "--", "cat", "/tmp/kept")
    assert done.stdout == b"content"
    async with MicroVM.attach("web") as vm:
        await vm.stop()
    assert microvm("ps", "-q").stdout == b""


async def test_cancelled_start_leaves_no_machine(image: Image, microvm: Command) -> None:
    starting = asyncio.create_task(MicroVM.start_named("web", image, cold=True))
    await asyncio.sleep(0.3)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert microvm("ps", "-aq").stdout == b""


def test_sync_api_starts_a_named_machine(image: Image, microvm: Command) -> None:
    with sync.MicroVM.start_named(image=image, max_age="1h") as vm:
        assert vm.run(["echo", "hello"]).stdout == b"hello\n"
        assert microvm("ps", "-q").stdout.decode().split() == [vm.name]
        snapshot = vm.checkpoint()
        vm.stop()
    with snapshot, pytest.raises(UsageError, match="a snapshot that has a name"):
        sync.MicroVM.start_named("web", snapshot)
    assert microvm("ps", "-aq").stdout == b""
