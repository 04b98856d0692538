"""The session of a client, with the machines and snapshots that the client has created."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from itertools import count
from typing import Self, TypeVar

import anyio

from microvm.cli.mcp.allowance import Allowances
from microvm.cli.mcp.limits import ServerLimits
from microvm.cli.mcp.machine import SavedMachine, SessionMachine
from microvm.cli.mcp.refusal import Refusal
from microvm.concurrency.tasks import wait_ended
from microvm.errors import MachineError

MAIN = "main"
"""Name of the machine that a session uses if the client names none."""

T = TypeVar("T")


class ClientSession:
    """The machines and snapshots of one client. At the end of its block, all are removed.

    A client knows its machines by names. Another session has other machines of the same names.
    """

    def __init__(self, limits: ServerLimits, allowances: Allowances) -> None:
        """Create a session without machines. All sessions of a server share its allowances."""
        self.limits = limits
        self._allowed = allowances
        self._machines: dict[str, SessionMachine] = {}
        self._snapshots: dict[str, SavedMachine] = {}
        self._numbers = count(1)
        self._main_lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with ExitStack() as deletions:
            for name in self._snapshots:
                deletions.callback(self._delete, name)
            # anyio cancels each wait in a cancelled scope, so shield the waits for the machines.
            with anyio.CancelScope(shield=True):
                await self._remove(list(self._machines))

    @asynccontextmanager
    async def using(self, name: str) -> AsyncIterator[SessionMachine]:
        """Context manager: yield the machine of a name. `main` is started if it does not run.

        If the machine fails in the block, it is removed.

        :raises Refusal: If the session has no machine of this name, or if the machine fails.
        """
        machine = await self._main() if name == MAIN else _named(self._machines, name, "machine")
        try:
            yield machine
        except MachineError as error:
            await self._remove([key for key, each in self._machines.items() if each is machine])
            raise Refusal(
                f"The machine {name} has failed and is deleted: {error}. Start another machine, "
                "and write its files again."
            ) from error

    async def _main(self) -> SessionMachine:
        async with self._main_lock:
            if MAIN not in self._machines:
                await self._start([MAIN], self.limits.images[0])
            return self._machines[MAIN]

    async def start(self, image: str | None, snapshot: str | None) -> str:
        """Start a machine from an image or a snapshot of this session, and return its name.

        :raises Refusal: If the image is not allowed, the snapshot does not exist, or too many
            machines run.
        """
        if image is not None and snapshot is not None:
            raise Refusal("Give either an image or a snapshot.")
        if image is not None and image not in self.limits.images:
            allowed = ", ".join(self.limits.images)
            raise Refusal(f"The server does not allow this image. It allows: {allowed}.")
        origin = image or self.limits.images[0]
        saved = None if snapshot is None else _named(self._snapshots, snapshot, "snapshot")
        [name] = names = self._new_names("machine", 1)
        await self._start(names, saved or origin)
        return name

    async def fork(self, name: str, copies: int) -> list[str]:
        """Start machines that continue from the current state of a machine; return their names."""
        async with self.using(name) as original:
            with self._allowed.snapshots.reserved(1):
                saved = await original.save()
        try:
            names = self._new_names("fork", copies)
            await self._start(names, saved)
        finally:
            saved.snapshot.close()
            self._allowed.snapshots.give_back()
        return names

    async def checkpoint(self, name: str) -> str:
        """Save a snapshot of a machine, and return the name of the snapshot."""
        async with self.using(name) as machine:
            with self._allowed.snapshots.reserved(1):
                saved = await machine.save()
        [new] = self._new_names("snapshot", 1)
        self._snapshots[new] = saved
        return new

    async def stop(self, name: str) -> None:
        """Stop a machine, or delete a snapshot.

        :raises Refusal: If the session has neither of this name.
        """
        if name in self._snapshots:
            self._delete(name)
        else:
            _named(self._machines, name, "machine")
            await self._remove([name])

    def _new_names(self, kind: str, number: int) -> list[str]:
        return [f"{kind}-{next(self._numbers)}" for _ in range(number)]

    async def _start(self, names: list[str], origin: str | SavedMachine) -> None:
        """Start machines. If one cannot be started, all of them are stopped."""
        with self._allowed.machines.reserved(len(names)):
            machines = [SessionMachine(origin, self.limits.machine) for _ in names]
            try:
                for machine in machines:
                    await machine.start()
            except BaseException:
                await wait_ended([asyncio.create_task(each.stop()) for each in machines])
                raise
        self._machines |= zip(names, machines, strict=True)

    async def _remove(self, names: Iterable[str]) -> None:
        machines = [self._machines.pop(name) for name in names]
        try:
            await wait_ended([asyncio.create_task(each.stop()) for each in machines])
        finally:
            self._allowed.machines.give_back(len(machines))

    def _delete(self, name: str) -> None:
        try:
            self._snapshots.pop(name).snapshot.close()
        finally:
            self._allowed.snapshots.give_back()


def _named(objects: Mapping[str, T], name: str, kind: str) -> T:
    try:
        return objects[name]
    except KeyError:
        known = f"It has: {', '.join(objects)}." if objects else f"It has no {kind}s yet."
        raise Refusal(f"This session has no {kind} of this name. {known}") from None
