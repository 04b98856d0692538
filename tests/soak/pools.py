"""The events of a soak for a named pool: clients, and deaths of clients, machines and the pool."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Any

from tests.support.processes import children, open_files, program
from tests.support.small_disk import filled

from .events import MEMORY, MOMENTS, SoakEvent, World, reap_others

NAME = "soak"
_SIZE = 2
_LIMIT = 20.0  # maximum number of seconds until the pool has its machines again
_SCRIPT = "cat /proc/sys/kernel/random/boot_id; test -e /used && echo used; touch /used"


def _words(world: World) -> tuple[str, ...]:
    """Return the options of the pool. Its clients have the same ones, so that it serves them."""
    return "--image", str(world.image.path), "--memory", MEMORY, "--accel", "tcg", "-q"


async def _begin(*words: str) -> Process:
    """Start a command of microvm, whose standard streams are pipes."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "microvm", *words), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )


async def _run(*words: str, text: bytes = b"") -> bytes:
    """Run a command of microvm, which must succeed, and return its output."""
    process = await _begin(*words)
    out, err = await process.communicate(text)
    assert process.returncode == 0, (words, process.returncode, out, err)
    return out


async def start(world: World) -> None:
    await _run("pool", "start", "--linger", "--size", str(_SIZE), *_words(world), NAME)
    world.pool_descriptors.clear()


async def stop() -> None:
    others = set(children(os.getpid())) - {(await _facts())["supervisor"]}
    await _run("pool", "stop", NAME)
    await reap_others(others)


async def _facts() -> dict[str, Any]:
    [found] = json.loads(await _run("pool", "inspect", "--json", NAME))
    assert isinstance(found, dict)
    return found


async def _full(world: World) -> None:
    """Wait until all machines of the pool are ready, none is used, and none starts or stops.

    So a machine that a dead client used is deleted, and a machine that was killed is replaced. The
    supervisor may then have no more descriptors than the first time that so many were ready. It has
    fewer of them for a machine that is just starting, so all machines have to be those of the
    reading before.
    """
    deadline = time.monotonic() + _LIMIT
    machines: set[int] = set()
    while True:
        facts = await _facts()
        before, machines = machines, set(children(facts["supervisor"]))
        files, ready = open_files(facts["supervisor"]), facts["ready"]
        is_full = ready >= facts["size"] and not facts["used"]
        if is_full and machines == before and len(machines) == ready:
            most = world.pool_descriptors.setdefault(ready, len(files))
            if len(files) <= most:
                return
        assert time.monotonic() < deadline, (facts, files, machines, world.pool_descriptors)
        await asyncio.sleep(0.05)  # the supervisor is another process, which sends no event


def _client(world: World, *argv: str) -> tuple[str, ...]:
    return "run", "--pool", NAME, *_words(world), "--", *argv


async def command(world: World) -> None:
    """Run a command in a machine that no command has used before, and that has a new boot id."""
    lines = (await _run(*_client(world, "sh", "-c", _SCRIPT))).split()
    assert len(lines) == 1, lines
    assert lines[0] not in world.identities
    world.identities.add(lines[0])


async def several(world: World) -> None:
    """Run more commands at once than there are machines."""
    await asyncio.gather(*(command(world) for _ in range(2 * _SIZE)))


async def mapped(world: World) -> None:
    jobs = b"".join(b"echo %d\n" % number for number in range(3))
    out = await _run("map", "--pool", NAME, *_words(world), "-", text=jobs)
    assert sorted(json.loads(line)["stdout"] for line in out.splitlines()) == ["0\n", "1\n", "2\n"]


async def kill_client(world: World) -> None:
    """Kill a client at any moment. If the pool had no machine for it, it has started one."""
    others = set(children(os.getpid()))
    client = await _begin(*_client(world, "sleep", "60"))
    await asyncio.sleep(world.chance.uniform(0, 2 * MOMENTS))
    client.kill()
    await client.communicate()
    await reap_others(others)
    await _full(world)


async def kill_machine(world: World) -> None:
    """Kill a machine of the pool, ready or just being started."""
    others = set(children(os.getpid()))
    supervisor = (await _facts())["supervisor"]
    if machines := [each for each in children(supervisor) if program(each)]:
        with suppress(ProcessLookupError):
            os.kill(world.chance.choice(machines), signal.SIGKILL)
    await command(world)
    await reap_others(others)
    await _full(world)


async def kill_pool(world: World) -> None:
    """Kill the supervisor at any moment. The next command runs, and the machines exit soon."""
    supervisor = (await _facts())["supervisor"]
    others = set(children(os.getpid())) - {supervisor}
    client = await _begin(*_client(world, "true"))
    await asyncio.sleep(world.chance.uniform(0, MOMENTS))
    os.kill(supervisor, signal.SIGKILL)
    await client.communicate()  # it fails if it had a machine of the pool
    await command(world)
    await reap_others(others)
    await start(world)


async def fill_disk(world: World) -> None:
    """Fill the disk. Commands run in the ready machines, and the pool recovers afterwards.

    A clone reads its template's file, which has holes. In a tmpfs, reading a hole takes a page of
    the disk, and QEMU gets SIGBUS if there is none. So leave some pages for this.
    """
    await _full(world)
    with filled(world.folder, spare=16 << 20):
        await command(world)
    await _full(world)


POOL_EVENTS = (
    SoakEvent("pool: command", command, 8),
    SoakEvent("pool: several commands", several, 2),
    SoakEvent("pool: map", mapped, 2),
    SoakEvent("pool: client killed", kill_client, 4, alone=True),
    SoakEvent("pool: machine killed", kill_machine, 4, alone=True),
    SoakEvent("pool: killed", kill_pool, 2, alone=True),
    SoakEvent("pool: disk full", fill_disk, 2, alone=True),
)
"""The events of a soak for a named pool. The last one needs a small disk, which root can mount."""
