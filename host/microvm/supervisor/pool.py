"""The supervisor of a named pool: it keeps machines ready, and lends each to one client."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from microvm import __version__
from microvm.errors import Busy, GuestDied, UsageError
from microvm.guest.stdio import until_ready
from microvm.jobs.lease import Lease, NewMachineLease
from microvm.jobs.stock import Stock
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.option import parse_options
from microvm.options import PoolOptions
from microvm.supervisor import clock, wire
from microvm.supervisor.ending import Ending
from microvm.supervisor.handlers import HANDLERS, LASTING, usage
from microvm.supervisor.machine_directory import MachineDirectory
from microvm.supervisor.runtime_directory import RuntimeDirectory
from microvm.supervisor.server import Answer, ClientRequest, Server
from microvm.supervisor.supervised import SupervisedMachine
from microvm.system import platform

_CHECK_INTERVAL = 1.0  # seconds between two checks of whether the pool, or a machine, is idle
_IDLE_CPU = 0.5  # maximum number of CPUs that an idle command uses


class PoolSupervisor(Server):
    """The supervisor of a named pool: it starts the machines, and lends each to one client.

    :ivar facts: The content of `machine.json`: the pool's limits and the options of its machines.
    """

    noun = "pool"

    def __init__(self, runtime: RuntimeDirectory, directory: MachineDirectory) -> None:
        """Create the supervisor of a pool whose `directory` this process has locked."""
        super().__init__(runtime, directory)
        self.facts: dict[str, Any] = {"name": directory.name, "supervisor": os.getpid()}
        self._stock: Stock
        self._least = 0
        # The machines that clients use with several requests, by the numbers in these requests.
        self._lent: dict[int, SupervisedMachine] = {}
        self._numbers = itertools.count(1)
        # The machines in use that compute, each with the CPU seconds of its QEMU at the last check.
        # A machine is assumed to compute until the first check.
        self._cpu_times: dict[Lease, float] = {}
        self._computing: set[Lease] = set()
        self._served = 0
        self._missed = 0
        self._last_use = clock.now()

    def answer(self, fields: dict[str, Any]) -> tuple[Answer, bool]:
        """Return the function that handles a request, and True if it can last for any time."""
        name, number = fields.get("call"), fields.get("lease")
        if number is not None:
            owned = self._lent.get(number)
            if owned is None or name not in HANDLERS or name == "stop":
                raise GuestDied(f"pool {self.directory.name} does not lend machine {number!r}")
            return partial(HANDLERS[name], owned), name in LASTING
        own: dict[object, Answer] = {
            "lease": self._lease,
            "facts": self._facts,
            "stop": self._stop,
            "wait": self._wait,
        }
        if name not in own:
            raise UsageError(
                f"{self.directory.name} is a pool, and not a machine",
                hint=f"`microvm run --pool {self.directory.name} -- CMD` runs a command in it",
            )
        return own[name], name in ("lease", "wait")

    async def stop(self) -> None:
        """Stop all machines of the pool."""
        if hasattr(self, "_stock"):
            await self._stock.close()

    async def start(self, order: dict[str, Any], notify: Callable[[str], None]) -> dict[str, Any]:
        """Begin to start the pool's machines. When one is ready, return the pool's description.

        :param order: The starter's description of the pool. The machines have its `options`, and
            its `image` or `snapshot`. Its field `pool` has the `size` of the pool, the maximum
            number `most` of machines, the `idle_timeout`, and the process `session`.
        :param notify: Function that is called with notices for the user.
        """
        limits, snapshot = order["pool"], order.get("snapshot")
        origin = order.get("image") if snapshot is None else Snapshot.find(snapshot)
        options = parse_options(PoolOptions, {**order["options"], "notify": notify}, "pool start")

        def factory() -> NewMachineLease:
            return NewMachineLease(MicroVM._from_options(origin, options))

        if limits.get("max_memory"):
            fit = limits["max_memory"] // MicroVM._from_options(origin, options).memory
            if not fit:
                raise UsageError("--max-memory permits not even one machine")
            limits["most"] = min(limits["most"], fit)
        self._least = limits["size"] = min(limits["size"], limits["most"])
        # Start one machine first, because it saves the template that the others need.
        self._stock = Stock(factory, limits["most"], notify, spare=1)
        self._stock.open()
        self._describe(_machine(await self._stock.wait_ready()), order)
        self._stock.keep(self._least)
        return self.facts

    async def supervise(
        self, start: Callable[[], Coroutine[Any, Any, None]], order: dict[str, Any]
    ) -> None:
        """Start the pool, and handle requests until it ends.

        :param start: Calls `start`, and sends its result to the starter.
        """
        await self.serve(start, lambda: self._watches(order["pool"]))

    def _watches(self, limits: dict[str, Any]) -> list[Coroutine[Any, Any, None]]:
        found = [self._watch_load()]
        if idle := limits["idle_timeout"]:
            found.append(self._watch_idle(idle))
        if session := limits["session"]:
            found.append(self._watch_session(session))
        return found

    def _describe(self, machine: MicroVM, order: dict[str, Any]) -> None:
        """Write `machine.json`, which describes the pool and the options of its machines."""
        limits = order["pool"]
        self.facts |= {
            "pool": {
                "size": limits["size"],
                "most": limits["most"],
                "options": order["options"],
            },
            "image": machine.image.name,
            "folder": str(machine.image.path.absolute()),
            "snapshot": order.get("snapshot"),
            "memory": machine.memory,
            "cpus": machine.cpus,
            "disk": machine.disk,
            "arch": machine.image.manifest.arch,
            "accel": machine.accel,
            "confinement": machine.confinement,
            "started": time.time(),
            "idle_timeout": limits["idle_timeout"],
            "defaults": machine.image.manifest.config.options,
            "wire": wire.WIRE,
            "version": __version__,
        }
        self.record(self.facts)

    @asynccontextmanager
    async def _taken(self) -> AsyncIterator[SupervisedMachine]:
        """Context manager that lends a ready machine to a client, and deletes it after the block.

        :raises Busy: No machine is ready. The pool then keeps one machine more ready, up to its
            maximum.
        """
        self._last_use = clock.now()
        if (lease := await self._stock.take()) is None:
            self._missed += 1
            # A pool that was idle starts its machines again. A busy pool grows.
            spare = self._stock.spare or 0
            grown = min(spare + 1, self._stock.size) if spare >= self._least else self._least
            self._stock.keep(grown)
            raise Busy(f"pool {self.directory.name} has no machine ready")
        try:
            self._served += 1
            self._cpu_times[lease] = _cpu_time(lease)
            self._computing.add(lease)
            self._limit()
            owned = SupervisedMachine(self.directory.name, Ending(), copier="--copy", opener="-R")
            owned.machine = _machine(lease)
            yield owned
        finally:
            self._last_use = clock.now()
            lease.released.set()
            self._cpu_times.pop(lease, None)
            self._computing.discard(lease)
            self._limit()

    def _limit(self) -> None:
        """Let the pool start machines only on CPUs that the commands in its machines do not use."""
        self._stock.busy = len(self._computing)
        self._stock.fill()

    async def _watch_load(self) -> None:
        """Find out repeatedly which machines in use compute, and which wait, such as for input."""
        while True:
            await asyncio.sleep(_CHECK_INTERVAL)
            self._computing = {each for each in self._cpu_times if self._computes(each)}
            self._limit()

    def _computes(self, lease: Lease) -> bool:
        before = self._cpu_times[lease]
        now = self._cpu_times[lease] = _cpu_time(lease)
        return now - before > _IDLE_CPU * _CHECK_INTERVAL

    async def _lease(self, request: ClientRequest) -> dict[str, Any]:
        """Lend a machine to a client for several requests, until the client disconnects."""
        async with self._taken() as owned:
            number = next(self._numbers)
            self._lent[number] = owned
            try:
                leased = {
                    "lease": number,
                    "qemu": owned.machine.pid,
                    "entrypoint": [*owned.machine.image.manifest.config.entrypoint],
                }
                await request.client.send({"leased": leased})
                await asyncio.get_running_loop().create_future()
            finally:
                del self._lent[number]
        return {}

    async def _stop(self, request: ClientRequest) -> dict[str, Any]:
        """End the pool, and reply with the reason after its files were removed."""
        self.ending.want("it was stopped", asked=True, traceless=True)
        return await self._wait(request)

    async def _wait(self, request: ClientRequest) -> dict[str, Any]:
        """Reply with the reason when the pool has ended."""
        termination = await self.ending.wait_gone()
        return {"reason": termination.reason, "asked": termination.asked}

    async def _facts(self, request: ClientRequest) -> dict[str, Any]:
        """Reply with the description of the pool, and its current state."""
        if "pool" not in self.facts:
            return {**self.facts, "state": "starting"}
        idle = [usage(vm.pid) for vm in map(_machine, self._stock.ready) if vm.pid]
        return {
            **self.facts,
            "state": "ending" if self.ending.wanted.done() else "running",
            "ready": len(idle),
            "used": self._stock.used,
            "served": self._served,
            "missed": self._missed,
            "memory_used": sum(each.get("memory_used", 0) for each in idle),
            "cpu_time": sum(each.get("cpu_time", 0.0) for each in idle),
        }

    async def _watch_idle(self, timeout: float) -> None:
        """Stop the ready machines whenever no client has used the pool for `timeout` seconds."""
        while True:
            await clock.sleep(min(timeout, _CHECK_INTERVAL))
            if not self._stock.used and clock.now() - self._last_use >= timeout:
                self._stock.keep(0)

    async def _watch_session(self, process: int) -> None:
        """End the pool when a process ends, which is the first one of the login session."""
        try:
            descriptor = platform.open_process(process)
        except ProcessLookupError:
            return  # it ended while the pool was starting, so nothing shows the session's end
        try:
            await until_ready(descriptor)
        finally:
            os.close(descriptor)
        self.ending.want("the login session has ended", asked=True)


def _cpu_time(lease: Lease) -> float:
    """Return the CPU seconds that the QEMU of a machine has used."""
    return float(usage(_machine(lease).pid or 0).get("cpu_time", 0.0))


def _machine(lease: Lease) -> MicroVM:
    assert isinstance(lease, NewMachineLease)  # noqa: S101 - as the stock creates them
    return lease.vm
