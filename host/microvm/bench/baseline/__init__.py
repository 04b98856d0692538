"""The benchmark's baseline: plain QEMU with a minimal guest, without microvm's protocol and limits.

The guest has the same kernel, file system, CPU model and kernel command line as the image that it
is compared with. Only its first process is another program, which the benchmark compiles. If the
file system is on a disk, the image's `init` mounts it, and then executes that program. QEMU has its
default devices, and is neither confined nor supervised.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Self

from microvm import arches, cpio
from microvm.bench.baseline.qemu import BaselineMachine
from microvm.concurrency.tasks import wait_ended
from microvm.concurrency.threads import in_thread
from microvm.qemu.command_line import Memory, QemuConfig, descriptor_path
from microvm.qemu.launch import find_qemu, qemu_arguments
from microvm.start import saved
from microvm.system import platform, private
from microvm.system.compiler import compiler
from microvm.system.tools import run

if TYPE_CHECKING:
    from microvm.arches import Accel
    from microvm.images import Image

# Options of QEMU that affect the guest. The baseline gives them the values that microvm uses.
_SHARED_OPTIONS = ("-cpu", "-m", "-smp", "-append")

# Number of commands that the guest runs before its state is saved for clones. By then, its kernel
# has finished the work that it delays after a boot.
_WARM_UP = 100

SOURCE = Path(__file__).with_name("guest.c")

_FLAGS = ("-std=c11", "-D_DEFAULT_SOURCE", "-Os", "-static", "-s")


class Baseline:
    """One of the contenders that the benchmark compares: plain QEMU. Create it with `opened`."""

    name = "baseline"

    def __init__(
        self, config: QemuConfig, initramfs: int, disk: int | None, owned: ExitStack
    ) -> None:
        """Store the arguments. `owned` closes the file descriptors `initramfs` and `disk`."""
        self._config = config
        self._initramfs = initramfs
        self._disk = disk
        self._owned = owned
        self._saved: Memory | None = None

    @classmethod
    @contextmanager
    def opened(cls, image: Image, *, accel: Accel, memory: int) -> Iterator[Self]:
        """Context manager that compiles the baseline's guest, and yields a contender that uses it.

        The guest is compiled into a file in memory, which is closed after the block.

        :param memory: Memory of the guest in MiB.
        :raises ImageError: If no compiler is installed.
        """
        with ExitStack() as owned:
            initramfs = platform.memory_file("microvm-baseline")
            owned.callback(os.close, initramfs)
            with open(initramfs, "wb", closefd=False) as file:
                file.write(_build(image))
            config = QemuConfig(
                kernel=image.kernel,
                initramfs=Path(descriptor_path(initramfs)),
                bus=image.manifest.bus,
                accel=accel,
                memory=memory,
                arch=image.manifest.arch,
                disk=image.disk,
            )
            disk = owned.enter_context(image.disk.open("rb")).fileno() if image.disk else None
            yield cls(config, initramfs, disk, owned)

    async def boot(self) -> BaselineMachine:
        """Boot a machine of the baseline."""
        return await _start_in_thread(partial(self._start, None))

    async def clone(self) -> BaselineMachine:
        """Clone a saved machine of the baseline. The first call boots the machine and saves it."""
        if self._saved is None:
            memory = self._owned.enter_context(saved.blank())
            machine = await _start_in_thread(partial(self._start, memory))
            try:
                for _ in range(_WARM_UP):
                    await machine.run_true()
                await machine.run_python()
                await machine.read_stream()
                machine.save(memory.state)
            finally:
                await machine.stop()
            self._saved = memory._replace(saved=True)
        return await _start_in_thread(partial(self._start, self._saved))

    def _start(self, memory: Memory | None) -> BaselineMachine:
        device, _, _ = arches.BUSES[self._config.bus].serial.partition(",")
        return BaselineMachine(
            self._command(memory),
            device=device,  # without microvm's properties
            files=(
                self._initramfs,
                *(() if memory is None else (memory.ram, memory.state)),
                *(() if self._disk is None else (self._disk,)),
            ),
            state=memory.state if memory and memory.saved else None,
        )

    def _command(self, memory: Memory | None) -> list[str]:
        arguments = qemu_arguments(self._config)
        values = {name: arguments[arguments.index(name) + 1] for name in ("-M", *_SHARED_OPTIONS)}
        kind, size = ("ram" if memory is None else "file"), self._config.memory
        backend = f"memory-backend-{kind},id=ram,size={size}M"
        if memory is not None:
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
        return ["-drive", drive, "-device", f"{arches.BUSES[self._config.bus].block},drive=disk"]


async def _start_in_thread(make: Callable[[], BaselineMachine]) -> BaselineMachine:
    """Call `make`, which starts QEMU, in a thread. If the caller is cancelled, stop QEMU."""
    task = asyncio.create_task(in_thread(make))
    try:
        await wait_ended([task])
    except asyncio.CancelledError:
        if task.exception() is None:
            task.result().kill()
        raise
    return task.result()


def _build(image: Image) -> bytes:
    """Return the image's initramfs, with its first process replaced by the baseline's program."""
    archive = BytesIO()
    # An initramfs may consist of several archives. If two of them contain the same file, the kernel
    # uses the later one, so appending an archive replaces a file.
    archive.write(image.initramfs.read_bytes())
    # The baseline's program replaces `init`. But if the root file system is on a disk, `init` must
    # mount it and then executes `sandboxd`, so the baseline's program replaces `sandboxd`.
    name = "sandboxd" if image.disk else "init"
    cpio.write([cpio.CpioEntry.file(name, _compile(image), 0o755)], archive)
    return archive.getvalue()


def _compile(image: Image) -> bytes:
    command = compiler(arches.find(image.manifest.arch), "sandboxd")
    with private.temporary() as folder:
        program = Path(folder, "init")
        run([*command, *_FLAGS, "-o", str(program), str(SOURCE)], what="compiling the baseline")
        return program.read_bytes()
