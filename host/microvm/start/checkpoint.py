"""Checkpoints: running guests, each copied while it goes on, for others to be cloned from.

QEMU sends a guest to a file in no folder; the guest stops for the last of it only, some
milliseconds, and goes on. Another QEMU, the receiver, restores it into memory that is such a file
as well, where it is greeted, so that it freezes what runs in it until a clone resumes it, and is
saved as a template is.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Self

from microvm.concurrency.threads import check_stopped, in_stoppable_thread
from microvm.errors import MachineError, QemuError, SnapshotError, TemplateError
from microvm.guest.freeze import Freeze
from microvm.images import Image
from microvm.qemu.command_line import Memory
from microvm.qemu.launch import launch
from microvm.start import scratch, snapshots, sparse
from microvm.start.origin import Origin, origin
from microvm.start.running_vm import RunningVM
from microvm.start.saved import blank, restorable
from microvm.start.starter import CLONE_TIMEOUT

_SEAL_TIMEOUT, _SEAL_INTERVAL = 10.0, 0.02
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A guest as it was at a moment, in files without a name, which nobody can write any more.

    :ivar pause: how long what runs in the guest stood still for it, in seconds.
    :ivar copied: see `SavedManifest`.
    """

    origin: Origin
    pause: float
    copied: bool
    _memory: Memory
    _base: int | None

    @contextmanager
    def opened(self) -> Iterator[Memory]:
        """Make of it the memory for one QEMU to inherit, in files of its own; see `restorable`."""
        with ExitStack() as files:
            ram = _duplicate(self._memory.ram, files)
            state = os.pread(self._memory.state, os.fstat(self._memory.state).st_size, 0)
            made = restorable(ram, state, self._memory.scratch, copied=self.copied)
            yield files.enter_context(made)

    def parts(self) -> tuple[dict[str, Any], list[int]]:
        """Return what another process of this user makes it of: facts for JSON, and files."""
        memory = self._memory
        files = {"ram": memory.ram, "state": memory.state}
        files |= {} if memory.scratch is None else {"scratch": memory.scratch}
        files |= {} if self._base is None else {"base": self._base}
        facts = {
            "origin": self.origin._asdict(),
            "pause": self.pause,
            "copied": self.copied,
            "files": [*files],
        }
        return facts, [*files.values()]

    @classmethod
    def of(cls, facts: dict[str, Any], files: list[int]) -> Self:
        """Return one of such parts; its files stay the caller's."""
        named = dict(zip(facts["files"], files, strict=True))
        memory = Memory(named["ram"], named["state"], saved=False, scratch=named.get("scratch"))
        made = Origin(**facts["origin"])
        return cls(made, facts["pause"], facts["copied"], memory, named.get("base"))

    def keep(self, name: str) -> None:
        """Save it on the disk, in the place of what has that name.

        :raises SnapshotError: another process saves one under that name.
        :raises ImageError: the disk is full, or cannot be written. Nothing half made is left.
        """
        snapshots.save(
            self._memory, name=name, origin=self.origin, copied=self.copied, base=self._base
        )


async def take(vm: RunningVM, image: Image, files: ExitStack) -> Checkpoint:
    """Take a checkpoint of a machine, which goes on.

    :param image: the image that it has booted.
    :param files: becomes the owner of the files that it is in.
    :raises Busy: a command runs, or another checkpoint is being taken.
    :raises UsageError: its guest is too old for this.
    :raises SnapshotError: it could not be taken; the machine is as usable as before.
    :raises ImageError: the disk is full.
    :raises MachineError: the machine is dead.
    """
    config = vm.qemu.config
    made = origin(image, config)
    with ExitStack() as ours:
        async with _blame(vm):
            await vm.check()
            memory = ours.enter_context(blank())
            base = None if vm.qemu.base is None else _duplicate(vm.qemu.base, ours)
            if config.scratch:
                disk = ours.enter_context(scratch.empty(config.scratch))
                memory = memory._replace(scratch=disk)
            receiver, pause = await _send(vm, memory)
            try:
                async with receiver.qemu.starting():
                    await receiver.guest.keep()
                    await receiver.qemu.save()
            finally:
                await receiver.end()
            await in_stoppable_thread(sparse.drop_zeros, memory.ram)
            for file in (memory.ram, memory.state):
                await in_stoppable_thread(_seal, file)
        files.push(ours.pop_all())
        return Checkpoint(made, pause, not receiver.qemu.maps_readonly, memory, base)


async def _send(vm: RunningVM, memory: Memory) -> tuple[RunningVM, float]:
    """Send a guest to a receiver; return that when it is ready, and how long what runs stood."""

    async def copy_disk() -> None:
        if vm.qemu.scratch is not None and memory.scratch is not None:
            disk = _duplicate(vm.qemu.scratch, files)  # which may end meanwhile
            await in_stoppable_thread(scratch.copy, disk, memory.scratch)

    with ExitStack() as files:
        sent = os.memfd_create("microvm-sent", os.MFD_CLOEXEC)
        files.callback(os.close, sent)
        target = os.open(f"/proc/self/fd/{sent}", os.O_WRONLY | os.O_CLOEXEC)
        files.callback(os.close, target)
        with vm.guest.held(), Freeze(vm.guest) as freeze:
            # It starts while the guest is sent, and asks for that afterwards.
            launched = launch(vm.qemu.config, memory._replace(sent=sent))
            try:
                await vm.qemu.send(target, freeze.begin, copy_disk)
            except BaseException:
                launched.kill()
                raise
        timeout = vm.qemu.send_timeout + CLONE_TIMEOUT
        return await RunningVM.start(launched, None, timeout, resume=False), freeze.seconds


def _duplicate(file: int, files: ExitStack) -> int:
    copy = os.dup(file)
    files.callback(os.close, copy)
    return copy


def _seal(file: int) -> None:
    """Have nobody write a file any more: no clone's QEMU that was broken into, for the others.

    Some time after its end, the kernel may still have a page in hand of the QEMU that has written
    it (`memfd_wait_for_pins` in mm/memfd.c).

    :raises OSError: it has for longer than `_SEAL_TIMEOUT`.
    """
    begun = time.monotonic()
    while True:
        try:
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() - begun > _SEAL_TIMEOUT:
                raise
        else:
            return
        check_stopped()
        time.sleep(_SEAL_INTERVAL)


@asynccontextmanager
async def _blame(vm: RunningVM) -> AsyncIterator[None]:
    """Tell what is wrong with the machine itself from what is not."""
    try:
        yield
    except (MachineError, QemuError, TemplateError) as error:
        await vm.check()
        raise SnapshotError(
            f"cannot take a snapshot: {error.message}", hint=error.hint, detail=error.detail
        ) from error
