"""The faults: each is a coroutine that has it happen to a machine that is in a state."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from . import guest
from .state import STATES, Scene

Fault = Callable[[Scene, str], Awaitable[None]]
"""The type of a fault: the scene, and the name of the state that it happens in."""

# By its arguments it is known what a QEMU is for; see the fixture `misbehave`.
_ROLES = {
    "starting": "",
    "saving": "saves && ! clones && ",
    "cloning": "clones && ! saves && ",
    "snapshotting": "clones && saves && ",
}

# Of the shells, only bash writes to descriptors above 9.
_GREET = r"""
fd=$(echo "$all" | sed "s/.*id=qmp,fd=//; s/[^0-9].*//")
version='{"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}'
bash -c 'echo "$0" >&"$1"' '{"QMP": {"version": '"$version"', "capabilities": []}}' "$fd"
"""


def signalled(number: signal.Signals) -> Fault:
    """A signal to QEMU, from whoever may send it one."""

    async def fault(scene: Scene, state: str) -> None:
        await STATES[state](scene, lambda pid: os.kill(pid, number))

    return fault


def broken(script: str) -> Fault:
    """A program in QEMU's place that is none, for QEMUs of one role: what else there is works."""

    async def fault(scene: Scene, state: str) -> None:
        scene.misbehave(f"{_ROLES[state]}{{\n{script}\n}}")
        try:
            await STATES[state](scene, None)
        finally:
            scene.misbehave("")

    return fault


async def missing(scene: Scene, state: str) -> None:
    """QEMU is not on the PATH."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/nonexistent")
        await STATES[state](scene, None)


# By root, in no command's group; where that is not to be killed for it, there is nobody else.
_TAKE_MEMORY = "echo $$ >/sys/fs/cgroup/cgroup.procs; tail /dev/zero"
_FILL_MEMORY = f"echo -1000 >/proc/self/oom_score_adj; {_TAKE_MEMORY}"

# A group of processes that stand still, and the first process is in it.
_FREEZE = (
    "mkdir /sys/fs/cgroup/cold; echo 1 >/sys/fs/cgroup/cold/cgroup.procs;"
    " echo 1 >/sys/fs/cgroup/cold/cgroup.freeze; sleep 1000"
)

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
    "a process takes all memory": guest.does(_TAKE_MEMORY),
    "the guest is out of memory": guest.does(_FILL_MEMORY),
    "the guest is frozen": guest.does(_FREEZE),
    "the guest spins": guest.does("while :; do :; done"),
    "the guest spins in real time": guest.spins,
    "the guest floods the console": guest.does("cat /dev/zero >/dev/ttyS0"),
    "the guest floods valid frames": guest.daemon("flood"),
    "the guest floods before it answers": guest.daemon("flood_early"),
    "the guest never reads": guest.daemon("ignore"),
}
"""The faults by their names in the table."""
