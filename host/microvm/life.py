"""One life of a machine: a QEMU, the guest in it, its console, and the watch over them."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from microvm.console import Console
from microvm.errors import BootError, GuestDied
from microvm.guest import Guest
from microvm.qemu import Qemu
from microvm.qemu_command import Memory, QemuConfig

SHUTDOWN_TIMEOUT = 1.0
"""How long the guest may take to end by itself, in seconds."""

# How long a port may be at its end before QEMU's own end says why.
_LOSS_GRACE = 3.0


@dataclass(frozen=True, slots=True)
class StartTimes:
    """Moments of a start, of `time.monotonic()`, in seconds.

    :ivar begun: before QEMU was spawned.
    :ivar running: the guest's first instruction, or its first one after it was restored.
    :ivar ready: its daemon had answered.
    """

    begun: float
    running: float
    ready: float


class Life:
    """A QEMU with a guest that is ready; `begin` starts one, `end` leaves nothing of it."""

    def __init__(self, qemu: Qemu, console: Console) -> None:
        """Use `begin` to get one."""
        self.qemu = qemu
        self.guest: Guest | None = None
        self.times: StartTimes | None = None
        self._console = console
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def begin(
        cls, config: QemuConfig, console: Console, timeout: float, *, memory: Memory | None = None
    ) -> Self:
        """Boot a guest, or restore one from its memory, and wait until it is ready.

        :param console: becomes this life's own, and is closed with it.
        :param timeout: of the guest, in seconds.
        :raise QemuError: QEMU is missing, or does not start.
        :raise BootError: the guest did not become ready; its `detail` has the console's end.
        :raise ProtocolError: what answered is not our guest.
        """
        begun = time.monotonic()
        try:
            life = cls(await Qemu.start(config, console=console, memory=memory), console)
        except BaseException:
            console.close()
            raise
        running = time.monotonic()
        try:
            await life._greet(timeout)
        except TimeoutError:
            await life.end()
            raise life._failure(f"the guest was not ready within {timeout:g} s") from None
        except GuestDied as error:
            await life.end()
            raise life._failure(f"the guest did not boot: {error.message}") from None
        except BaseException:
            await life.end()
            raise
        life.times = StartTimes(begun, running, time.monotonic())
        return life

    async def _greet(self, timeout: float) -> None:
        guest = self.guest = await Guest.connect(
            self.qemu.take_port(), console_tail=self._console.tail, loss_grace=_LOSS_GRACE
        )
        self._watch = asyncio.create_task(self._await_ending(guest))
        await guest.ready(timeout)

    async def _await_ending(self, guest: Guest) -> None:
        ending = await self.qemu.wait()
        guest.fail(GuestDied(ending.text, detail=self._console.tail()))

    def _failure(self, message: str) -> BootError:
        tail = self._console.tail()
        hint = "" if tail else "its console stayed silent; is this a kernel with virtio built in?"
        return BootError(message, hint=hint, detail=tail)

    async def end(self, *, politely: bool = True) -> None:
        """End it, whatever state it is in; idempotent.

        When this returns, QEMU is gone and nothing of it is left on the host.

        :param politely: whether the guest may end itself first.
        """
        guest, self.guest = self.guest, None
        watch, self._watch = self._watch, None
        try:
            if politely and guest is not None:
                await self._shut_down(guest)
        finally:
            if guest is not None:
                guest.fail(GuestDied("the machine was stopped"))
            try:
                await self.qemu.stop()
            finally:
                if watch is not None:
                    watch.cancel()
                self._console.close()

    async def _shut_down(self, guest: Guest) -> None:
        """Ask the guest to end, if it is in a state to hear it."""
        if not guest.can_shut_down:
            return
        guest.shut_down()
        with suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_TIMEOUT):
                await self.qemu.wait()
