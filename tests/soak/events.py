"""The events of a soak: starts, commands and faults, each with its expected result."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.processes import children, exists, program, state

from microvm import (
    BootError,
    CommandNotFound,
    ExecTimeout,
    FileNotFound,
    GuestDied,
    GuestUnresponsive,
    MicroVM,
    OutputLimit,
    Pool,
    QemuError,
    Snapshot,
)
from microvm.images import Image
from microvm.start import snapshots

MEMORY = "96M"
ORPHANS = 10.0
"""Maximum number of seconds until all processes of a killed controller have exited."""

_TREE = Path(__file__).parents[2]
_PANIC = ["sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60"]
_ENDS = (QemuError, BootError, GuestDied)
MOMENTS = 0.5
"""Approximate number of seconds that a start and its first command take."""


@dataclass
class World:
    """The objects that events use.

    :ivar image: image of the machines.
    :ivar chance: source of random details.
    :ivar folder: folder for files; each event leaves it as it was.
    :ivar witness: machine that runs all the time.
    :ivar snapshot: snapshot of a prepared machine.
    :ivar identities: boot ids of the machines in which clients of a pool have run.
    :ivar pool_descriptors: number of descriptors of an idle pool's supervisor, by the number of
        ready machines.
    """

    image: Image
    chance: random.Random
    folder: Path
    witness: MicroVM
    snapshot: Snapshot | None = None
    identities: set[bytes] = field(default_factory=set)
    pool_descriptors: dict[int, int] = field(default_factory=dict)

    def machine(self, **options: Any) -> MicroVM:
        return MicroVM(self.image, **{**quiet(), **options})


def quiet() -> dict[str, Any]:
    """Return the options of all machines; their notices are dropped."""
    return {"memory": MEMORY, "accel": "tcg", "notify": lambda _: None}


Happens = Callable[[World], Awaitable[object]]


@dataclass(frozen=True)
class SoakEvent:
    """An event of a soak.

    :ivar weight: relative frequency.
    :ivar expected: exact classes of expected errors; empty if the event must succeed.
    :ivar alone: True if no other event may run at the same time, since it finds processes by their
        parent.
    """

    name: str
    happens: Happens
    weight: int = 4
    expected: tuple[type[BaseException], ...] = ()
    alone: bool = False


async def _hello(vm: MicroVM) -> None:
    assert (await vm.run(["echo", "hello"])).stdout == b"hello\n"


async def cold(world: World) -> None:
    async with world.machine(cold=True) as vm:
        await _hello(vm)


async def clone(world: World) -> None:
    async with world.machine() as vm:
        await _hello(vm)


async def restore(world: World) -> None:
    """Start a machine from the snapshot, in which a process continues."""
    assert world.snapshot
    async with MicroVM(world.snapshot, notify=lambda _: None) as vm:
        await vm.run(["pidof", "sleep"], check=True)


async def checkpoint(world: World) -> None:
    """Save a snapshot of a machine, start another machine from it, and remove it."""
    name = f"soak-{world.chance.randrange(1 << 30)}"
    async with world.machine() as vm:
        await vm.checkpoint(name)
        await _hello(vm)
    async with MicroVM(Snapshot.find(name), notify=lambda _: None) as restored:
        await _hello(restored)
    snapshots.STORE.remove(name)


async def fork(world: World) -> None:
    async with world.machine() as vm, await vm.fork(2) as forks:
        for each in (vm, *forks):
            await _hello(each)


async def pool(world: World) -> None:
    async with Pool(2, world.image, **quiet()) as machines:
        outcomes = [each async for each in machines.map([["echo", str(n)] for n in range(3)])]
    assert [each.result().stdout for each in outcomes] == [b"0\n", b"1\n", b"2\n"]


async def output(world: World) -> None:
    size = world.chance.randrange(4 << 20)
    found = await world.witness.run(["head", "-c", str(size), "/dev/zero"])
    assert found.stdout == bytes(size)


async def sends(world: World) -> None:
    data = world.chance.randbytes(world.chance.randrange(1 << 20))
    assert (await world.witness.run(["cat"], input=data)).stdout == data


async def files(world: World) -> None:
    data = world.chance.randbytes(world.chance.randrange(1 << 20))
    number = world.chance.randrange(1 << 30)
    sent, got = world.folder / f"sent-{number}", world.folder / f"got-{number}"
    copy = f"/tmp/soak-{number}"
    sent.write_bytes(data)
    try:
        await world.witness.put(sent, copy)
        await world.witness.get(copy, got)
        assert got.read_bytes() == data
    finally:
        sent.unlink()
        got.unlink(missing_ok=True)
        await world.witness.run(["rm", "-f", copy])


async def too_long(world: World) -> None:
    """Run a command beyond its time-out, with a child that ignores signals."""
    command = "trap '' TERM INT HUP; sleep 60 & sleep 60"
    await world.witness.run(["sh", "-c", command], timeout=0.2)


async def too_much(world: World) -> None:
    await world.witness.run(["yes"], max_output=100_000)


async def terminal(world: World) -> None:
    found = await world.witness.run(["sh", "-c", "stty size; tty"], tty=(31, 99))
    assert found.stdout.startswith(b"31 99\r\n/dev/pts/")


async def background(world: World) -> None:
    """Leave a process that exits later."""
    await world.witness.run(["sh", "-c", "sleep 0.3 >/dev/null 2>&1 &"], check=True)


async def given_up(world: World) -> None:
    """Cancel the start, the command or the end of a machine, at any moment."""
    task = asyncio.create_task(clone(world))
    await asyncio.sleep(world.chance.uniform(0, MOMENTS))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def panics(world: World) -> None:
    async with world.machine() as vm:
        await vm.run(_PANIC)


async def fills(world: World) -> None:
    """Fill the memory of a guest, which ends only the command that does so."""
    async with world.machine() as vm:
        found = await vm.run(["tail", "/dev/zero"])
        assert found.returncode == -signal.SIGKILL
        await _hello(vm)


async def stopped(world: World) -> None:
    async with world.machine() as vm:
        os.kill(vm.pid or 0, signal.SIGSTOP)
        await _hello(vm)


async def kill_qemu(world: World) -> None:
    """Kill QEMU at any moment of a start, a command or an end."""
    others = set(children(os.getpid()))
    task = asyncio.create_task(clone(world))
    await asyncio.sleep(world.chance.uniform(0, MOMENTS))
    for pid in set(children(os.getpid())) - others:
        if program(pid).startswith("qemu-system-") or not world.chance.randrange(4):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    await task


async def reap_others(expected: set[int]) -> None:
    """Wait until this process has only the expected children, and reap those that it adopted."""
    async with asyncio.timeout(ORPHANS):
        while orphans := set(children(os.getpid())) - expected:
            for pid in orphans:
                if exists(pid) and state(pid) == "Z":
                    with suppress(ChildProcessError):
                        os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 -- it has ended
            await asyncio.sleep(0.01)


async def kill_controller(world: World) -> None:
    """Kill a controller at any moment; all its processes must exit soon after."""
    others = set(children(os.getpid()))
    seed = world.chance.randrange(1 << 30)
    victim = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak.victim", str(world.image.path), str(seed)),
        cwd=_TREE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert victim.stdout
        await victim.stdout.readline()  # the controller has started
        await asyncio.sleep(world.chance.uniform(0, 2 * MOMENTS))
    finally:
        victim.kill()
        await victim.wait()
    await reap_others(others)
    for kept in snapshots.STORE.installed():  # complete templates must remain
        if not kept.flaw:
            snapshots.STORE.remove(kept.name)


STARTS = (
    SoakEvent("cold", cold, 2),
    SoakEvent("clone", clone, 8),
    SoakEvent("restore", restore),
    SoakEvent("checkpoint", checkpoint, 2),
    SoakEvent("fork", fork, 2),
    SoakEvent("pool", pool, 2),
)
COMMANDS = (
    SoakEvent("small", lambda world: _hello(world.witness)),
    SoakEvent("output", output),
    SoakEvent("input", sends),
    SoakEvent("files", files),
    SoakEvent("terminal", terminal),
    SoakEvent("background", background, 2),
    SoakEvent(
        "no such file", lambda world: world.witness.read_file("/nowhere"), 2, (FileNotFound,)
    ),
    SoakEvent(
        "no such command", lambda world: world.witness.run(["/nowhere"]), 2, (CommandNotFound,)
    ),
    SoakEvent("timeout", too_long, 2, (ExecTimeout,)),
    SoakEvent("output limit", too_much, 2, (OutputLimit,)),
)
FAULTS = (
    SoakEvent("cancelled", given_up, 4),
    SoakEvent("guest panics", panics, 2, (GuestDied,)),
    SoakEvent("guest fills its memory", fills, 1),
    SoakEvent("QEMU stopped", stopped, 1, (GuestUnresponsive,)),
    SoakEvent("QEMU killed", kill_qemu, 4, _ENDS, alone=True),
    SoakEvent("controller killed", kill_controller, 2, alone=True),
)
EVENTS = {event.name: event for event in (*STARTS, *COMMANDS, *FAULTS)}
"""All events by name."""

MUST_FAIL = {"guest panics", "QEMU stopped", *(event.name for event in COMMANDS if event.expected)}
"""The events that must end with an error."""
