"""The queue of requests that wait for a guest, which runs a limited number of commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from microvm.constants import MAX_COMMANDS
from microvm.errors import Busy
from microvm.supervisor import clock

_MOST_SHOWN = 3  # maximum number of uses that an error lists

# Maximum number of seconds that a new client of a port waits while an operation, such as a
# checkpoint, waits until no client is connected. Without this pause, clients with short connections
# would prevent the operation forever, because there is always one of them. Without the limit, one
# long connection would keep out all new clients.
_NEW_CLIENT_PAUSE = 2.0


@dataclass(eq=False, slots=True)
class Use:
    """One use of a guest: a command, all connections, or an operation such as a checkpoint.

    :ivar purpose: text that shows users why the guest is busy: the command line or the name of the
        operation, safe to print.
    :ivar alone: True for an operation that runs only while nothing else uses the guest.
    :ivar number: id of the detached command; None for any other use.
    """

    purpose: str
    alone: bool = False
    number: int | None = None

    def __str__(self) -> str:
        return self.purpose if self.number is None else f"{self.number}: {self.purpose}"


class CommandQueue:
    """The current uses of a guest, and the requests that wait, in the order of their arrival.

    A command occupies one slot of the guest. An operation with `alone` waits until nothing else
    uses the guest. All later requests wait until this operation has finished.

    :ivar slots: maximum number of commands that run at the same time.
    :ivar is_changeable: True if users can change the number of slots.
    :ivar uses: the current uses of the guest, in the order of their start.
    """

    def __init__(self, name: str, slots: int = 1) -> None:
        self.name = name
        self.slots = slots
        self.is_changeable = True
        self.uses: list[Use] = []
        self._waiting: dict[Use, asyncio.Future[None]] = {}
        self._connections = Use("connections to its ports")
        self._connected = 0
        self._disconnected = asyncio.Event()  # set while no client of a port is connected
        self._disconnected.set()
        self._shared = asyncio.Event()  # set while no operation is alone with the guest
        self._shared.set()
        self._busy = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def length(self) -> int:
        """Number of requests that wait for the guest."""
        return len(self._waiting)

    @property
    def runs(self) -> list[str]:
        """Lines that show the current uses of the guest to users, in the order of their start."""
        return [str(each) for each in self.uses]

    @asynccontextmanager
    async def turn(self, purpose: str, *, wait: bool, alone: bool = False) -> AsyncIterator[Use]:
        """Context manager: wait until the guest is free, and use it during the block.

        :param purpose: command line, or name of the operation, to show to users.
        :param wait: False raises Busy if the guest is busy, instead of waiting.
        """
        use = Use(purpose, alone)
        if self._has_room(use) and not self._waiting:
            self._begin(use)
        elif wait:
            await self._wait(use)
        else:
            raise self._busy_error(use)
        try:
            yield use
        finally:
            self._remove(use)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Context manager: count the guest as used while a port's client is connected.

        The connection occupies no slot. If an operation with `alone` runs, wait until it has
        finished, because the command that serves the connection would disturb this operation. If
        such an operation waits only for connections, wait a short time for their end.
        """
        connections_only = self.uses == [self._connections]
        if connections_only and any(each.alone for each in self._waiting):
            with suppress(TimeoutError):
                async with asyncio.timeout(_NEW_CLIENT_PAUSE):
                    await self._disconnected.wait()
        while self._is_taken_whole:
            await self._shared.wait()
        self._connected += 1
        if self._connected == 1:
            self._disconnected.clear()
            self._begin(self._connections)
        try:
            yield
        finally:
            self._connected -= 1
            if not self._connected:
                self._disconnected.set()
                self._remove(self._connections)

    def _has_room(self, use: Use) -> bool:
        if use.alone:
            return not self.uses
        taken = len(self.uses) - (self._connected > 0)
        return taken < self.slots and not self._is_taken_whole

    @property
    def _is_taken_whole(self) -> bool:
        return any(each.alone for each in self.uses)

    def _begin(self, use: Use) -> None:
        self.uses.append(use)
        if use.alone:
            self._shared.clear()
        self._idle.clear()
        self._busy.set()

    async def _wait(self, use: Use) -> None:
        turn = self._waiting[use] = asyncio.get_running_loop().create_future()
        try:
            await turn
        except asyncio.CancelledError:
            # The cancelled request either still waits, or has just got its turn. Remove it in both
            # cases, so that another request can get its turn.
            self._waiting.pop(use, None)
            self._remove(use)
            raise

    def _remove(self, use: Use) -> None:
        """Remove `use` from the current uses of the guest, if it is one of them.

        Then give the free slots to waiting requests, in the order of their arrival.
        """
        if use in self.uses:
            self.uses.remove(use)
        if not self._is_taken_whole:
            self._shared.set()
        self._admit()
        if not self.uses:
            self._busy.clear()
            self._idle.set()

    def permit(self, slots: int) -> None:
        """Change the maximum number of commands, and start requests that have room now."""
        self.slots = slots
        self._admit()

    def _admit(self) -> None:
        """Give the free slots to waiting requests, in the order of their arrival."""
        for waiting, turn in list(self._waiting.items()):
            if turn.cancelled():
                continue  # its task was cancelled, and removes the request itself
            if not self._has_room(waiting):
                break
            del self._waiting[waiting]
            # Mark the slot as used now. The task of the waiting request continues only later, and
            # another request must not get the slot before.
            self._begin(waiting)
            turn.set_result(None)

    def _busy_error(self, use: Use) -> Busy:
        """Return the error for a request that does not wait.

        The error lists the current uses. Its hint says what the user can do.
        """
        shown = self.runs[:_MOST_SHOWN]
        if more := len(self.uses) - len(shown):
            shown.append(f"{more} more")
        if self._has_room(use):  # a slot is free, but a request already waits for it
            shown.append(f"{self.length} waiting")
        hint = f"{self._advice()}--wait, or wait=True, waits for its turn"
        if (
            not (use.alone or self._is_taken_whole or self._has_room(use))
            and self.slots < MAX_COMMANDS
        ):
            update = f"`microvm update {self.name} --commands N`"
            hint += f"; {update} permits more than {self.slots} at once" * self.is_changeable
        return Busy(f"machine {self.name} is busy: {'; '.join(shown)}", hint=hint)

    def _advice(self) -> str:
        """Return advice on how to see and kill detached commands; empty if none runs."""
        detached = [str(each.number) for each in self.uses if each.number is not None]
        if not detached:
            return ""
        number = detached[0] if len(self.uses) == 1 else "ID"
        return (
            f"`microvm logs {self.name} {number}` shows the output of a detached command, "
            f"`microvm kill {self.name} {number}` ends it; "
        )

    async def wait_unused(self, timeout: float) -> None:
        """Wait until the guest has been idle for `timeout` seconds in a row."""
        while await self._is_used_within(timeout):
            pass

    async def _is_used_within(self, timeout: float) -> bool:
        await self._idle.wait()
        end = clock.now() + timeout
        while (left := end - clock.now()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, clock.MAX_SLEEP)):
                    return await self._busy.wait()
        return False
