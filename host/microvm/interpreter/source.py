"""Classes that start an interpreter from an image or a snapshot, or in a machine that exists."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from microvm.errors import (
    ExecError,
    InterpreterDied,
    MemoryLimit,
    SnapshotError,
    TemplateError,
    UsageError,
)
from microvm.guest.process import Process
from microvm.guest.timeouts import TIMEOUTS
from microvm.images import Image
from microvm.interpreter import launch
from microvm.interpreter.connection import InterpreterConnection, died
from microvm.interpreter.preparation import Preparation, import_modules
from microvm.machine.base import Machine
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.option import ParsedOptions
from microvm.options import ExecOptions
from microvm.system import platform


class Source(Protocol):
    """An object that starts an interpreter, any number of times, and stops it."""

    @property
    def vm(self) -> Machine | None:
        """The machine in which the interpreter runs; None before the start and after the stop."""

    def another(self) -> Source:
        """Return a source that starts another interpreter in the same way."""

    async def start(self) -> str:
        """Start an interpreter, and return the path of its socket in the guest."""

    async def stop(self) -> None:
        """Stop the interpreter. `start` can start it again."""

    async def close(self) -> None:
        """Stop the interpreter, and release everything. Further calls have no effect."""

    async def explain(self, error: InterpreterDied) -> InterpreterDied:
        """Return `error`, or a new error if the source knows the cause of death better."""

    async def checkpoint(
        self, name: str | None, disconnected: AbstractAsyncContextManager[None]
    ) -> Snapshot:
        """Take a snapshot of the machine of the interpreter; see `MicroVM.checkpoint`.

        :param disconnected: Context manager that closes the connection to the interpreter in its
            block, because a snapshot cannot contain a connection.
        """

    def forks(self, snapshot: Snapshot, count: int) -> list[Source]:
        """Return sources that clone a snapshot. Closing the last source closes the snapshot."""


class SnapshotSource:
    """Starts an interpreter by cloning a snapshot.

    :param owners: All sources that own the snapshot. When all are closed, the snapshot is closed.
    """

    def __init__(
        self,
        snapshot: Snapshot | str,
        options: ParsedOptions,
        owners: set[SnapshotSource] | None = None,
    ) -> None:
        self.vm: MicroVM | None = None
        self._options = options
        self._given = snapshot
        self._owners = owners
        if owners is not None:
            owners.add(self)

    def another(self) -> Source:
        """Return a source that clones the same snapshot, but does not own it."""
        return SnapshotSource(self._given, self._options)

    async def start(self) -> str:
        """Clone the snapshot."""
        given = self._given
        await self._clone(given if isinstance(given, Snapshot) else Snapshot.find(given))
        return launch.SOCKET

    async def stop(self) -> None:
        """Stop the machine."""
        vm, self.vm = self.vm, None
        if vm is not None:
            await vm.stop()

    async def close(self) -> None:
        """Stop the machine, and close the snapshot if this object is its last owner."""
        try:
            await self.stop()
        finally:
            if self._owners is not None:
                self._owners.discard(self)
                if not self._owners and isinstance(self._given, Snapshot):
                    self._given.close()

    async def explain(self, error: InterpreterDied) -> InterpreterDied:
        """Return `error`."""
        return error

    async def checkpoint(
        self, name: str | None, disconnected: AbstractAsyncContextManager[None]
    ) -> Snapshot:
        """Take a snapshot of the machine."""
        async with disconnected:
            if self.vm is None:
                raise not_running()
            return await self.vm.checkpoint(name)

    def forks(self, snapshot: Snapshot, count: int) -> list[Source]:
        """Return sources that clone and own the snapshot."""
        owners = set[SnapshotSource]()
        return [SnapshotSource(snapshot, self._options, owners) for _ in range(count)]

    async def _clone(self, snapshot: Snapshot) -> None:
        vm = MicroVM._from_options(snapshot, self._options)
        await vm.start()
        # `MicroVM.stop` has no effect during `MicroVM.start`, so `stop` must not find the machine
        # before. An interpreter that is closed meanwhile closes its source again after the start.
        self.vm = vm


class PreparedSource(SnapshotSource):
    """Starts an interpreter by cloning the template of an image. Creates a missing template."""

    def __init__(
        self,
        image: Image | str | Path,
        packages: tuple[str, ...],
        imports: tuple[str, ...],
        options: ParsedOptions,
    ) -> None:
        super().__init__("", options)
        self._image = image
        self._packages = packages
        self._imports = imports

    def another(self) -> Source:
        """Return a source that clones the same template."""
        return PreparedSource(self._image, self._packages, self._imports, self._options)

    async def start(self) -> str:
        """Clone the template. Create it first if it does not exist or cannot be used."""
        platform.require(platform.CLONES, SnapshotError)
        preparation = await Preparation.of(
            self._image, self._packages, self._imports, self._options
        )
        try:
            await self._clone(await preparation.snapshot())
        except (SnapshotError, TemplateError) as error:
            self._options["notify"](f"{error.message}; making it again")
            await self._clone(await preparation.snapshot(again=True))
        return launch.SOCKET


class MachineSource:
    """Starts an interpreter as a command of a machine that it does not own.

    :param options: Options of the command, such as its user and its limits.
    """

    def __init__(self, vm: Machine | None, options: ExecOptions) -> None:
        self.vm = vm
        self._options = options
        self._socket = _new_socket()
        self._process: Process | None = None

    def another(self) -> Source:
        """Raise an error, because only interpreters with a machine of their own have copies."""
        raise _shared()

    async def start(self) -> str:
        """Start the interpreter, and wait until it listens."""
        self._process = await launch.start_beside(self._machine(), self._socket, self._options)
        return self._socket

    async def stop(self) -> None:
        """Kill the interpreter and every process that it has started."""
        process, self._process = self._process, None
        if process is not None:
            await process.__aexit__()

    async def close(self) -> None:
        """Kill the interpreter. The machine continues to run."""
        await self.stop()
        self.vm = None

    async def explain(self, error: InterpreterDied) -> InterpreterDied:
        """If the command has exceeded its memory limit, return the error that says so."""
        if error.cause != "lost" or self._process is None:
            return error
        try:
            async with asyncio.timeout(TIMEOUTS.kill):
                await self._process.wait()
        except MemoryLimit:
            return died("memory", "was killed, because it exceeded its memory limit")
        except (ExecError, TimeoutError):
            pass
        return error

    async def checkpoint(
        self, name: str | None, disconnected: AbstractAsyncContextManager[None]
    ) -> Snapshot:
        """Raise an error, because no snapshot can be taken while the interpreter runs."""
        raise _shared()

    def forks(self, snapshot: Snapshot, count: int) -> list[Source]:
        """Raise an error, as `checkpoint` does."""
        raise _shared()

    def _machine(self) -> Machine:
        if self.vm is None:
            raise not_running()
        return self.vm


class LimitedSource(MachineSource):
    """Starts an interpreter as a limited command of a machine of its own.

    A template contains an interpreter that runs as the image's user and without limits. So the
    machine is cloned from the template of the image alone, and Python is started in it.

    :param options: Options of the machine.
    :param limits: Options of the command: its user and its limits.
    """

    def __init__(
        self,
        image: Image | str | Path,
        packages: tuple[str, ...],
        imports: tuple[str, ...],
        options: ParsedOptions,
        limits: ExecOptions,
    ) -> None:
        super().__init__(None, limits)
        self._image = image
        self._packages = packages
        self._imports = imports
        self._machine_options = options

    async def start(self) -> str:
        """Start the machine and the interpreter, and import the modules."""
        options = self._machine_options
        preparation = await Preparation.of(self._image, self._packages, self._imports, options)
        vm = MicroVM._from_options(preparation.image, options)
        await vm.start()
        self.vm = vm
        socket = await super().start()
        if self._imports:
            connection = await InterpreterConnection.open(vm, socket)
            try:
                await import_modules(connection, self._imports)
            finally:
                await connection.close()
        return socket

    async def stop(self) -> None:
        """Kill the interpreter, and stop the machine."""
        vm, self.vm = self.vm, None
        try:
            await super().stop()
        finally:
            if isinstance(vm, MicroVM):
                await vm.stop()


class ResidentSource(MachineSource):
    """Starts an interpreter in a machine of the caller, whose snapshots contain the interpreter.

    :param socket: Path of the interpreter's socket if the machine was cloned from a snapshot that
        contains the interpreter; otherwise None.
    """

    def __init__(self, vm: Machine, socket: str | None) -> None:
        super().__init__(vm, {})
        self._running = socket

    async def start(self) -> str:
        """Start the interpreter, unless it runs."""
        if self._running is None:
            # A dead interpreter may still remove its socket, so a new one has another path.
            socket = _new_socket()
            await launch.start(self._machine(), socket)
            self._running = socket
        return self._running

    async def stop(self) -> None:
        """Let `start` start another interpreter. This one, if it lives, remains in the machine."""
        self._running = None

    async def checkpoint(
        self, name: str | None, disconnected: AbstractAsyncContextManager[None]
    ) -> Snapshot:
        """Take a snapshot of the machine."""
        async with disconnected:
            return await self._machine().checkpoint(name)


def _new_socket() -> str:
    """Return a path, in the guest, for the socket of a further interpreter of a machine."""
    return f"{launch.SOCKET}-{secrets.token_hex(8)}"


def not_running() -> UsageError:
    """Return the error for an interpreter that was not started, or is closed."""
    return UsageError("the interpreter is not running", hint="use it inside its `async with` block")


def _shared() -> UsageError:
    return UsageError(
        "an interpreter that shares its machine cannot be saved, forked, or used in a pool",
        hint="create an `Interpreter` with a machine of its own",
    )
