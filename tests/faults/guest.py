"""The faults of a guest, caused by commands of root, or by another daemon in place of sandboxd."""

from __future__ import annotations

import asyncio
import functools
import io
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE

import pytest
from tests.support.changed_image import changed_image

from microvm import ExecTimeout, MicroVM, arches, cpio
from microvm.images import INITRAMFS, Image
from microvm.system import compiler

from .state import FaultScene

_HERE = Path(__file__).parent
_SOURCES = [_HERE / "hostile.c", _HERE.parents[1] / "guest/port.c"]

_AFTER = 0.5
"""Number of seconds until a background command has surely started."""

# Root does this outside the cgroup of the command, so the kernel has to kill this process.
TAKE_MEMORY = "echo $$ >/sys/fs/cgroup/cgroup.procs; tail /dev/zero"
FILL_MEMORY = f"echo -1000 >/proc/self/oom_score_adj; {TAKE_MEMORY}"

# A cgroup whose processes are frozen, among them the first process.
FREEZE = (
    "mkdir /sys/fs/cgroup/cold; echo 1 >/sys/fs/cgroup/cold/cgroup.procs;"
    " echo 1 >/sys/fs/cgroup/cold/cgroup.freeze; sleep 1000"
)
SPIN = "while :; do :; done"
FLOOD_CONSOLE = "cat /dev/zero >/dev/ttyS0"

HARMLESS = {TAKE_MEMORY, SPIN, FLOOD_CONSOLE}
"""Command that a machine runs after the fault."""


def changed(image: Image, folder: Path, *, warm: str = "", **files: bytes) -> Image:
    """Copy an image into a folder and change the copy. Its manifest matches the changes.

    :param warm: shell command that runs before a guest is saved.
    :param files: programs to add to the root of its initramfs, by their names.
    """
    added = io.BytesIO()
    cpio.write([cpio.CpioEntry.file(name, data, 0o755) for name, data in files.items()], added)
    # If two members have the same name, the kernel keeps the later one.
    initramfs = image.initramfs.read_bytes() + (added.getvalue() if files else b"")
    commands = (("sh", "-c", warm),) if warm else image.manifest.warm
    return changed_image(image, folder / "image", {INITRAMFS: initramfs}, warm=commands)


@functools.cache
def hostile(does: str) -> bytes:
    """Compile one of the programs of hostile.c."""
    command = compiler.compiler(arches.find(), "a hostile guest", libc=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / does
        options = ["-std=c11", "-D_DEFAULT_SOURCE", "-O2", "-static", "-Wall", "-Wextra", "-Werror"]
        options += [f'-DDOES="{does}"', f"-I{_SOURCES[1].parent}"]
        subprocess.run([*command, *options, "-o", out, *_SOURCES], check=True)
        return out.read_bytes()


async def _greeting(scene: FaultScene, script: str) -> None:
    """Cause the fault in the first process of the guest."""
    init = f"#!/bin/sh\nmount -t proc proc /proc\n{script}\nsleep 1000\n".encode()
    with tempfile.TemporaryDirectory() as folder:
        image = changed(scene.image, Path(folder), init=init)
        async with replace(scene, image=image).machine(cold=True):
            pass


async def _saving(scene: FaultScene, script: str) -> None:
    """Cause the fault in a command that runs before the template is saved."""
    with tempfile.TemporaryDirectory() as folder:
        image = changed(scene.image, Path(folder), warm=script)
        async with replace(scene, image=image).machine() as machine:
            await machine.run(["true"])


async def _begin(machine: MicroVM, script: str) -> None:
    """Start the command of the fault in the background."""
    background = f"(sleep 0.1; {script}) >/dev/null 2>&1 </dev/null &"
    await machine.run(["sh", "-c", background], check=True)


async def _repeat(use: Callable[[], Awaitable[object]], script: str) -> None:
    """Use a machine until the fault has an effect."""
    if script in HARMLESS:
        await asyncio.sleep(_AFTER)
        await use()
        return
    while True:
        await use()


async def _idle(scene: FaultScene, script: str) -> None:
    async with scene.machine() as machine:
        await _begin(machine, script)
        await _repeat(lambda: machine.run(["true"]), script)


async def _executing(scene: FaultScene, script: str) -> None:
    async with scene.machine() as machine:
        await machine.run(["sh", "-c", script])


async def _flooding(scene: FaultScene, script: str) -> None:
    async with scene.machine() as machine:
        process = await machine.exec(["sh", "-c", f"yes & sleep 0.1; {script}; wait"])
        async for _ in process.stdout:
            pass
        await process.wait()


async def _snapshotting(scene: FaultScene, script: str) -> None:
    async with scene.machine() as machine:
        await _begin(machine, script)

        async def use() -> None:
            (await machine.checkpoint()).close()

        await _repeat(use, script)


async def _stopping(scene: FaultScene, script: str) -> None:
    async with scene.machine() as machine:
        await _begin(machine, script)
        await asyncio.sleep(_AFTER)


_STATES: dict[str, Callable[[FaultScene, str], Awaitable[None]]] = {
    "greeting": _greeting,
    "saving": _saving,
    "idle": _idle,
    "executing": _executing,
    "flooding": _flooding,
    "snapshotting": _snapshotting,
    "stopping": _stopping,
}


def does(script: str) -> Callable[[FaultScene, str], Awaitable[None]]:
    """Return a fault that root causes by a shell command."""

    async def fault(scene: FaultScene, state: str) -> None:
        await _STATES[state](scene, script)

    return fault


def daemon(program: str) -> Callable[[FaultScene, str], Awaitable[None]]:
    """Return a fault of a daemon in place of sandboxd, which receives a hello and a command."""

    async def fault(scene: FaultScene, _: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            image = changed(scene.image, Path(folder), sandboxd=hostile(program))
            # The kernel of a guest that floods the port queues megabytes, and panics with 104 MiB.
            async with replace(scene, image=image).machine(cold=True, memory="160M") as machine:
                process = await machine.exec(["cat"], stdin=PIPE)
                await process.communicate(bytes(1 << 20))

    return fault


async def spins(scene: FaultScene, state: str) -> None:
    """Return a fault of a program that uses all processors with the highest priority.

    Since Linux 6.12, other processes get a twentieth of the time.
    """
    async with scene.machine() as machine:
        await machine.write_file("/spin", hostile("spin"), mode=0o755)
        process = await machine.exec(["/spin"], timeout=2)
        if state == "executing":
            with pytest.raises(ExecTimeout):
                await process.wait()
            await machine.run(["true"])
