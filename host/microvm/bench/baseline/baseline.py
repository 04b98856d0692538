"""The baseline as a contender of the comparison."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from microvm.bench.baseline.build import build
from microvm.bench.baseline.qemu import BaselineQemu
from microvm.bench.contender import STREAM_SIZE
from microvm.concurrency.tasks import settled
from microvm.concurrency.threads import in_thread
from microvm.qemu.command_line import Memory, QemuConfig, descriptor_path
from microvm.qemu.launch import find_qemu, qemu_arguments
from microvm.start import saved

if TYPE_CHECKING:
    from microvm.arches import Accel
    from microvm.images import Image

# The options that shape the guest; both contenders have the same.
_SHARED_OPTIONS = ("-cpu", "-m", "-smp", "-append")
_DEVICE = {"pci": "virtio-serial-pci", "mmio": "virtio-serial-device"}
_DISK = {"pci": "virtio-blk-pci,drive=disk", "mmio": "virtio-blk-device,drive=disk"}

# A guest is saved after this many commands, and a stream: what its kernel puts off at boot is then
# done, and not left to each clone.
_WARM_UP = 100


class Baseline:
    """The contender that starts the baseline's machines; `opened` makes one."""

    name = "baseline"

    def __init__(
        self, config: QemuConfig, initramfs: int, disk: int | None, owned: ExitStack
    ) -> None:
        """Wrap what :meth:`opened` has prepared."""
        self._config = config
        self._initramfs = initramfs
        self._disk = disk
        self._owned = owned
        self._saved: Memory | None = None

    @classmethod
    @contextmanager
    def opened(cls, image: Image, *, accel: Accel, memory: int) -> Iterator[Self]:
        """Compile the guest into a memory file, which is gone afterwards.

        :param image: the image whose kernel and file system it has.
        :param memory: the guest's memory in MiB.
        :raises ImageError: there is no compiler.
        """
        with ExitStack() as owned:
            initramfs = os.memfd_create("microvm-baseline", os.MFD_CLOEXEC)
            owned.callback(os.close, initramfs)
            with open(initramfs, "wb", closefd=False) as file:
                file.write(build(image))
            config = QemuConfig(
                kernel=image.kernel,
                initramfs=Path(descriptor_path(initramfs)),
                bus=image.manifest.bus,
                accel=accel,
                memory=memory,
                arch=image.manifest.arch,
                disk=image.disk,
            )
            disk = None
            if image.disk:
                disk = owned.enter_context(image.disk.open("rb")).fileno()
            yield cls(config, initramfs, disk, owned)

    async def boot(self) -> BaselineMachine:
        """Boot a machine.

        :raises MachineError: it does not come up.
        """
        with saved.blank() as memory:
            return BaselineMachine(await _start_in_thread(partial(self._start, memory)))

    async def clone(self) -> BaselineMachine:
        """Clone a machine that was booted and saved; the first call saves it.

        :raises MachineError: it does not come up.
        :raises QemuError: it cannot be saved.
        """
        if self._saved is None:
            memory = self._owned.enter_context(saved.blank())
            machine = BaselineMachine(await _start_in_thread(partial(self._start, memory)))
            try:
                for _ in range(_WARM_UP):
                    await machine.run_true()
                await machine.run_python()
                await machine.read_stream()
                await machine.save(memory.state)
            finally:
                await machine.stop()
            self._saved = memory._replace(saved=True)
        return BaselineMachine(await _start_in_thread(partial(self._start, self._saved)))

    def _start(self, memory: Memory) -> BaselineQemu:
        return BaselineQemu(
            self._command(memory),
            device=_DEVICE[self._config.bus],
            files=(
                *(self._initramfs, memory.ram, memory.state),
                *(() if self._disk is None else (self._disk,)),
            ),
            state=memory.state if memory.saved else None,
        )

    def _command(self, memory: Memory) -> list[str]:
        ours = qemu_arguments(self._config)
        values = {name: ours[ours.index(name) + 1] for name in ("-M", *_SHARED_OPTIONS)}
        backend = f"memory-backend-file,id=ram,size={self._config.memory}M"
        backend += f",mem-path={descriptor_path(memory.ram)}"
        backend += f",share={'off' if memory.saved else 'on'}"
        return [
            str(find_qemu(self._config.arch)),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-accel", self._config.accel, "-M", f"{values['-M']},memory-backend=ram"),
            *(word for name in _SHARED_OPTIONS for word in (name, values[name])),
            *("-kernel", str(self._config.kernel), "-initrd", str(self._config.initramfs)),
            *("-object", backend, "-serial", "null"),
            *self._disk_arguments(),
        ]

    def _disk_arguments(self) -> list[str]:
        if self._disk is None:
            return []
        drive = f"if=none,id=disk,format=raw,readonly=on,file={descriptor_path(self._disk)}"
        return ["-drive", drive, "-device", _DISK[self._config.bus]]


async def _start_in_thread(make: Callable[[], BaselineQemu]) -> BaselineQemu:
    """Start a machine in a thread, and end it if nobody waits for it any longer."""
    task = asyncio.create_task(in_thread(make))
    try:
        await settled([task])
    except asyncio.CancelledError:
        if task.exception() is None:
            task.result().stop()
        raise
    return task.result()


class BaselineMachine:
    """A running machine of the baseline.

    It blocks the event loop, which has nothing else to do: handing over to a thread would be
    measured, too.
    """

    def __init__(self, machine: BaselineQemu) -> None:
        self._machine = machine

    @property
    def pid(self) -> int:
        """The process id of QEMU."""
        return self._machine.pid

    async def ping(self) -> None:
        """Exchange a byte with the guest."""
        self._machine.request(b"p")

    async def run_true(self) -> None:
        """Run `true`."""
        self._machine.request(b"x")

    async def run_python(self) -> None:
        """Run a Python that does nothing, or find that there is none."""
        self._machine.request(b"y")

    async def read_stream(self) -> None:
        """Have a process in the guest write `STREAM_SIZE` bytes, and read them."""
        self._machine.request(b"o", STREAM_SIZE)

    async def write_stream(self) -> None:
        """Have a process in the guest read `STREAM_SIZE` bytes, and write them."""
        self._machine.feed()

    async def save(self, state: int) -> None:
        """Save the machine and end it.

        :raises QemuError: it cannot be saved.
        """
        self._machine.save(state)

    async def stop(self) -> None:
        """End the machine; idempotent."""
        self._machine.stop()
