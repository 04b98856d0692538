"""A `RemoteCommand` is a command that a supervisor runs for us, a `RemoteCall` anything else."""

from __future__ import annotations

import asyncio
import socket
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import FileIO
from typing import Any

from microvm.errors import (
    ExecKilled,
    MicroVMError,
    ProtocolError,
    UsageError,
)
from microvm.guest.command import Command
from microvm.guest.process import Process
from microvm.guest.timeouts import Timeouts
from microvm.options import Text
from microvm.supervisor.client.asynchronous import AsyncConnection
from microvm.supervisor.client.connector import Connector, detached
from microvm.supervisor.client.pipes import InputPipe, OutputPipe
from microvm.supervisor.error_json import from_json
from microvm.wire import codec
from microvm.wire.session import WINDOW


class RemoteCall:
    """A call that is not a command, and its answer."""

    def __init__(self, connection: socket.socket, connector: Connector, timeouts: Timeouts) -> None:
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._conversation = AsyncConnection(
            connection,
            on_line=self._on_line,
            on_end=lambda: self.fail(connector.lost()),
            on_silence=lambda: self.fail(connector.silent()),
            timeouts=timeouts,
        )

    async def answer(self) -> tuple[Any, list[int]]:
        """Wait for the answer, and return it with what files came, which the caller closes."""
        result = await self._answer
        taken, self._conversation.descriptors = self._conversation.descriptors, []
        return result, taken

    def fail(self, error: MicroVMError) -> None:
        """Have the answer be an error, unless there is one."""
        if not self._answer.done():
            self._answer.set_exception(error)

    async def take_back(self) -> None:
        """Have the supervisor give it up, and wait until it has."""
        self._answer = asyncio.get_running_loop().create_future()
        self._conversation.take_back()
        await asyncio.wait([self._answer])
        self._answer.exception()

    def close(self) -> None:
        """Hang up; idempotent."""
        self._conversation.close()

    def _on_line(self, line: dict[str, Any]) -> None:
        if "error" in line:
            self.fail(from_json(line["error"]))
        elif "result" in line and not self._answer.done():
            self._answer.set_result(line["result"])


class RemoteCommand:
    """A command that a supervisor runs for us.

    It has ended when the supervisor has said how, and all of its output has come.
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
        self._outlets = {stream: OutputPipe(file, self._settle) for stream, file in output.items()}
        self.command = Command(
            args,
            request,
            stdin=None if stdin is None else stdin.stream,
            consumed=lambda stream, amount: self._outlets[stream].consumed(amount),
            max_output=None,
        )
        self._connector = connector
        self._reply: int | MicroVMError | None = None
        self._conversation = AsyncConnection(
            connection,
            on_line=self._on_line,
            on_end=self._on_end,
            on_silence=lambda: self._fail(connector.silent(), at_once=True),
            timeouts=timeouts,
        )
        for stream, outlet in self._outlets.items():
            outlet.begin(partial(self._feed, stream))

    def process(self) -> Process:
        """Return the command as its user sees it, who may drop it."""
        return Process(
            self.command,
            send_signal=self._signal,
            resize=self._resize,
            abandon=lambda _: self.abandon(),
            dropped=partial(_dropped, weakref.ref(self)),
        )

    def abandon(self) -> None:
        """Kill the command, and drop its output."""
        if self._reply is not None:
            return
        self.command.abandoned = True
        self.command.release(0)
        if self._has_started:
            self._conversation.say({"abandon": True})
        else:
            self._conversation.take_back()
            if not self.started.done():
                self.started.set_exception(detached())
                self.started.exception()  # nobody may be waiting for it any more

    def abandon_soon(self) -> None:
        """Kill what nobody can wait for any more; this is called in any thread."""
        if not self.command.ended.is_set():
            self.command.abandoned = True
            try:
                self._loop.call_soon_threadsafe(self.abandon)
            except RuntimeError:  # the loop has been closed, without the end that runners give it
                self.command.abandoned = False
                self.leave()

    def leave(self) -> None:
        """Hang up on a command that its loop has left running: the supervisor kills it."""
        if self.command.ended.is_set():
            return
        warning = "" if self.command.abandoned else self.unclosed()
        self._fail(detached(), at_once=True)
        if warning:
            warnings.warn(warning, ResourceWarning, stacklevel=2)

    def unclosed(self) -> str:
        """Return the warning for who has left it running."""
        return f"a command was left running in machine {self._connector.name}: {self.command.name}"

    def _feed(self, stream: codec.Stream, data: bytes) -> None:
        self.command.feed(codec.ExecOutput(0, stream, data))

    def _signal(self, signal: int) -> None:
        _check(codec.ExecSignal(1, signal), f"no signal has the number {signal}")
        self._conversation.say({"signal": signal})

    def _resize(self, rows: int, columns: int) -> None:
        wrong = f"no terminal has {rows} lines and {columns} columns"
        _check(codec.ExecResize(1, rows, columns), wrong)
        self._conversation.say({"resize": [rows, columns]})

    def _on_line(self, line: dict[str, Any]) -> None:
        match line:
            case {"started": _}:
                self._has_started = True
                if not self.started.done():
                    self.started.set_result(None)
            case {"error": error}:
                self._fail(from_json(error))
            case {"result": {"returncode": int(returncode), "memory": int() | None as memory}} if (
                self._has_started
            ):
                self._reply, self.command.memory = returncode, memory
                self._settle()
            case _:
                self._fail(_wrong())

    def _on_end(self) -> None:
        taken_back = self.command.abandoned and not self._has_started
        self._fail(detached() if taken_back else self._connector.lost())

    def _fail(self, error: MicroVMError, *, at_once: bool = False) -> None:
        """Note why there is no exit status, and see what output there still is."""
        if self._reply is None:
            self._reply = error
        elif not at_once:
            return
        if not self.started.done():
            self.started.set_exception(error)
            self.started.exception()  # nobody may be waiting for it any more
        if isinstance(error, ExecKilled):
            self.command.mark_killed(error)
            self.command.memory = error.memory
        else:
            self.command.release(WINDOW)
        if at_once or not self._has_started:
            for outlet in self._outlets.values():
                outlet.close()
        self._settle()

    def _settle(self) -> None:
        """Note the end, if this is it."""
        if self._reply is None or not all(each.ended for each in self._outlets.values()):
            return
        self._conversation.close()
        match self._reply:
            case int(returncode) | ExecKilled(returncode=int(returncode)):
                self.command.exit(returncode)
            case error:
                self.command.fail(error)
        if self._stdin is not None:
            self._stdin.close()
        self._ended(self)


def _check(message: codec.ExecSignal | codec.ExecResize, wrong: str) -> None:
    try:
        message.encode()
    except codec.EncodeError:
        raise UsageError(wrong) from None


def _dropped(running: weakref.ref[RemoteCommand]) -> None:
    if (left := running()) is not None:
        left.abandon_soon()


def _wrong() -> ProtocolError:
    return ProtocolError("the process that has the machine says what makes no sense")
