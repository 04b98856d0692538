"""The public class `Pool`: machines that are started before they are needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack, cast

from microvm.errors import UsageError
from microvm.jobs.lease import InterpreterLease, NewMachineLease
from microvm.jobs.machine_pool import MachinePool
from microvm.machine.machine import MicroVM
from microvm.option import ParsedOptions, document_options, parse_options
from microvm.options import PoolOptions
from microvm.system.capacity import usable_cpus

if TYPE_CHECKING:
    from microvm.images import Image
    from microvm.interpreter.interpreter import Interpreter
    from microvm.machine.snapshot import Snapshot


class Pool(MachinePool):
    """A pool of machines that are started before they are needed.

    ::

        async with Pool(8) as pool:
            async with pool.machine() as vm:
                await vm.run(["echo", "hello"])
            async for outcome in pool.map([["echo", str(n)] for n in range(100)]):
                print(outcome.result().stdout)

    A user is a block of `machine`, or a command of `map`. Each machine has one user. It is then
    deleted, and another machine is started. A new machine runs a few commands before it gets a
    user, so that the user's first command is faster. If a user already waits, it runs only one. If
    a machine without a user fails, it is replaced.

    If a machine fails while it starts, the start is repeated after a pause, which grows with each
    failure. After 12 failures in a row, after a minute, or if another attempt would be useless, all
    waiting users get the error. From then on, until a start succeeds, machines are started only for
    waiting users.

    Leaving the block stops all machines, including those in use.
    """

    @document_options(PoolOptions)
    def __init__(
        self,
        size: int | None = None,
        image: Image | Snapshot | str | Path | None = None,
        *,
        interpreter: Interpreter | None = None,
        **options: Unpack[PoolOptions],
    ) -> None:
        """Check the options. Entering the `async with` block starts the machines.

        :param size: Maximum number of machines that exist at the same time. The default is the
            number of CPUs. At most one machine for each CPU starts at the same time.
        :param image: See `MicroVM`.
        :param interpreter: Interpreter that has not been started. The pool then starts interpreters
            like this one, and `interpreter` gives them to users. `image` and the other options,
            except `notify`, are those of the interpreter.
        :raises UsageError: If an option is invalid.
        :raises TypeError: If an option does not exist.
        """
        checked = parse_options(PoolOptions, options, "Pool", "size", "image", "interpreter")
        if interpreter is None:
            self._configure(size, image, checked)
            return
        if image is not None or checked.given - {"notify"}:
            raise UsageError("interpreter: it determines the image and the options of the pool")
        interpreter._another()  # it is never started: this checks that the interpreter has copies
        self._set_up(
            usable_cpus() if size is None else size,
            lambda: InterpreterLease(interpreter._another()),
            checked["notify"],
        )

    @classmethod
    def _from_options(
        cls, size: int | None, image: Image | Snapshot | str | Path | None, options: ParsedOptions
    ) -> Self:
        """Create a pool with options that are already checked."""
        pool = cls.__new__(cls)
        pool._configure(size, image, options)
        return pool

    def _configure(
        self, size: int | None, image: Image | Snapshot | str | Path | None, options: ParsedOptions
    ) -> None:
        MicroVM._from_options(image, options)  # it is never started: this checks the options
        self._set_up(
            usable_cpus() if size is None else size,
            lambda: NewMachineLease(MicroVM._from_options(image, options)),
            options["notify"],
        )

    @staticmethod
    def attach(name: str, *, size: int | None = None) -> MachinePool:
        """Return an object to use the machines of a named pool.

        ::

            async with Pool.attach("tools") as pool:
                async with pool.machine() as vm:
                    await vm.run(["echo", "hello"])

        `microvm pool start` starts a named pool, and any number of processes can use it. Each
        machine has one user among all of them. If the pool has no machine for this process, or has
        ended, this process starts a machine of the same kind.

        :param name: Name of the pool.
        :param size: Maximum number of machines that this object uses at the same time. The default
            is the maximum of the named pool, or the number of CPUs if that is larger.
        :raises MicroVMError: If the pool does not exist, or has ended.
        """
        from microvm.supervisor.client.attached_pool import AttachedPool

        return AttachedPool(name, size)

    @asynccontextmanager
    async def machine(self) -> AsyncIterator[MicroVM]:
        """Context manager that gives the caller a new machine, and stops it after the block.

        Callers get machines in the order of their calls. Leaving the block does not wait until the
        machine has stopped.

        :raises MicroVMError: If no machine could be started; see `MicroVM.start`.
        :raises UsageError: If the pool is closed.
        """
        async with super().machine() as vm:
            yield cast(MicroVM, vm)

    @asynccontextmanager
    async def interpreter(self) -> AsyncIterator[Interpreter]:
        """Context manager that gives the caller a new interpreter, and closes it after the block.

        It is like `machine`, for a pool that was created with `interpreter`.

        :raises MicroVMError: If no interpreter could be started; see `Interpreter.start`.
        :raises UsageError: If the pool is closed, or has no interpreters.
        """
        lease = await self._stock.acquire()
        try:
            if not isinstance(lease, InterpreterLease):
                raise UsageError("this is a pool of machines", hint="call its method `machine`")
            yield lease.python
        finally:
            lease.released.set()
