"""A running machine: its QEMU, its guest, its console, and the task that waits until QEMU exits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from microvm.concurrency.tasks import check_loop
from microvm.errors import LOOK_AT_CONSOLE, BootError, GuestDied
from microvm.guest.guest import Guest
from microvm.guest.timeouts import TIMEOUTS, Timeouts
from microvm.options import ExecOptions
from microvm.qemu.console import Console
from microvm.qemu.launch import Launched
from microvm.qemu.process import Qemu
from microvm.system.patience import patience

_HINT_SILENT = "its console printed nothing; is the file a kernel? Has the guest too many CPUs?"
_HINT_NO_PORT = (
    "does the kernel contain virtio-pci (or virtio-mmio) and virtio-console, built in or as "
    "modules in lib/modules?"
)


@dataclass(frozen=True, slots=True)
class StartTimes:
    """The times at which the steps of a start ended, in seconds of `time.monotonic()`.

    :ivar begun: Time just before QEMU was started.
    :ivar running: Time at which the guest executed its first instruction.
    :ivar ready: Time at which the guest's daemon answered.
    """

    begun: float
    running: float
    ready: float


class RunningVM:
    """A running machine whose guest is ready. `start` creates the machine, and `end` stops it.

    :ivar times: Times of the steps of the start; not set before the guest is ready.
    """

    def __init__(self, qemu: Qemu, guest: Guest, console: Console) -> None:
        self.qemu = qemu
        self.guest = guest
        self.times: StartTimes
        self.console = console
        self._loop = asyncio.get_running_loop()
        self._watch = asyncio.create_task(self._watch_exit())

    @classmethod
    async def start(
        cls,
        launched: Launched,
        console_log: Path | None,
        timeout: float,
        defaults: ExecOptions | None = None,
        *,
        resume: bool = True,
    ) -> Self:
        """Boot or restore a guest in the QEMU `launched`; return the machine when it is ready.

        :param launched: QEMU process; the new machine owns it from now on.
        :param console_log: File for the guest's console output, or None.
        :param timeout: Maximum number of seconds until the guest is ready, on hosts that are not
            very slow; see `patience`.
        :param resume: See `Guest.ready`.
        :raises TemplateError: If QEMU reports that it cannot restore or save a guest.
        :raises BootError: If the guest did not become ready; `detail` is the last output of its
            console.
        :raises ProtocolError: If the guest uses another protocol.
        """
        try:
            factor = patience()
            console = Console(console_log)
        except BaseException:
            launched.kill()
            raise
        async with AsyncExitStack() as owned:
            owned.callback(console.close)
            qemu = await Qemu.start(launched, console=console)
            owned.push_async_callback(qemu.stop)
            running = time.monotonic()
            timeout *= factor
            guest = Guest(
                defaults=defaults,
                console_tail=console.tail,
                timeouts=Timeouts(*(factor * seconds for seconds in TIMEOUTS)),
            )
            await guest.connect(qemu.take_port())
            vm = cls(qemu, guest, console)
            owned.push_async_callback(vm.end)
            try:
                async with qemu.starting():
                    await guest.ready(timeout, resume=resume)
            except TimeoutError:
                message = f"the guest was not ready within {timeout:g} s"
                hint = LOOK_AT_CONSOLE if console.tail() else _HINT_SILENT
                raise _failure(message, console, hint) from None
            except GuestDied as error:
                failure = _failure(f"the guest did not boot: {error.message}", console, error.hint)
                failure.qemu_exit = error.qemu_exit
                raise failure from None
            vm.times = StartTimes(launched.started_at, running, time.monotonic())
            owned.pop_all()
            return vm

    async def _watch_exit(self) -> None:
        qemu_exit = await self.qemu.wait()
        reason = GuestDied(qemu_exit.text, hint=qemu_exit.hint, detail=self.console.tail())
        reason.qemu_exit = qemu_exit
        self.guest.fail(reason)

    def check_loop(self) -> None:
        """Raise an error unless the running event loop is the one that started the machine."""
        check_loop("machine", self._loop)

    def listen(self, listener: Callable[[bytes], object]) -> None:
        """Call `listener` with the recent output of the guest's console, then with new output."""
        listener(self.console.end())
        self.console.listener = listener

    async def check(self) -> None:
        """Raise the guest's error if the guest is lost, also if QEMU has exited just now."""
        if self.qemu.ended:
            await asyncio.wait([self._watch])
        if self.guest.error is not None:
            raise self.guest.error

    async def end(self) -> None:
        """Kill QEMU in any state, and release all resources of the machine on the host; idempotent.

        The guest is not shut down, because none of its data is kept, and that takes long.
        """
        self.guest.fail(GuestDied("the machine was stopped"))
        try:
            await self.qemu.stop()
        finally:
            self._watch.cancel()
            self.console.close()


def _failure(message: str, console: Console, hint: str) -> BootError:
    tail = console.tail()
    return BootError(
        message, hint=_HINT_NO_PORT if "no port to the host" in tail else hint, detail=tail
    )
