"""The machines and the interpreters of a pool, each of which one user takes and releases."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from microvm.errors import MachineError
from microvm.guest.timeouts import TIMEOUTS
from microvm.start.warmup import warm_up

if TYPE_CHECKING:
    from microvm.interpreter.interpreter import Interpreter
    from microvm.machine.base import Machine
    from microvm.machine.machine import MicroVM


class Lease:
    """A machine of a pool, with events for the times at which a user takes it and releases it.

    :ivar taken: Event that is set when the machine gets its user.
    :ivar released: Event that is set when the user needs the machine no longer.
    """

    def __init__(self) -> None:
        self.taken = asyncio.Event()
        self.released = asyncio.Event()

    async def start(self) -> None:
        """Start the machine, and use it once, so that its user's first call is faster."""
        raise NotImplementedError

    async def ping(self) -> None:
        """Check that the guest of the started machine answers; see `MicroVM.ping`."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Stop the machine, in any state."""
        raise NotImplementedError

    async def wait_until_taken(self) -> bool:
        """Wait until the machine has a user. Return False if the machine fails first."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TIMEOUTS.ping_interval):
                    await self.taken.wait()
                    return True
            try:
                await self.ping()
            except MachineError:
                if not self.taken.is_set():
                    return False


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

    async def start(self) -> None:
        """Start the machine, and run a few commands."""
        await self.vm.start()
        await warm_up(self.vm.run)


class InterpreterLease(Lease):
    """An `Interpreter` of a pool, which has not been started."""

    def __init__(self, python: Interpreter) -> None:
        super().__init__()
        self.python = python

    async def start(self) -> None:
        """Start the interpreter, and run an empty cell."""
        await self.python.start()
        await self.python.run("pass")

    async def ping(self) -> None:
        """Check that the guest of the interpreter's machine answers."""
        await self.python.vm.ping()

    async def stop(self) -> None:
        """Stop the interpreter and its machine."""
        await self.python.close()
