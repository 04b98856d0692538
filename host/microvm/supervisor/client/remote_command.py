"""A client's requests to a supervisor: `RemoteCommand` for a command, `RemoteCall` for others."""

from __future__ import annotations

import asyncio
import socket
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import FileIO
from typing import Any, TypeVar

from microvm.errors import ExecKilled, MicroVMError, ProtocolError, UsageError
from microvm.guest.command import Command
from microvm.guest.process import Process
from microvm.guest.timeouts import Timeouts
from microvm.options import Text
from microvm.supervisor.client import protocol
from microvm.supervisor.client.asynchronous import AsyncConnection
from microvm.supervisor.client.connector import Connector, detached
from microvm.supervisor.client.pipes import InputPipe, OutputPipe
from microvm.wire import codec
from microvm.wire.session import WINDOW

P = TypeVar("P", bound=Process)


class RemoteCall:
    """A request to a supervisor, such as `status`, that does not run a command."""

    def __init__(self, connection: socket.socket, connector: Connector, timeouts: Timeouts) -> None:
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._connector = connector
        self._connection = AsyncConnection(
            connection,
            connector.name,
            on_event=self._on_event,
            on_silence=lambda: self.fail(connector.silent()),
            timeouts=timeouts,
        )

    async def answer(self) -> tuple[Any, list[int]]:
        """Wait for the reply. Return its result, and its descriptors, which the caller closes."""
        result = await self._answer
        taken, self._connection.descriptors = self._connection.descriptors, []
        return result, taken

    def fail(self, error: MicroVMError) -> None:
        """Make `answer` raise this error, unless the supervisor's reply has arrived."""
        if not self._answer.done():
            self._answer.set_exception(error)

    async def cancel(self) -> None:
        """Ask the supervisor to cancel the request, and wait until it has done so."""
        self._answer = asyncio.get_running_loop().create_future()
        self._connection.cancel_request()
        await asyncio.wait([self._answer])
        self._answer.exception()

    def close(self) -> None:
        """Close the connection to the supervisor; idempotent."""
        self._connection.close()

    def _on_event(self, name: str, value: Any) -> None:
        if name == "error":
            self.fail(value)
        elif name == "end":
            self.fail(self._connector.lost())
        elif name == "result" and not self._answer.done():
            self._answer.set_result(value)


class RemoteCommand:
    """A command that a supervisor runs for this client in its machine.

    The command has ended when the reply has arrived and the end of its output was read.
    """

    def __init__(
        self,
        args: Sequence[Text],
        request: codec.ExecRequest,
        connection: socket.socket,
        connector: Connector,
        timeouts: Timeouts,
        *,
        stdin: InputPipe | None,
        output: Mapping[codec.Stream, FileIO],
        ended: Callable[[RemoteCommand], None],
    ) -> None:
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._has_started = False
        self._loop = asyncio.get_running_loop()
        self._ended = ended
        self._stdin = stdin
        self._pipes = {stream: OutputPipe(file, self._settle) for stream, file in output.items()}
        self.command = Command(
            args,
            request,
            stdin=None if stdin is None else stdin.stream,
            consumed=lambda stream, amount: self._pipes[stream].consumed(amount),
            max_output=None,
        )
        self._connector = connector
        self._reply: int | MicroVMError | None = None
        self._connection = AsyncConnection(
            connection,
            connector.name,
            on_event=self._on_event,
            on_silence=lambda: self._fail(connector.silent(), at_once=True),
            timeouts=timeouts,
        )
        for stream, pipe in self._pipes.items():
            pipe.begin(partial(self._feed, stream))

    def process(self) -> Process:
        """Return the `Process` for the user. If the user drops it, the command is killed."""
        return self._init_process(Process._new())

    def _init_process(self, process: P) -> P:
        return process._init(
            self.command,
            send_signal=self._signal,
            resize=self._resize,
            abandon=lambda _: self.abandon(),
            dropped=partial(_dropped, weakref.ref(self)),
        )

    def abandon(self) -> None:
        """Kill the command, and discard its output."""
        if self._reply is not None:
            return
        self.command.abandoned = True
        self.command.release(0)
        if self._has_started:
            self._connection.send(protocol.abandon())
        else:
            self._connection.cancel_request()
            self._fail_start(detached())

    def abandon_soon(self) -> None:
        """Kill the command, because its `Process` was garbage-collected.

        Any thread may call this method.
        """
        if not self.command.ended.is_set():
            self.command.abandoned = True
            try:
                self._loop.call_soon_threadsafe(self.abandon)
            except RuntimeError:  # the event loop is closed, so disconnect in this thread
                self.command.abandoned = False
                self.leave()

    def leave(self) -> None:
        """Disconnect, so that the supervisor kills the command, because the event loop ends."""
        if self.command.ended.is_set():
            return
        warning = "" if self.command.abandoned else self.unclosed()
        self._fail(detached(), at_once=True)
        if warning:
            warnings.warn(warning, ResourceWarning, stacklevel=2)

    def unclosed(self) -> str:
        """Return the text of the warning for a command that still ran when its event loop ended."""
        return f"a command was left running in machine {self._connector.name}: {self.command.name}"

    def _feed(self, stream: codec.Stream, data: bytes) -> None:
        self.command.feed(codec.ExecOutput(0, stream, data))

    def _signal(self, signal: int) -> None:
        _check(codec.ExecSignal(1, signal), f"no signal has the number {signal}")
        self._connection.send(protocol.signal(signal))

    def _resize(self, rows: int, columns: int) -> None:
        fault = f"no terminal has {rows} lines and {columns} columns"
        _check(codec.ExecResize(1, rows, columns), fault)
        self._connection.send(protocol.resize(rows, columns))

    def _on_event(self, name: str, value: Any) -> None:
        match name, value:
            case "started", _:
                self._has_started = True
                if not self.started.done():
                    self.started.set_result(None)
            case "error", error:
                self._fail(error)
            case "end", _:
                cancelled = self.command.abandoned and not self._has_started
                self._fail(detached() if cancelled else self._connector.lost())
            case "result", {"returncode": int(returncode), "memory": int() | None as memory} if (
                self._has_started
            ):
                self._reply, self.command.memory = returncode, memory
                self._settle()
            case _:
                message = f"the supervisor of {self._connector.name} sent an invalid reply"
                self._fail(ProtocolError(message))

    def _fail(self, error: MicroVMError, *, at_once: bool = False) -> None:
        """End the command with an error: now if `at_once`, else after the rest of its output."""
        if self._reply is None:
            self._reply = error
        elif not at_once:
            return
        self._fail_start(error)
        if isinstance(error, ExecKilled):
            self.command.mark_killed(error)
            self.command.memory = error.memory
        else:
            self.command.release(WINDOW)
        if at_once or not self._has_started:
            for pipe in self._pipes.values():
                pipe.close()
        self._settle()

    def _fail_start(self, error: MicroVMError) -> None:
        if not self.started.done():
            self.started.set_exception(error)
            # Read the error once, because asyncio would log an error that nobody has read.
            self.started.exception()

    def _settle(self) -> None:
        """End the command if the reply has arrived and the output is complete."""
        if self._reply is None or not all(pipe.ended for pipe in self._pipes.values()):
            return
        self._connection.close()
        match self._reply:
            case int(returncode) | ExecKilled(returncode=int(returncode)):
                self.command.exit(returncode)
            case error:
                self.command.fail(error)
        if self._stdin is not None:
            self._stdin.close()
        self._ended(self)


def _check(message: codec.ExecSignal | codec.ExecResize, fault: str) -> None:
    try:
        message.encode()
    except codec.EncodeError:
        raise UsageError(fault) from None


def _dropped(running: weakref.ref[RemoteCommand]) -> None:
    if (command := running()) is not None:
        command.abandon_soon()
