"""An interpreter without a guest: a script of the test answers the host's messages."""

from __future__ import annotations

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar, cast

from microvm.errors import InterpreterDied
from microvm.interpreter.interpreter import Interpreter
from microvm.interpreter.source import Source
from microvm.machine.base import Machine
from microvm.wire import interpreter as wire
from microvm.wire.interpreter import Decoder, Message, Output, Stream

from .interpreter_messages import RESULT

M = TypeVar("M")


class FakeGuest:
    """The guest's side of a connection.

    :ivar credit: Number of bytes that the guest may still send.
    """

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.credit = 0
        self.writer = writer
        self._reader = reader
        self._decoder = Decoder("host")

    def say(self, *messages: Message) -> None:
        for message in messages:
            self.writer.write(message.encode())

    async def hear(self, kind: type[M]) -> M:
        """Return the next message of the host except credit, which must be of this type."""
        while (message := await self._next()) is None:
            pass
        assert isinstance(message, kind), message
        return message

    async def _next(self) -> Message | None:
        while (message := self._decoder.next_message()) is None:
            data = await self._reader.read(1 << 16)
            assert data, "the host has closed the connection"
            self._decoder.receive_data(data)
        if isinstance(message, wire.Credit):
            self.credit += message.amount
            return None
        return message

    async def write(self, data: bytes, stream: Stream = Stream.STDOUT) -> None:
        """Send output when the host has given credit for it."""
        while self.credit < len(data):
            assert await self._next() is None
        self.credit -= len(data)
        self.say(Output(stream, data))

    async def cell(self, code: str) -> None:
        """Wait for a request to run this cell."""
        assert bytes((await self.hear(wire.Run)).code).decode() == code

    async def be_interrupted(self) -> None:
        """Wait for an interrupt, and end the cell as Python does."""
        await self.hear(wire.Interrupt)
        self.say(raised("KeyboardInterrupt"))


def value(text: str) -> wire.Result:
    """Return the result of a cell with a value."""
    return RESULT.__replace__(has_value=True, value=text.encode())


def raised(name: str, message: str = "") -> wire.Result:
    """Return the result of a cell that raised an exception."""
    return RESULT.__replace__(
        ending=wire.CellEnding.RAISED,
        error_type=name,
        error_message=message,
        traceback=f"Traceback\n{name}: {message}",
    )


Script = Callable[[FakeGuest], Awaitable[None]]


class FakeMachine:
    """A machine whose only program is the script of a test."""

    def __init__(self, script: Script) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self._script = script

    async def connect(self, path: str) -> tuple[StreamReader, StreamWriter]:
        assert path == "/socket"
        host, guest = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=guest)
        self.tasks.append(asyncio.create_task(self._serve(FakeGuest(reader, writer))))
        return await asyncio.open_connection(sock=host)

    async def _serve(self, guest: FakeGuest) -> None:
        try:
            guest.say(wire.Ready(wire.DIGEST))
            await guest.hear(wire.Renew)
            guest.say(wire.Done())
            await self._script(guest)
        finally:
            guest.writer.close()


class FakeSource:
    """Starts and stops the fake machine.

    :ivar begun: Set when `start` was called.
    :ivar may_start: Set if `start` may return.
    :ivar is_running: True if the machine was started and not stopped.
    """

    def __init__(self, vm: FakeMachine) -> None:
        self.vm = vm
        self.is_running = False
        self.begun, self.may_start = asyncio.Event(), asyncio.Event()
        self.may_start.set()

    async def start(self) -> str:
        self.begun.set()
        await self.may_start.wait()
        self.is_running = True
        return "/socket"

    async def stop(self) -> None:
        self.is_running = False

    async def close(self) -> None:
        await self.stop()

    async def explain(self, error: InterpreterDied) -> InterpreterDied:
        return error


@asynccontextmanager
async def fake_interpreter(script: Script) -> AsyncIterator[Interpreter]:
    """Context manager that yields an interpreter with this script, which must end without error."""
    vm = FakeMachine(script)
    python = Interpreter.__new__(Interpreter)._set_up(cast(Source, FakeSource(vm)))
    try:
        async with python:
            assert cast(Machine, vm) is python.vm
            yield python
            await asyncio.gather(*vm.tasks)
    finally:
        for task in vm.tasks:
            task.cancel()
        await asyncio.gather(*vm.tasks, return_exceptions=True)
