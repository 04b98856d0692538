"""Checkpoints: copies of running guests, from which clones start.

QEMU sends the guest's state to a file without a name. The guest stops for some milliseconds while
QEMU sends the last bytes, and then continues. A second QEMU, the receiver, restores the copy into
memory that is also a file without a name. The host sends `hello` to the copy, whose processes stay
frozen until a clone resumes them. Then the receiver saves the copy, as QEMU saves a template.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Self

from microvm.cache import record
from microvm.concurrency.threads import check_stopped, in_stoppable_thread
from microvm.errors import MachineError, QemuError, SnapshotError, TemplateError
from microvm.images import Image
from microvm.qemu.command_line import Memory
from microvm.qemu.launch import duplicate, launch
from microvm.start import scratch, snapshots, sparse, template
from microvm.start.origin import Origin, origin
from microvm.start.running_vm import RunningVM
from microvm.start.saved import blank, restorable
from microvm.start.starter import CLONE_TIMEOUT
from microvm.system import platform

_SEAL_TIMEOUT, _SEAL_INTERVAL = 10.0, 0.02


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A copy of a guest, in files without names that are sealed: no process can change them.

    :ivar origin: Image, QEMU and options with which the guest was started.
    :ivar pause: Number of seconds for which the guest's processes were stopped.
    :ivar copied: See `SavedManifest`.
    """

    origin: Origin
    pause: float
    copied: bool
    _memory: Memory
    _base: int | None

    @contextmanager
    def opened(self) -> Iterator[Memory]:
        """Context manager that yields the checkpoint's files for one QEMU; see `restorable`."""
        with ExitStack() as files:
            ram = duplicate(self._memory.ram, files)
            state = os.pread(self._memory.state, os.fstat(self._memory.state).st_size, 0)
            memory = restorable(ram, state, self._memory.scratch, copied=self.copied)
            yield files.enter_context(memory)

    def parts(self) -> tuple[dict[str, Any], list[int]]:
        """Return the checkpoint as a record for JSON and open files, to pass to another process."""
        memory = self._memory
        files = {"ram": memory.ram, "state": memory.state}
        files |= {} if memory.scratch is None else {"scratch": memory.scratch}
        files |= {} if self._base is None else {"base": self._base}
        parts = {"origin": record.members(self.origin), "pause": self.pause, "copied": self.copied}
        return {**parts, "files": [*files]}, [*files.values()]

    @classmethod
    def of(cls, parts: dict[str, Any], files: list[int]) -> Self:
        """Create a checkpoint from a result of `parts`; the caller must close the files."""
        named = dict(zip(parts["files"], files, strict=True))
        memory = Memory(named["ram"], named["state"], saved=False, scratch=named.get("scratch"))
        saved_origin = record.make(Origin, parts["origin"])
        return cls(saved_origin, parts["pause"], parts["copied"], memory, named.get("base"))

    def keep(self, name: str) -> None:
        """Save the checkpoint on the disk as a snapshot; replace a snapshot of the same name."""
        own = self._memory
        snapshots.save(own, name=name, origin=self.origin, copied=self.copied, base=self._base)

    def keep_as_template(self, name: str) -> None:
        """Save the checkpoint on the disk as a template, whose lock the caller must hold."""
        template.save(self._memory, name=name, origin=self.origin, copied=self.copied)


async def take(vm: RunningVM, image: Image, files: ExitStack) -> Checkpoint:
    """Take a checkpoint of a running machine; `files` closes the files of the checkpoint.

    The machine continues to run afterwards. See `MicroVM.checkpoint` for the errors.

    :param image: Image that the machine has booted.
    """
    platform.require(platform.CLONES, SnapshotError)
    config = vm.qemu.config
    saved_origin = origin(image, config)
    with ExitStack() as own_files:
        async with _snapshot_errors(vm):
            await vm.check()
            memory = own_files.enter_context(blank())
            base = None if vm.qemu.base is None else duplicate(vm.qemu.base, own_files)
            if config.scratch:
                disk = own_files.enter_context(scratch.empty(config.scratch))
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
        files.push(own_files.pop_all())
        return Checkpoint(saved_origin, pause, not receiver.qemu.maps_readonly, memory, base)


async def _send(vm: RunningVM, memory: Memory) -> tuple[RunningVM, float]:
    """Send the guest of `vm` to a second QEMU, the receiver, which stores it in `memory`'s files.

    Return the receiver as a machine that is ready, and the seconds for which the guest was stopped.
    """

    async def copy_disk() -> None:
        if vm.qemu.scratch is not None and memory.scratch is not None:
            # Copy from a duplicate, because the disk's descriptor is closed when QEMU exits.
            disk = duplicate(vm.qemu.scratch, files)
            await in_stoppable_thread(scratch.copy, disk, memory.scratch)

    async def freeze() -> None:
        frozen.append(time.monotonic())
        await vm.guest.keep()

    frozen: list[float] = []
    pause = 0.0
    with ExitStack() as files:
        sent = platform.memory_file("microvm-sent")
        files.callback(os.close, sent)
        target = os.open(platform.descriptor_path(sent), os.O_WRONLY | os.O_CLOEXEC)
        files.callback(os.close, target)
        with vm.guest.held():
            # The receiver, a second QEMU, starts up while the first one sends its guest.
            launched = launch(vm.qemu.config, memory._replace(sent=sent))
            try:
                await vm.qemu.send(target, freeze, copy_disk)
            except BaseException:
                launched.kill()
                raise
            finally:
                if frozen and vm.guest.error is None:
                    vm.guest.resume()
                    pause = time.monotonic() - frozen[0]
        timeout = vm.qemu.send_timeout + CLONE_TIMEOUT
        return await RunningVM.start(launched, None, timeout, resume=False), pause


def _seal(file: int) -> None:
    """Forbid all writes to a file, as a compromised QEMU could change it for other clones.

    After the QEMU that wrote the file has exited, the kernel may still use a page of the file for a
    moment (`memfd_wait_for_pins` in mm/memfd.c). So try several times.
    """
    begun = time.monotonic()
    while True:
        try:
            platform.seal(file)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() - begun > _SEAL_TIMEOUT:
                raise
        else:
            return
        check_stopped()
        time.sleep(_SEAL_INTERVAL)


@asynccontextmanager
async def _snapshot_errors(vm: RunningVM) -> AsyncIterator[None]:
    """Context manager that converts an error of its block into a `SnapshotError`.

    If the machine has failed, raise the error of the machine instead.
    """
    try:
        yield
    except (MachineError, QemuError, TemplateError) as error:
        await vm.check()
        raise SnapshotError(
            f"cannot take a snapshot: {error.message}", hint=error.hint, detail=error.detail
        ) from error
