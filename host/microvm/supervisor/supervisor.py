"""The supervisor of a named machine: it owns the machine, and handles the requests of clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from microvm import __version__
from microvm.constants import MAX_COMMANDS
from microvm.errors import MachineError, UsageError
from microvm.supervisor import clock, wire
from microvm.supervisor.handlers import HANDLERS, LASTING
from microvm.supervisor.machine_directory import FACTS, MachineDirectory
from microvm.supervisor.runtime_directory import RuntimeDirectory
from microvm.supervisor.server import Answer, ClientRequest, Server
from microvm.supervisor.supervised import SupervisedMachine
from microvm.system.patience import patient
from microvm.units import format_duration, parse_count

# Seconds between two pings to an idle guest, and maximum number of seconds for its answer. Only a
# missing answer shows that an idle guest has halted.
_PING_INTERVAL = 30.0
_PING_TIMEOUT = 60.0


class Supervisor(Server):
    """The supervisor of one named machine: it starts the machine, and handles requests of clients.

    :ivar owned: The machine, with its clients' uses of it.
    """

    def __init__(self, runtime: RuntimeDirectory, directory: MachineDirectory) -> None:
        """Create the supervisor of a machine whose `directory` this process has locked."""
        super().__init__(runtime, directory)
        self.owned = SupervisedMachine(directory.name, self.ending)

    def answer(self, fields: dict[str, Any]) -> tuple[Answer, bool]:
        """Return the handler of a request, and True if its duration has no limit."""
        name = self._name(fields)
        if name == "update" and "lease" not in fields:
            return self._update, False
        handler = HANDLERS.get(name)
        # A client of a pool that has ended must not use a machine that has the pool's name now.
        if handler is None or "lease" in fields:
            raise UsageError(f"a machine has no call {name!r}")
        return partial(handler, self.owned), name in LASTING

    async def _update(self, request: ClientRequest) -> dict[str, Any]:
        """Change the maximum number of commands, and reply with the new maximum.

        Also write it to `machine.json`, which later clients of the machine read.
        """
        wanted = request.fields.get("commands", 0)
        self.owned.permit(parse_count(wanted, least=1, most=MAX_COMMANDS))
        facts = {"max_commands": self.owned.queue.slots}
        self.owned.facts |= facts
        self.directory.write(FACTS, self.owned.facts)
        return facts

    async def stop(self) -> None:
        """Stop the machine."""
        await self.owned.stop()

    async def supervise(
        self, start: Callable[[], Coroutine[Any, Any, None]], order: dict[str, Any]
    ) -> None:
        """Start the machine, and handle requests until it ends. `order` may limit its age.

        :param start: starts the machine, and sends the reply to the starter.
        :param order: the starter's description of the machine, with its maximum age and idle time.
        """

        async def start_alone() -> None:
            async with self.owned.queue.turn("its start", wait=False, alone=True):
                await start()

        await self.serve(start_alone, lambda: self._watches(order))

    def _watches(self, order: dict[str, Any]) -> list[Coroutine[Any, Any, None]]:
        watches = [self._watch_machine(), self._watch_silence()]
        if idle := order.get("idle_timeout"):
            watches.append(self._watch_idle(idle))
        if age := order.get("max_age"):
            watches.append(self._watch_age(age))
        return watches

    async def _watch_machine(self) -> None:
        self.ending.want((await self.owned.machine.wait_lost()).message)

    async def _watch_idle(self, timeout: float) -> None:
        await self.owned.queue.wait_unused(timeout)
        self.ending.want(f"nobody used it for {format_duration(timeout)}", asked=True)

    async def _watch_age(self, age: float) -> None:
        await clock.sleep(age)
        text = f"it has reached its maximum age of {format_duration(age)}"
        self.ending.want(text, asked=True)

    async def _watch_silence(self) -> None:
        while True:
            await asyncio.sleep(_PING_INTERVAL)
            if not self.owned.queue.uses:
                # Ignore the error if the guest does not answer: `_watch_machine` ends the machine.
                with suppress(MachineError):
                    await self.owned.machine.ping(patient(_PING_TIMEOUT))

    def describe(self, order: dict[str, Any]) -> None:
        """Write `machine.json`, which describes the started machine and options in its `order`."""
        machine = self.owned.machine
        self.owned.facts |= {
            "image": machine.image.name,
            "snapshot": order.get("snapshot"),
            "memory": machine.memory,
            "cpus": machine.cpus,
            "disk": machine.disk,
            "max_commands": self.owned.queue.slots,
            "accel": machine.accel,
            "confinement": machine.confinement,
            "cloned": machine.cloned,
            "started": time.time(),
            "qemu": machine.pid,
            "idle_timeout": order.get("idle_timeout"),
            "max_age": order.get("max_age"),
            "defaults": machine.image.manifest.config.options,
            "wire": wire.WIRE,
            "version": __version__,
        }
        self.record(self.owned.facts)
