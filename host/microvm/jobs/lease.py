"""The machines and the interpreters of a pool, each of which one user takes and releases."""

from __future__ import annotations

import asyncio
from asyncio import create_task
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from microvm.concurrency.tasks import cancel
from microvm.errors import MachineError
from microvm.start.warmup import warm_up

if TYPE_CHECKING:
    from microvm.interpreter.interpreter import Interpreter
    from microvm.machine.base import Machine
    from microvm.machine.machine import MicroVM


PING_INTERVAL = 30.0
"""Time between two pings of a machine without a user, in seconds. A guest that hangs is found only
by a ping, and pings of many machines need CPU time. A QEMU that exits is noticed at once."""


class Lease:
    """A machine of a pool, with events for the times at which a user takes it and releases it.

    :ivar taken: Event that is set when the machine gets its user.
    :ivar released: Event that is set when the user needs the machine no longer.
    """

    def __init__(self) -> None:
        self.taken = asyncio.Event()
        self.released = asyncio.Event()

    async def start(self, is_wanted: Callable[[], bool]) -> None:
        """Start the machine, and use it once, so that its user's first call is faster.

        :param is_wanted: Function that returns True if a user waits for the machine.
        """
        raise NotImplementedError

    async def ping(self) -> None:
        """Check that the guest of the started machine answers; see `MicroVM.ping`."""
        raise NotImplementedError

    async def wait_lost(self) -> object:
        """Wait until the started machine fails; see `MicroVM.wait_lost`."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Stop the machine, in any state."""
        raise NotImplementedError

    async def wait_until_taken(self) -> bool:
        """Wait until the machine has a user. Return False if the machine fails first."""
        taken, lost = create_task(self.taken.wait()), create_task(self.wait_lost())
        watches = {taken, lost}
        try:
            while not any(each.done() for each in watches):
                await asyncio.wait(watches, timeout=PING_INTERVAL, return_when="FIRST_COMPLETED")
                if not self.taken.is_set():
                    await self.ping()
        except MachineError:
            pass  # the machine may have been taken during the ping
        finally:
            await cancel(watches)
        return self.taken.is_set()


class MachineLease(Lease):
    """A machine of a pool.

    :ivar vm: The machine.
    """

    vm: Machine

    async def ping(self) -> None:
        """Check that the guest answers."""
        await self.vm.ping()

    async def stop(self) -> None:
        """Stop the machine."""
        await self.vm.stop()


class NewMachineLease(MachineLease):
    """A `MicroVM` of a pool, which has not been started."""

    vm: MicroVM

    def __init__(self, vm: MicroVM) -> None:
        super().__init__()
        self.vm = vm

    async def start(self, is_wanted: Callable[[], bool]) -> None:
        """Start the machine, and run commands in it, as few as possible if a user waits."""
        await self.vm.start()
        await warm_up(self.vm.run, is_wanted)

    async def wait_lost(self) -> MachineError:
        """Wait until the machine fails."""
        return await self.vm.wait_lost()


class InterpreterLease(Lease):
    """The lease of an `Interpreter` of a pool. The interpreter has not been started yet."""

    def __init__(self, python: Interpreter) -> None:
        super().__init__()
        self.python = python

    async def start(self, is_wanted: Callable[[], bool]) -> None:
        """Start the interpreter, and run an empty cell."""
        await self.python.start()
        await self.python.run("pass")

    async def ping(self) -> None:
        """Check that the guest of the interpreter's machine answers."""
        await self.python.vm.ping()

    async def wait_lost(self) -> MachineError:
        """Wait until the interpreter's machine fails."""
        return await cast("MicroVM", self.python.vm).wait_lost()

    async def stop(self) -> None:
        """Stop the interpreter and its machine."""
        await self.python.close()
