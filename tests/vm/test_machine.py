"""Tests of the API with a real guest."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
import time
from typing import Any

import pytest
from tests.support.parameters import accelerator
from tests.support.polling import comes_true
from tests.support.process_settings import soft_limit
from tests.support.processes import children, status
from tests.vm.conftest import processes

from microvm import MicroVM, QemuError, UsageError
from microvm.images import Image


async def test_signal_9_is_not_exit_status_137(vm: MicroVM) -> None:
    assert (await vm.run(["sh", "-c", "kill -9 $$"])).returncode == -9
    assert (await vm.run(["sh", "-c", "exit 137"])).returncode == 137


async def test_a_nul_is_refused_before_anything_is_sent(vm: MicroVM) -> None:
    seen = (await vm.status()).frames_seen
    env = [{"env": {"A": "b\0"}}, {"env": {"A\0": "b"}}]
    wrong: list[dict[str, Any]] = [*env, {"cwd": "/\0"}, {"user": "\0"}, {"command": "\0"}]
    for argv, options in (["echo", "a\0b"], {}), *((["echo"], each) for each in wrong):
        with pytest.raises(UsageError, match="NUL"):
            await vm.run(argv, **options)
    assert (await vm.status()).frames_seen == seen + 1


async def _read(vm: MicroVM) -> None:
    process = await vm.exec(["sh", "-c", "setsid sleep 64 & yes"])
    async for _ in process.stdout:
        pass


@pytest.mark.thorough
async def test_cancelled_task_kills_its_command(vm: MicroVM) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(_read(vm), 0.3)
    assert (await vm.run(["echo", "next"])).stdout == b"next\n"
    assert await processes(vm, "sleep 64") == []


async def test_machine_stays_usable_after_an_abandoned_reader(vm: MicroVM) -> None:
    async for chunk in (await vm.exec(["yes"])).stdout:
        assert chunk.startswith(b"y\n")
        break
    assert (await vm.run(["echo", "next"])).stdout == b"next\n"
    process = await vm.exec(["sleep", "64"])
    process.abandon()
    assert (await vm.run(["echo", "next"])).stdout == b"next\n"
    assert process.returncode == -9


async def test_wall_clock_equals_that_of_the_host(vm: MicroVM) -> None:
    # The daemon sets the clock at the start, since the boot sets it to whole seconds only.
    before = time.time()
    shown = await vm.run(["sh", "-c", "adjtimex | awk '/time.tv/ {print $2}'"])
    assert int(before) - 1 <= float(shown.stdout.split()[0]) <= time.time() + 1


async def test_machine_has_only_a_loopback_network(vm: MicroVM) -> None:
    links = (await vm.run(["ls", "/sys/class/net"])).stdout.split()
    assert links == [b"lo"]
    assert b"UP" in (await vm.run(["ip", "link", "show", "lo"])).stdout


async def test_pid_1_cannot_be_killed_from_inside(vm: MicroVM) -> None:
    await vm.run(["sh", "-c", "kill -9 1; kill -STOP 1; kill -TERM 1"])
    await vm.ping()


async def test_commands_cannot_open_the_port(vm: MicroVM) -> None:
    result = await vm.run(["sh", "-c", "cat /dev/vport*"])
    assert result.returncode != 0
    assert b"busy" in result.stderr


async def test_a_machine_is_unprivileged_on_the_host(vm: MicroVM) -> None:
    said = status(vm.pid or 0)
    assert said["Seccomp"] == "2"
    assert said["NoNewPrivs"] == "1"
    assert int(said["CapEff"], 16) == 0
    assert "0" not in said["Uid"].split()


OUTLIVES = """
import asyncio, sys
from microvm import MicroVM
loop = asyncio.new_event_loop()
vm = MicroVM(sys.argv[1])
loop.run_until_complete(vm.start())
loop.close()
pid = vm.pid
del vm
with open(f"/proc/{pid}/stat") as stat:
    print(stat.read())
"""


def test_machine_ends_when_dropped_after_its_loop(image: Image) -> None:
    command = [sys.executable, "-W", "default::ResourceWarning", "-c", OUTLIVES, str(image.path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "ResourceWarning: a machine was never stopped: QEMU, process" in result.stderr
    assert "FileNotFoundError" in result.stderr, result.stdout


async def test_machine_that_is_stopped_while_it_starts_leaves_nothing(image: Image) -> None:
    before = children(os.getpid())
    vm = MicroVM(image)
    starting = asyncio.create_task(vm.start())
    await comes_true(lambda: children(os.getpid()) != before)
    await vm.stop()
    with pytest.raises(UsageError, match="stopped while it started"):
        await starting
    assert children(os.getpid()) == before


@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
async def test_lack_of_host_resources_is_a_start_error(image: Image, cold: bool) -> None:
    others = set(children(os.getpid()))
    with (
        open(os.devnull) as highest,  # noqa: ASYNC230, PTH123 - nothing waits
        soft_limit(resource.RLIMIT_NOFILE, highest.fileno() + 4),
        pytest.raises(QemuError, match="cannot start QEMU: Too many open files") as caught,
    ):
        await MicroVM(image, accel=accelerator(), cold=cold).start()
    assert "ulimit -n" in caught.value.hint
    assert set(children(os.getpid())) == others


@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
async def test_a_start_can_be_cancelled_at_any_moment(image: Image, cold: bool) -> None:
    others = set(children(os.getpid()))
    for moment in (0.0, 0.02, 0.08):
        machine = MicroVM(image, cold=cold)
        start = asyncio.create_task(machine.start())
        await asyncio.sleep(moment)
        start.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await start
        await machine.stop()
        assert set(children(os.getpid())) <= others
