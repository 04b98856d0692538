"""The faults: each is a coroutine that causes the fault for a machine in a state."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from . import guest
from .state import STATES, FaultScene

Fault = Callable[[FaultScene, str], Awaitable[None]]
"""The type of a fault: a function of the scene, and of the name of the state."""

# The arguments of QEMU show its purpose; see the fixture `misbehave`.
_ROLES = {
    "starting": "",
    "saving": "saves && ! clones && ",
    "cloning": "clones && ! saves && ",
    "snapshotting": "clones && saves && ",
}

# Other shells than bash cannot write to descriptors above 9.
_GREET = r"""
fd=$(echo "$all" | sed "s/.*id=qmp,fd=//; s/[^0-9].*//")
version='{"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}'
bash -c 'echo "$0" >&"$1"' '{"QMP": {"version": '"$version"', "capabilities": []}}' "$fd"
"""


def signalled(number: signal.Signals) -> Fault:
    """Return a fault that sends a signal to QEMU."""

    async def fault(scene: FaultScene, state: str) -> None:
        await STATES[state](scene, lambda pid: os.kill(pid, number))

    return fault


def broken(script: str) -> Fault:
    """Return a fault that replaces QEMU by an invalid program, for QEMUs of one purpose."""

    async def fault(scene: FaultScene, state: str) -> None:
        scene.misbehave(f"{_ROLES[state]}{{\n{script}\n}}")
        try:
            await STATES[state](scene, None)
        finally:
            scene.misbehave("")

    return fault


async def missing(scene: FaultScene, state: str) -> None:
    """Remove QEMU from PATH."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/nonexistent")
        await STATES[state](scene, None)


FAULTS: dict[str, Fault] = {
    "QEMU is missing": missing,
    "QEMU refuses an argument": broken("echo 'qemu-system: -sandbox: no such option' >&2; exit 1"),
    "QEMU dies after its greeting": broken(f"{_GREET}exit 1"),
    "QEMU is silent": broken("exec sleep 600"),
    "QEMU greets, and is silent": broken(f"{_GREET}exec sleep 600"),
    "QEMU is killed": signalled(signal.SIGKILL),
    "QEMU is stopped": signalled(signal.SIGSTOP),
    "the guest panics": guest.does("echo c >/proc/sysrq-trigger"),
    "the guest triples": guest.does("reboot -f"),
    "the guest halts": guest.does("halt -f"),
    "a process takes all memory": guest.does(guest.TAKE_MEMORY),
    "the guest is out of memory": guest.does(guest.FILL_MEMORY),
    "the guest is frozen": guest.does(guest.FREEZE),
    "the guest spins": guest.does(guest.SPIN),
    "the guest spins in real time": guest.spins,
    "the guest floods the console": guest.does(guest.FLOOD_CONSOLE),
    "the guest floods valid frames": guest.daemon("flood"),
    "the guest floods before it answers": guest.daemon("flood_early"),
    "the guest never reads": guest.daemon("ignore"),
}
"""The faults by name."""
