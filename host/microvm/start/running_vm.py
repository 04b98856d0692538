"""A running machine: a QEMU, the guest in it, its console, and the watch over them."""

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
from microvm.options import ExecOptions
from microvm.qemu.console import Console
from microvm.qemu.launch import Launched
from microvm.qemu.process import Qemu

_HINT_SILENT = "its console stayed silent; is this a kernel, has it far more CPUs than this host?"
_HINT_NO_PORT = (
    "has this kernel virtio-pci (or -mmio) and virtio-console, built in or as modules beside it "
    "in lib/modules?"
)


@dataclass(frozen=True, slots=True)
class StartTimes:
    """Moments of a start, of `time.monotonic()`, in seconds.

    :ivar begun: just before QEMU was spawned.
    :ivar running: the guest's first instruction, or its first one after it was restored.
    :ivar ready: the answer of the guest's daemon.
    """

    begun: float
    running: float
    ready: float


class RunningVM:
    """A running machine: a QEMU with a guest that is ready.

    `start` makes one, and `end` leaves nothing of it.

    :ivar times: the moments of its start; not set before it is ready.
    :ivar console: the guest's console.
    """

    def __init__(self, qemu: Qemu, guest: Guest, console: Console) -> None:
        """Put the parts together; :meth:`start` makes a machine that is ready."""
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
        """Have a QEMU boot a guest, or restore one, and wait until it is ready.

        :param launched: the QEMU, which the machine owns from now on.
        :param console_log: see `MicroVM`.
        :param timeout: how long the guest may take, in seconds.
        :param defaults: see `Guest`.
        :param resume: see `Guest.ready`.
        :raises UsageError: the console's file cannot be opened.
        :raises QemuError: QEMU is missing, or does not start.
        :raises TemplateError: it says that it cannot restore a guest, or will not save one.
        :raises BootError: the guest did not become ready; its `detail` has the console's end.
        :raises ProtocolError: what answered is not our guest.
        """
        try:
            console = Console(console_log)
        except BaseException:
            launched.kill()
            raise
        async with AsyncExitStack() as owned:
            owned.callback(console.close)
            qemu = await Qemu.take_over(launched, console=console)
            owned.push_async_callback(qemu.stop)
            running = time.monotonic()
            guest = Guest(defaults=defaults, console_tail=console.tail)
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
        """See that the running loop is the machine's.

        :raises UsageError: it is not.
        """
        check_loop("machine", self._loop)

    def listen(self, listener: Callable[[bytes], object]) -> None:
        """Call a function with the end of what the guest's console has, and with what comes."""
        listener(self.console.end())
        self.console.listener = listener

    async def check(self) -> None:
        """Raise why the guest is lost, if it is, be it that QEMU has only just ended.

        :raises MachineError: it is lost.
        """
        if self.qemu.ended:
            await asyncio.wait([self._watch])
        if self.guest.error is not None:
            raise self.guest.error

    async def end(self) -> None:
        """End the machine, whatever state it is in; idempotent.

        The guest is not asked: nothing of it is kept, and its own end takes an emulated CPU longer
        than many a command. When this returns, QEMU is gone and nothing of it is left on the host.
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
