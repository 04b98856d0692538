"""A virtual machine: its start, its readiness, the command that runs in it, and its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, Unpack

from microvm import accel as accels
from microvm import codec
from microvm.arch import Accel
from microvm.console import Console
from microvm.errors import BootError, GuestDied, QemuError, UsageError
from microvm.guest import PING_TIMEOUT, Guest
from microvm.launch import find_qemu
from microvm.options import ExecOptions, RunOptions, Text
from microvm.process import CompletedProcess, Process
from microvm.qemu import Qemu
from microvm.qemu_command import QemuConfig
from microvm.units import parse_memory

if TYPE_CHECKING:
    from microvm_image.image import Image

BOOT_TIMEOUT = 60.0
"""Seconds from QEMU's start to the guest's `ready`; emulation on a loaded machine is slow."""

SHUTDOWN_TIMEOUT = 1.0
"""How long a guest may take to end itself, in seconds."""

# QEMU is ending when its port does; how it ended is known soon after, and says more.
_LOSS_GRACE = 3.0


@dataclass(frozen=True, slots=True)
class BootTimes:
    """Moments of a start, of `time.monotonic()`, in seconds.

    :ivar begun: before QEMU was spawned.
    :ivar running: the guest's first instruction.
    :ivar ready: its daemon had answered.
    """

    begun: float
    running: float
    ready: float


class MicroVM:
    """A machine that is started, runs commands one at a time, and is thrown away.

    ::

        async with MicroVM() as vm:
            result = await vm.run(["echo", "hello"])

    :param image: an image, its name or its folder; by default the one for this host, which is
        built if there is none.
    :param memory: of the guest, in MiB, or as text: `512M`, `2G`.
    :param cpus: how many the guest has.
    :param accel: `auto` uses KVM where a guest really runs under it.
    :param console: a file that gets what the guest writes to its serial port, at most 16 MiB.
    :param notify: called with lines that a user should see once, such as why there is no KVM.
    :raise UsageError: for a value that cannot be.
    """

    def __init__(
        self,
        image: Image | str | Path | None = None,
        *,
        memory: int | str = 256,
        cpus: int = 1,
        accel: Literal["auto", "kvm", "tcg"] = "auto",
        console: Path | None = None,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        if cpus < 1:
            raise UsageError(f"a machine needs at least one CPU, not {cpus}")
        self._given_image = image
        self._memory = parse_memory(str(memory))
        self._cpus = cpus
        self._requested = accel
        self._console_log = console
        self._notify = notify
        self._started = False
        self._console: Console | None = None
        self._qemu: Qemu | None = None
        self._watch: asyncio.Task[None] | None = None
        self._guest: Guest | None = None
        self.accel: str = accel
        self.times: BootTimes | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """QEMU's process id, or None when the machine is not up."""
        return self._qemu.pid if self._qemu else None

    async def start(self) -> None:
        """Boot the guest and wait until it is ready.

        :raise ImageError: there is no image, and none can be built.
        :raise QemuError: QEMU is missing, or does not start.
        :raise BootError: the guest did not become ready; its `detail` has the console's end.
        :raise ProtocolError: what answered is not our guest.
        """
        if self._started:
            raise UsageError("a machine is started once; make another")
        self._started = True
        image = await self._image()
        arch = image.manifest.arch
        verdicts = accels.Verdicts(_cache_folder(), find_qemu(arch))
        candidates = accels.candidates(self._requested, arch=arch, verdicts=verdicts)
        for accel in candidates:
            proven = accel == candidates[-1]
            try:
                await self._boot(image, accel, BOOT_TIMEOUT if proven else accels.PROOF_TIMEOUT)
            except (QemuError, BootError):
                if proven:
                    raise
                continue
            if len(candidates) > 1:
                works = accel == candidates[0]
                verdicts.remember(works=works)
                if not works:
                    self._notify(accels.notice(candidates[0]))
            return

    async def _image(self) -> Image:
        from microvm_image.image import Image

        if isinstance(self._given_image, Image):
            return self._given_image
        if self._given_image is not None:
            from microvm_image.image import load

            return load(self._given_image)
        from microvm_image.defaults import default

        return await asyncio.to_thread(default)

    async def _boot(self, image: Image, accel: Accel, timeout: float) -> None:
        config = QemuConfig(
            kernel=image.kernel,
            initramfs=image.initramfs,
            bus=image.manifest.bus,
            accel=accel,
            memory=self._memory,
            cpus=self._cpus,
            arch=image.manifest.arch,
        )
        self.accel = accel
        self._console = Console(self._console_log)
        try:
            begun = time.monotonic()
            self._qemu = await Qemu.start(config, console=self._console)
            running = time.monotonic()
            self._guest = await Guest.connect(
                self._qemu.take_port(), console_tail=self._console.tail, loss_grace=_LOSS_GRACE
            )
            self._watch = asyncio.create_task(self._await_ending(self._qemu, self._guest))
            await self._guest.ready(timeout)
            self.times = BootTimes(begun, running, time.monotonic())
        except TimeoutError:
            await self.stop()
            raise self._boot_error(f"the guest was not ready within {timeout:g} s") from None
        except GuestDied as error:
            await self.stop()
            raise self._boot_error(f"the guest did not boot: {error.message}") from None
        except BaseException:
            await self.stop()
            raise

    async def _await_ending(self, qemu: Qemu, guest: Guest) -> None:
        ending = await qemu.wait()
        guest.fail(GuestDied(ending.text, detail=self._console.tail() if self._console else ""))

    def _boot_error(self, message: str) -> BootError:
        tail = self._console.tail() if self._console else ""
        hint = "" if tail else "its console stayed silent; is this a kernel with virtio built in?"
        return BootError(message, hint=hint, detail=tail)

    async def stop(self) -> None:
        """End the machine, whatever state it is in; idempotent.

        When this returns, QEMU is gone and nothing of it is left on the host.
        """
        guest, self._guest = self._guest, None
        qemu, self._qemu = self._qemu, None
        watch, self._watch = self._watch, None
        try:
            if guest is not None and qemu is not None:
                await self._shut_down(guest, qemu)
        finally:
            if guest is not None:
                guest.fail(GuestDied("the machine was stopped"))
            try:
                if qemu is not None:
                    await qemu.stop()
            finally:
                if watch is not None:
                    watch.cancel()
                if self._console is not None:
                    self._console.close()

    async def _shut_down(self, guest: Guest, qemu: Qemu) -> None:
        """Ask the guest to end, if it is in a state to hear it."""
        if not guest.can_shut_down:
            return
        guest.shut_down()
        with suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_TIMEOUT):
                await qemu.wait()

    async def exec(self, argv: Sequence[Text], **options: Unpack[ExecOptions]) -> Process:
        """Start a command; its output is read from the process that this returns.

        Use it as `async with await vm.exec(...) as process`, which leaves nothing running.

        :param argv: its arguments, the first is the name that it sees.
        :param options: see :class:`microvm.options.ExecOptions`.
        :raise Busy: another command runs on this machine.
        :raise UsageError: an empty command line, a NUL byte, or more than the protocol carries.
        :raise MachineError: the machine is dead.
        """
        return self._live().exec(argv, **options)

    async def run(self, argv: Sequence[Text], **options: Unpack[RunOptions]) -> CompletedProcess:
        """Run a command to its end and return its status and output.

        :param argv: its arguments, the first is the name that it sees.
        :param options: see :class:`microvm.options.RunOptions`.
        :raise StartError: it could not be started.
        :raise ExecTimeout: it ran past its deadline; the error holds its output.
        :raise OutputLimit: it wrote more than it may; the error holds what came.
        :raise Busy: another command runs on this machine.
        :raise MachineError: the machine is dead.
        """
        return await self._live().run(argv, **options)

    async def ping(self, timeout: float = PING_TIMEOUT) -> None:
        """Ask the guest whether it is alive.

        :raise GuestUnresponsive: there was no answer within `timeout` seconds.
        """
        await self._live().ping(timeout)

    async def status(self, timeout: float = PING_TIMEOUT) -> codec.Status:
        """Return the daemon's counters.

        :raise GuestUnresponsive: there was no answer within `timeout` seconds.
        """
        return await self._live().status(timeout)

    def _live(self) -> Guest:
        if self._guest is None:
            raise UsageError("the machine is not running")
        return self._guest


def _cache_folder() -> Path:
    from microvm_image import cache

    return cache.root()
