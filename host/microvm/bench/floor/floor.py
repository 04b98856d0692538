"""The floor as a side of the comparison."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from microvm.bench.floor.build import build
from microvm.bench.floor.machine import Machine
from microvm.bench.side import STREAM_SIZE
from microvm.launch import find_qemu, qemu_arguments
from microvm.qemu_command import QemuConfig
from microvm.tasks import settled

if TYPE_CHECKING:
    from microvm.arch import Accel
    from microvm_image.image import Image

# What shapes the guest, and is the same on both sides.
_SHARED_OPTIONS = ("-cpu", "-m", "-smp", "-append")
_DEVICE = {"pci": "virtio-serial-pci", "mmio": "virtio-serial-device"}

# A guest is saved after this many commands: its kernel has then filled its caches.
_WARM_UP = 20

# Memory that is a file belongs into memory.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - nobody can guess the name of our folder there


class Floor:
    """Starts the floor's machines; `opened` gives one."""

    name = "floor"

    def __init__(self, config: QemuConfig, folder: Path) -> None:
        """Use `opened`.

        :param folder: for the guests' memory.
        """
        self._config = config
        self._folder = folder
        self._numbers = itertools.count()
        self._saved: tuple[Path, Path] | None = None

    @classmethod
    @contextmanager
    def opened(cls, image: Image, *, accel: Accel, memory: int) -> Iterator[Self]:
        """Compile the guest, and keep what it takes in a folder that is gone afterwards.

        :param image: whose kernel and file system it has.
        :param memory: of the guest, in MiB.
        :raise ImageError: there is no compiler.
        """
        place = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
        with tempfile.TemporaryDirectory(prefix="microvm-floor-", dir=place) as name:
            folder = Path(name)
            config = QemuConfig(
                kernel=image.kernel,
                initramfs=build(image, folder),
                bus=image.manifest.bus,
                accel=accel,
                memory=memory,
                arch=image.manifest.arch,
            )
            yield cls(config, folder)

    async def boot(self) -> FloorMachine:
        """Boot a machine.

        :raise MachineError: it does not come up.
        """
        return await _started(self._boot_once)

    async def clone(self) -> FloorMachine:
        """Clone a machine that was booted and saved, the first time now.

        :raise MachineError: it does not come up.
        :raise QemuError: it cannot be saved.
        """
        if self._saved is None:
            self._saved = await asyncio.to_thread(self._save)
        return await _started(partial(self._restore, *self._saved))

    def _new_memory(self) -> Path:
        return self._folder / f"memory-{next(self._numbers)}"

    def _boot(self, memory: Path) -> Machine:
        return Machine(self._command(memory, "share=on"), device=self._device())

    def _boot_once(self) -> Machine:
        memory = self._new_memory()
        try:
            return self._boot(memory)
        finally:
            memory.unlink(missing_ok=True)

    def _save(self) -> tuple[Path, Path]:
        memory, state = self._new_memory(), self._folder / "state"
        machine = self._boot(memory)
        try:
            for _ in range(_WARM_UP):
                machine.ask(b"x")
            machine.save(state)
        finally:
            machine.stop()
        return memory, state

    def _restore(self, memory: Path, state: Path) -> Machine:
        return Machine(self._command(memory, "share=off"), device=self._device(), state=state)

    def _device(self) -> str:
        return _DEVICE[self._config.bus]

    def _command(self, memory: Path, mode: str) -> list[str]:
        ours = qemu_arguments(self._config)
        values = {name: ours[ours.index(name) + 1] for name in ("-M", *_SHARED_OPTIONS)}
        size = f"size={self._config.memory}M"
        return [
            str(find_qemu(self._config.arch)),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-accel", self._config.accel, "-M", f"{values['-M']},memory-backend=ram"),
            *(word for name in _SHARED_OPTIONS for word in (name, values[name])),
            *("-object", f"memory-backend-file,id=ram,{size},mem-path={memory},{mode}"),
            *("-kernel", str(self._config.kernel), "-initrd", str(self._config.initramfs)),
            *("-serial", "null"),
        ]


async def _started(start: Callable[[], Machine]) -> FloorMachine:
    task = asyncio.create_task(asyncio.to_thread(start))
    try:
        await settled([task])
    except asyncio.CancelledError:
        if task.exception() is None:
            task.result().stop()
        raise
    return FloorMachine(task.result())


class FloorMachine:
    """A machine that is up.

    It blocks the event loop, which has nothing else to do: handing over to a thread would be
    measured, too.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @property
    def pid(self) -> int:
        """QEMU's."""
        return self._machine.pid

    async def ping(self) -> None:
        """Exchange a byte with the guest."""
        self._machine.ask(b"p")

    async def run_true(self) -> None:
        """Run `true`."""
        self._machine.ask(b"x")

    async def read_stream(self) -> None:
        """Have a process in the guest write `STREAM_SIZE` bytes, and read them."""
        self._machine.ask(b"o", STREAM_SIZE)

    async def write_stream(self) -> None:
        """Have a process in the guest read `STREAM_SIZE` bytes, and write them."""
        self._machine.feed()

    async def stop(self) -> None:
        """End it."""
        self._machine.stop()
