"""The supervisor of a named pool: it keeps machines ready, and lends each to one client."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from microvm import __version__
from microvm.errors import Busy, GuestDied, MachineError, MicroVMError, UsageError
from microvm.images import load
from microvm.jobs.lease import Lease, NewMachineLease
from microvm.jobs.stock import Stock
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.option import parse_options
from microvm.options import PoolOptions
from microvm.supervisor import clock, wire
from microvm.supervisor.ending import Ending
from microvm.supervisor.handlers import HANDLERS, usage
from microvm.supervisor.load import Load
from microvm.supervisor.login_session import LoginSession
from microvm.supervisor.machine_directory import MachineDirectory
from microvm.supervisor.runtime_directory import RuntimeDirectory
from microvm.supervisor.server import Answer, ClientRequest, Server, most_lasting
from microvm.supervisor.supervised import SupervisedMachine
from microvm.system.capacity import usable_cpus
from microvm.system.process import memory_share

_CHECK_INTERVAL = 1.0  # seconds between two measurements of the load

# Maximum number of seconds for which a client waits until it gets a machine that answers. A client
# thinks that a supervisor which sends nothing for 5 s does not answer, so this must be shorter.
_LONGEST_WAIT = 2.0

# After this number of seconds in which each client found a ready machine, a pool that has grown
# keeps one machine less ready.
_SHRINK_INTERVAL = 60.0

# Number of seconds between two attempts to start machines after a failure because of which further
# attempts seemed useless, such as a full disk.
_RETRY_INTERVAL = 10.0

# The requests of a client that has leased a machine. It stops the machine by disconnecting.
_FOR_LEASES = frozenset({"attach", "checkpoint", "command", "exec", "signal", "status", "wait"})


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
        # The machines that clients have leased, by the random text that identifies the lease.
        self._leased: dict[str, SupervisedMachine] = {}
        self._load = Load()
        self._served = 0
        self._missed = 0
        self._last_use = self._last_miss = clock.now()
        self._session: LoginSession | None = None

    def answer(self, fields: dict[str, Any]) -> tuple[Answer, bool]:
        """Return the handler of a request, and True if its duration has no limit."""
        name = self._name(fields)
        if (lease := fields.get("lease")) is not None:
            owned = self._leased.get(lease) if isinstance(lease, str) else None
            if owned is None or name not in _FOR_LEASES:
                raise GuestDied(f"the machine of pool {self.directory.name} was given back")
            # Do not limit the number of these requests, because the leases are limited.
            return partial(HANDLERS[name], owned), False
        own: dict[str, Answer] = {
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
        if self._session is not None:
            self._session.close()
        if hasattr(self, "_stock"):
            await self._stock.close()

    async def start(self, order: dict[str, Any], notify: Callable[[str], None]) -> dict[str, Any]:
        """Begin to start the pool's machines. When one is ready, return the pool's description.

        :param order: The starter's description of the pool. The machines have its `options`, and
            its `image` or `snapshot`. Its field `pool` has the `size` of the pool, the maximum
            number `max` of machines, their `max_memory`, the `idle_timeout`, and the login
            `session` as `login_session.find` describes it.
        :param notify: Function that is called with notices for the user.
        """
        limits, snapshot = order["pool"], order.get("snapshot")
        # Read the state first: if the snapshot is saved again meanwhile, the pool is outdated.
        self.facts["snapshot_state"] = snapshot and Snapshot._state_of(snapshot)
        if limits["session"]:
            self._session = LoginSession(limits["session"])
        origin = order.get("image") if snapshot is None else Snapshot.find(snapshot)
        options = parse_options(PoolOptions, {**order["options"], "notify": notify}, "pool start")

        def factory() -> NewMachineLease:
            return NewMachineLease(MicroVM._from_options(origin, options))

        most, why = most_lasting(), "the limit of open files"
        if limits["max_memory"]:
            fit = limits["max_memory"] // MicroVM._from_options(origin, options).memory
            if not fit:
                raise UsageError("--max-memory permits not even one machine")
            if fit < most:
                most, why = fit, "--max-memory"
        if most < limits["size"]:
            notify(f"machines kept ready: {most} instead of {limits['size']}, because of {why}")
        limits["max"] = min(limits["max"], most)
        self._least = limits["size"] = min(limits["size"], most)
        # Start one machine first, because it saves the template that the others need.
        self._stock = Stock(factory, limits["max"], notify, spare=1)
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
        if self._session is not None:
            found.append(self._watch_session(self._session))
        return found

    def _describe(self, machine: MicroVM, order: dict[str, Any]) -> None:
        """Write `machine.json`, which describes the pool and the options of its machines."""
        limits, name = order["pool"], order.get("snapshot")
        self.facts |= {
            "pool": {
                "size": limits["size"],
                "max": limits["max"],
                "options": order["options"],
            },
            "image": machine.image.name,
            "folder": str(machine.image.path.absolute()),
            "snapshot": name,
            "memory": machine.memory,
            "cpus": machine.cpus,
            "disk": machine.disk,
            "arch": machine.image.manifest.arch,
            "accel": machine.accel,
            "confinement": machine.confinement,
            "started": time.time(),
            "max_memory": limits["max_memory"],
            "idle_timeout": limits["idle_timeout"] or None,
            "defaults": machine.image.manifest.config.options,
            "wire": wire.WIRE,
            "version": __version__,
        }
        self.record(self.facts)

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[SupervisedMachine]:
        """Context manager that lends a machine to a client, and deletes it after the block.

        :raises Busy: The pool has no machine for the client.
        """
        lease = await self._take()
        machine = _machine(lease)
        process = machine.pid or 0
        try:
            self._served += 1
            self._load.add(process)
            self._limit()
            owned = SupervisedMachine(self.directory.name, Ending(), copier="--copy", opener="-R")
            owned.queue.is_changeable = False
            owned.machine = machine
            yield owned
        finally:
            self._last_use = clock.now()
            lease.released.set()
            self._load.remove(process)
            self._limit()

    async def _take(self) -> Lease:
        """Return a machine for a client: a ready one, or one that is starting.

        :raises Busy: The pool has no machine for the client in time.
        """
        name = self.directory.name
        if "pool" not in self.facts:
            raise Busy(f"pool {name} is only just being started")
        if why := self._outdated():
            self._stock.keep(0)
            raise Busy(f"pool {name} must be started again: {why}")
        self._last_use = clock.now()
        try:
            async with asyncio.timeout(_LONGEST_WAIT):
                lease = await self._stock.take()
                if lease is None:
                    self._grow()  # the machines that this starts are for this client, too
                    lease = await self._stock.take_starting(_LONGEST_WAIT)
        except TimeoutError:
            raise Busy(f"pool {name} has started no machine in {_LONGEST_WAIT:g} s") from None
        except Exception as error:
            raise Busy(f"pool {name} has started no machine: {_text(error)}") from error
        if lease is None and (failure := self._stock.error):
            raise Busy(f"pool {name} could not start a machine: {_text(failure)}")
        if lease is None:
            raise Busy(f"pool {name} has no machine ready")
        if why := self._outdated(lease):
            lease.released.set()
            raise Busy(f"pool {name} must be started again: {why}")
        return lease

    def _outdated(self, lease: Lease | None = None) -> str:
        """Return the reason why no command may use the machines, or `lease`; "" if there is none.

        The user has removed or replaced the image or the snapshot from which they were started.
        """
        saved, image = self.facts["snapshot"], self.facts["image"]
        try:
            if saved and Snapshot._state_of(saved) != self.facts["snapshot_state"]:
                return f"snapshot {saved} was removed or replaced"
            images = {load(self.facts["folder"]).name}
        except MicroVMError as error:
            return error.message
        except OSError:  # this process lacks a resource, such as a free descriptor
            return ""
        if lease is not None:  # it may have been started while another image was in the folder
            images.add(_machine(lease).image.name)
        return "" if images == {image} else f"image {image} was replaced"

    def _grow(self) -> None:
        """Start machines, because a client has found none ready.

        An idle pool starts its machines again. A pool in use keeps one machine more ready, unless
        it has too few because its clients use all CPUs.
        """
        self._missed += 1
        self._last_miss = clock.now()
        spare = self._stock.spare or 0
        if spare < self._least:
            spare = self._least
        elif self._stock.busy < usable_cpus():
            spare = min(spare + 1, self._stock.size)
        self._stock.keep(spare)

    def _limit(self) -> None:
        """Let the pool start machines only on CPUs that the leased machines do not use."""
        self._stock.busy = self._load.cpus
        self._stock.fill()

    async def _watch_load(self) -> None:
        """Measure the CPUs that leased machines use, and let a pool shrink that has grown.

        If the last start has failed, try again from time to time.
        """
        tried = clock.now()
        while True:
            await asyncio.sleep(_CHECK_INTERVAL)
            self._load.measure()
            self._limit()
            spare = self._stock.spare or 0
            if self._stock.error is None:
                tried = clock.now()
            elif clock.now() - tried >= _RETRY_INTERVAL:
                tried = clock.now()
                self._stock.keep(spare)
            if spare > self._least and clock.now() - self._last_miss >= _SHRINK_INTERVAL:
                self._last_miss = clock.now()
                self._stock.keep(spare - 1)

    async def _lease(self, request: ClientRequest) -> dict[str, Any]:
        """Lend a machine to a client for several requests, until the client disconnects."""
        async with self._lent() as owned:
            lease = secrets.token_hex(16)
            self._leased[lease] = owned
            try:
                leased = {
                    "lease": lease,
                    "qemu": owned.machine.pid,
                    "version": __version__,
                    "entrypoint": [*owned.machine.image.manifest.config.entrypoint],
                }
                await request.client.send({"leased": leased})
                await asyncio.get_running_loop().create_future()
            finally:
                del self._leased[lease]
        return {}

    def _explained(self, error: BaseException, fields: dict[str, Any]) -> BaseException:
        if "lease" not in fields or not isinstance(error, MachineError):
            return super()._explained(error, fields)
        return GuestDied(f"the machine of pool {self.directory.name} has failed: {error.message}")

    async def _stop(self, request: ClientRequest) -> dict[str, Any]:
        """End the pool, and reply with the reason after its files were removed."""
        self.ending.stop()
        return await self.ending.reply()

    async def _wait(self, request: ClientRequest) -> dict[str, Any]:
        """Reply with the reason when the pool has ended."""
        return await self.ending.reply()

    async def _facts(self, request: ClientRequest) -> dict[str, Any]:
        """Reply with the description of the pool, and its current state."""
        if "pool" not in self.facts:
            return {**self.facts, "state": "starting"}
        ready = [vm.pid for vm in map(_machine, self._stock.ready) if vm.pid]
        idle = [usage(process) for process in ready]
        shares = [memory_share(process) for process in ready]
        return {
            **self.facts,
            "state": "ending" if self.ending.wanted.done() else "running",
            "ready": len(ready),
            "used": self._stock.used,
            "error": self._outdated() or (str(self._stock.error) if self._stock.error else None),
            "served": self._served,
            "missed": self._missed,
            "memory_used": sum(
                each.get("memory_used", 0) if share is None else share
                for each, share in zip(idle, shares, strict=True)
            ),
            "cpu_time": sum(each.get("cpu_time", 0.0) for each in idle),
        }

    async def _watch_idle(self, timeout: float) -> None:
        """Stop the ready machines whenever no client has used the pool for `timeout` seconds."""
        while True:
            await clock.sleep(min(timeout, _CHECK_INTERVAL))
            if not self._stock.used and clock.now() - self._last_use >= timeout:
                self._stock.keep(0)

    async def _watch_session(self, session: LoginSession) -> None:
        await session.wait_ended()
        self.ending.want("the login session has ended", asked=True, traceless=True)


def _text(error: Exception) -> str:
    return error.message if isinstance(error, MicroVMError) else repr(error)


def _machine(lease: Lease) -> MicroVM:
    assert isinstance(lease, NewMachineLease)  # noqa: S101 - as the stock creates them
    return lease.vm
