"""A machine of a client, with an interpreter whose variables its forks and snapshots contain."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from microvm.cli.mcp import texts
from microvm.cli.mcp.refusal import Refusal
from microvm.errors import InterpreterDied
from microvm.guest.process import CompletedProcess
from microvm.interpreter.cell import Cell
from microvm.interpreter.interpreter import Interpreter
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.options import MachineOptions

COMMANDS = 16
"""Maximum number of commands that a machine runs at the same time."""

_MAX_PORTS = 16  # maximum number of ports of the host that lead to a machine
_MAX_CELL_OUTPUT = "1M"  # maximum size of the output and the displays of a cell


@dataclass(frozen=True, slots=True)
class SavedMachine:
    """A snapshot of a machine.

    :ivar socket: Path of the socket of the interpreter that the snapshot contains, or None.
    """

    snapshot: Snapshot
    socket: str | None


class SessionMachine:
    """A machine of a client. Its first cell starts its interpreter.

    :ivar vm: The machine, which this object owns.
    """

    def __init__(self, origin: str | SavedMachine, options: MachineOptions) -> None:
        """Create the object. `start` starts the machine from `origin`, an image or a snapshot."""
        given: MachineOptions = {**options, "commands": COMMANDS}
        self._socket: str | None = None
        if isinstance(origin, SavedMachine):
            self.vm = MicroVM(origin.snapshot, **given)
            self._socket = origin.socket
        else:
            self.vm = MicroVM(origin, **given)
        self._python: Interpreter | None = None
        self._python_lock = asyncio.Lock()
        self._helper_lock = asyncio.Lock()
        self._ports: dict[int, str] = {}
        self._ports_lock = asyncio.Lock()
        self._opened = AsyncExitStack()

    async def start(self) -> None:
        """Start the machine; see `MicroVM.start`."""
        await self.vm.start()

    async def stop(self) -> None:
        """Stop the machine, in any state."""
        try:
            await self._opened.aclose()
        finally:
            await self.vm.stop()

    async def run_helper(
        self, command: list[str], timeout: float, max_output: int
    ) -> CompletedProcess[bytes]:
        """Run a short command of the server, and return its result.

        A snapshot cannot be taken while a command runs. So `save` waits until this command has
        exited, and this command waits until a snapshot is taken.
        """
        async with self._helper_lock:
            return await self.vm.run(command, timeout=timeout, max_output=max_output)

    async def run_cell(self, code: str, timeout: float) -> Cell:
        """Run a cell. The interpreter is started if none runs.

        :raises Refusal: If the interpreter has died. The next cell starts another one.
        :raises StartError: If the image has no program `python3`.
        """
        python = await self._find_python()
        try:
            return await python.run(code, timeout=timeout, max_output=_MAX_CELL_OUTPUT)
        except InterpreterDied as error:
            raise await self._forget(python, error) from error

    async def _find_python(self) -> Interpreter:
        async with self._python_lock:
            if self._python is None:
                python = Interpreter._resident(self.vm, self._socket)
                try:
                    await python.start()
                except InterpreterDied as error:
                    raise await self._forget(python, error) from error
                self._python, self._socket = python, python._socket
            return self._python

    async def _forget(self, python: Interpreter, error: InterpreterDied) -> Refusal:
        """Forget a dead interpreter, so that the next cell starts another; return the error."""
        if self._python in (python, None):
            self._python, self._socket = None, None
        await python.close()
        return Refusal(
            f"Python has died, and its variables are lost ({error.message}). "
            "Repeat the call to continue without them.",
            texts.joined((error.stdout, error.stderr)),
        )

    async def save(self) -> SavedMachine:
        """Take a snapshot of the machine, which contains its interpreter.

        :raises Busy: If a command runs, or a connection to a port is open.
        :raises Refusal: If the interpreter has died. The next call saves the machine without it.
        """
        async with self._python_lock, self._helper_lock:
            python = self._python
            try:
                snapshot = await (python or self.vm).checkpoint()
            except InterpreterDied as error:
                assert python is not None  # noqa: S101 - a machine raises other errors
                raise await self._forget(python, error) from error
            return SavedMachine(snapshot, self._socket)

    async def forward(self, port: int) -> str:
        """Forward a port of the host to a port of the machine, and return its address as a URL."""
        async with self._ports_lock:
            if port not in self._ports:
                if len(self._ports) >= _MAX_PORTS:
                    raise Refusal(
                        f"A machine can have {_MAX_PORTS} forwarded ports. Start another."
                    )
                forward = await self._opened.enter_async_context(await self.vm.forward(0, port))
                self._ports[port] = "http://{}:{}".format(*forward.address)
            return self._ports[port]
