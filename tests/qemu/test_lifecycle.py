"""Tests of the start of QEMU, of the ways in which it ends, and that nothing of it remains."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import socket
from contextlib import suppress

import pytest
from qemu.qmp import ExecInterruptedError
from tests.qemu.conftest import Configure, running
from tests.support.polling import comes_true
from tests.support.processes import children

from microvm.errors import QemuExit
from microvm.qemu import process
from microvm.qemu.child import Child
from microvm.qemu.command_line import QemuConfig, requests
from microvm.qemu.console import Console
from microvm.qemu.launch import launch
from microvm.qemu.process import Qemu
from microvm.qemu.qmp import Client

pytestmark = pytest.mark.usefixtures("_leakless")


def told(ending: QemuExit) -> tuple[str, str, int]:
    """Return the message of an exit without its advice."""
    return ending.kind, ending.text, ending.returncode


async def ending_of(config: QemuConfig) -> QemuExit:
    async with running(config) as qemu:
        return await qemu.wait()


async def test_qemu_starts_reads_the_console_and_stops(configure: Configure) -> None:
    loggers = set(logging.getLogger().manager.loggerDict)
    with Console() as console:
        async with await Qemu.start(launch(configure()), console=console) as qemu:
            await comes_true(lambda: "hello from the guest" in console.tail())
            ending = await qemu.stop()
    assert told(ending) == ("quit", "QEMU was shut down by microvm", -signal.SIGKILL)
    assert await qemu.stop() is ending
    assert await qemu.wait() is ending
    pid = str(qemu.pid)  # none of which is kept forever
    assert not [name for name in {*logging.getLogger().manager.loggerDict} - loggers if pid in name]


@pytest.mark.parametrize(
    ("guest", "kind", "text"),
    [
        ("resets", "reset", "the guest rebooted or powered off"),
        ("powers off", "shutdown", "the guest powered off"),
        ("panics", "panic", "the guest kernel crashed: Kernel panic - not syncing: no init"),
    ],
)
async def test_end_of_a_guest_is_classified(
    configure: Configure, guest: str, kind: str, text: str
) -> None:
    ending = await ending_of(configure(guest))
    assert told(ending) == (kind, text, 0)
    assert guest != "resets" or "--console" in ending.hint


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_exit_after_a_signal(configure: Configure, number: signal.Signals) -> None:
    async with running(configure()) as qemu:
        os.kill(qemu.pid, number)
        ending = await qemu.wait()
    assert ending.kind == "killed"
    if number == signal.SIGKILL:
        assert told(ending)[1:] == ("QEMU was killed by signal 9 (SIGKILL)", -9)


async def test_frozen_qemu_is_killed(configure: Configure) -> None:
    async with running(configure()) as qemu:
        os.kill(qemu.pid, signal.SIGSTOP)
        assert (await qemu.stop()).returncode == -signal.SIGKILL


async def test_qemu_is_killed_without_pidfd(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    async with running(configure()) as qemu:
        assert (await qemu.stop()).returncode == -signal.SIGKILL


async def test_internal_error_of_kvm_ends_the_machine(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No accelerator fails on request, so the test stops the guest and changes the status."""

    async def run_state(_: Client) -> str:
        return "internal-error"

    monkeypatch.setattr(Client, "run_state", run_state)
    async with running(configure()) as qemu:
        with suppress(ExecInterruptedError):
            await qemu._qmp.execute("stop")
        ending = await qemu.wait()
    assert told(ending) == ("internal_error", "KVM internal error", -9)


@pytest.mark.parametrize("milliseconds", [0, 2, 10, 30])
async def test_cancelled_start_leaves_no_process(configure: Configure, milliseconds: int) -> None:
    with Console() as console:
        start = asyncio.create_task(Qemu.start(launch(configure()), console=console))
        await asyncio.sleep(milliseconds / 1000)
        if start.cancel():
            with pytest.raises(asyncio.CancelledError):
                await start
        else:
            await (await start).stop()


async def test_failing_start_can_be_cancelled(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_and_cancel(child: Child) -> None:
        kill(child)
        asyncio.get_running_loop().call_soon(start.cancel)

    async def fails(_: Qemu) -> None:
        raise ConnectionError("as if QEMU had said something else")

    kill = Child.kill
    monkeypatch.setattr(Child, "kill", kill_and_cancel)
    monkeypatch.setattr(Qemu, "_start_guest", fails)
    monkeypatch.setattr(process, "_DRAIN_TIMEOUT", 0.01)
    before = children(os.getpid())
    with Console() as console:
        start = asyncio.create_task(Qemu.start(launch(configure()), console=console))
        with pytest.raises(asyncio.CancelledError):
            await start
    assert children(os.getpid()) == before


async def test_cancelled_stop_still_stops(configure: Configure) -> None:
    async with running(configure()) as qemu:
        os.kill(qemu.pid, signal.SIGSTOP)
        stop = asyncio.create_task(qemu.stop())
        for _ in range(3):
            await asyncio.sleep(0)
            stop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stop
        assert (await qemu.wait()).returncode == -signal.SIGKILL


def test_qemu_ends_with_the_loop(configure: Configure) -> None:
    pids = []

    async def main() -> None:
        with Console() as console:
            pids.append((await Qemu.start(launch(configure()), console=console)).pid)

    asyncio.run(main())
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


async def test_exit_right_after_the_start_is_no_start_error() -> None:
    """The guest may exit before the host has read that it was started."""
    version = {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}
    asked = requests(None)
    ours, theirs = socket.socketpair()
    with theirs:
        greeting = json.dumps({"QMP": {"version": version, "capabilities": []}})
        theirs.sendall(f"{greeting}\n".encode() + len(asked) * b'{"return": {}}\n')
        theirs.shutdown(socket.SHUT_WR)
        client = Client()
        await client.greet(ours, os.getpid(), asked)
        await client.wait_closed()
        await client.close()
