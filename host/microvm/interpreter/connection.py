"""The connection to an interpreter in a guest, which executes one request at a time."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from microvm.errors import (
    InterpreterDied,
    MachineError,
    ProtocolError,
    SnapshotError,
    StreamError,
)
from microvm.interpreter.escalation import Escalation
from microvm.machine.base import Machine
from microvm.wire.interpreter import (
    DIGEST,
    Ask,
    Death,
    Died,
    Done,
    Failed,
    Message,
    Ready,
    Result,
    Value,
)
from microvm.wire.interpreter_session import InterpreterSession

_CHUNK = 1 << 16

READY_TIMEOUT = 30.0
"""Maximum number of seconds until a connected interpreter sends the message `ready`."""

_READY_GRACE = 1.0

_ANSWERS = (Ready, Result, Value, Done, Failed)
"""The messages that end a request."""

# The largest exit status and the largest number of a signal in Linux.
_MAX_STATUS = {Death.EXITED: 255, Death.SIGNALLED: 64}

Cause: TypeAlias = Literal["exited", "signal", "memory", "killed", "broken", "lost"]

_DEATHS: dict[Death, tuple[Cause, str]] = {
    Death.EXITED: ("exited", "exited with status {0}"),
    Death.SIGNALLED: ("signal", "was killed by signal {0}"),
    Death.OUT_OF_MEMORY: ("memory", "was killed, because the guest had no memory left"),
    Death.KILLED: ("killed", "was killed, because nothing else ended the cell"),
    Death.BROKEN: ("broken", "did not follow its protocol, and was killed"),
}


class Handler(Protocol):
    """An object that handles the messages of a request."""

    async def handle(self, message: Message) -> None:
        """Handle a message that arrives before the answer of a request, or the answer."""

    def unblock(self) -> bool:
        """Cancel the callback for which `handle` waits, and call no further callbacks.

        Return False, and change nothing, if `handle` waits for no callback.
        """


@dataclass(slots=True)
class _Request:
    """A request that the guest executes.

    :ivar failure: The error that ends the request and is raised after its answer, or None.
    """

    handler: Handler | None
    escalation: Escalation
    failure: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """Begin to end the request, and keep the first error."""
        if self.failure is None:
            self.failure = error
        self.escalation.begin()


class InterpreterConnection:
    """The connection to an interpreter, which executes one request at a time."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._session = InterpreterSession()
        self._running: _Request | None = None
        self._error: InterpreterDied | None = None

    @classmethod
    async def open(cls, vm: Machine, path: str) -> InterpreterConnection:
        """Connect to the interpreter whose socket has this path in the guest.

        :raises InterpreterDied: If no interpreter listens there, or if it is dead.
        :raises SnapshotError: If another version of microvm has started the interpreter.
        """
        try:
            reader, writer = await vm.connect(path)
        except StreamError as error:
            raise _lost(error.message) from error
        connection = cls(reader, writer)
        try:
            ready, _ = await connection.request(
                b"", None, timeout=READY_TIMEOUT, grace=_READY_GRACE
            )
            if isinstance(ready, Ready) and ready.digest != DIGEST:
                raise SnapshotError(
                    "cannot continue the interpreter: another version of microvm has saved it",
                    hint="save a new snapshot, or install the version that has saved this one",
                )
        except BaseException:
            await connection.close()
            raise
        return connection

    async def close(self) -> None:
        """Close the connection. The interpreter keeps its state, and cancels a running request."""
        self._writer.close()
        # An error means only that the guest has not read all requests, or the machine has failed.
        with suppress(OSError, MachineError):
            await self._writer.wait_closed()

    def stop(self) -> None:
        """End the running request, and all later ones, with an error."""
        self._fail(self._error or died("killed", "was stopped"))
        if self._running is not None and self._running.handler is not None:
            self._running.handler.unblock()

    @property
    def session(self) -> InterpreterSession:
        """The state of the conversation, whose methods encode requests."""
        return self._session

    def send(self, frame: bytes) -> None:
        """Send a message, unless it is empty. An error is raised by the request that runs."""
        if frame and not self._writer.is_closing():
            self._writer.write(frame)

    def interrupt(self, *, kill: bool = False) -> None:
        """Begin to end the running request; see `Escalation`. Without a request, do nothing.

        :param kill: True to kill immediately: first the processes that the request has started; in
            the second call, the interpreter.
        """
        if self._running is None:
            return
        if kill:
            self._running.escalation.kill()
        else:
            self._running.escalation.begin()

    def fail(self, error: BaseException) -> None:
        """Begin to end the running request, as if its handler had raised an error."""
        if self._running is not None:
            self._running.fail(error)

    async def request(
        self,
        frame: bytes,
        handler: Handler | None,
        *,
        timeout: float | None,
        grace: float,
        late_grace: float | None = None,
    ) -> tuple[Message, Escalation]:
        """Send a request, handle the messages of the guest, and return the answer.

        If the caller is cancelled, or the handler raises an exception, the request is ended first.

        :param handler: Handler of the messages, or None to ignore them.
        :param timeout: Number of seconds after which the request is ended; None for no limit.
        :param grace: Number of seconds between two steps of an `Escalation`.
        :param late_grace: The same number for the steps after the time limit; by default `grace`.
        :raises InterpreterDied: If the interpreter dies.
        :raises MachineError: If the machine has failed.
        """
        unblock = handler.unblock if handler is not None else bool
        abort = self._writer.transport.abort
        escalation = Escalation(self._session, self.send, unblock, abort, grace)
        request = self._running = _Request(handler, escalation)
        if timeout is not None:
            escalation.limit(timeout, late_grace)
        try:
            self.send(frame)
            answer = await self._answer_of(request)
        except (InterpreterDied, MachineError) as error:
            raise request.failure or error from None
        finally:
            escalation.end()
            self._running = None
        if request.failure is not None:
            raise request.failure
        return answer, escalation

    async def _answer_of(self, request: _Request) -> Message:
        """Handle messages of the guest up to the answer of a request, and return the answer."""
        while True:
            try:
                event = await self._receive()
            except asyncio.CancelledError as error:
                if request.failure is not None:  # cancelled a second time, so do not wait longer
                    self._writer.transport.abort()
                request.failure = error
                request.escalation.begin()
                continue
            if request.handler is not None and request.failure is None:
                try:
                    await request.handler.handle(event)
                except BaseException as error:  # raised again when the request has ended
                    request.fail(error)
            if isinstance(event, _ANSWERS):
                return event

    async def _receive(self) -> Message:
        """Return the next message of the guest."""
        if self._error is not None:
            raise copy(self._error)
        try:
            while (event := self._session.next_event()) is None:
                if credit := self._session.credit():
                    await self._writer.drain()
                    self.send(credit)
                data = await self._reader.read(_CHUNK)
                if not data:
                    raise self._fail(self._error or _lost("its connection was closed"))
                self._session.receive_data(data)
            if isinstance(event, Ask):
                # A hostile guest asks without end and does not read the answers. So wait until it
                # has read most of them; otherwise the answers would fill the host's memory.
                await self._writer.drain()
            if isinstance(event, Died) and event.status > _MAX_STATUS.get(event.ending, 0xFFFFFFFF):
                raise ProtocolError(f"the guest sent the invalid status {event.status}")
        except ProtocolError as error:
            text = f"does not follow its protocol: {error.message}"
            raise self._fail(died("broken", text)) from error
        except OSError as error:
            raise self._fail(self._error or _lost(str(error))) from error
        if isinstance(event, Died):
            cause, text = _DEATHS[event.ending]
            raise self._fail(died(cause, text.format(event.status), event.status))
        return event

    def _fail(self, error: InterpreterDied) -> InterpreterDied:
        """Drop the connection, and keep the error. Return a copy for the running request.

        Each request raises a copy of its own, because the output of a cell is added to the error.
        """
        self._error = error
        self._writer.transport.abort()
        return copy(error)


def _lost(reason: str) -> InterpreterDied:
    return died("lost", f"does not answer: {reason}")


def died(cause: Cause, text: str, status: int = 0) -> InterpreterDied:
    """Return the error for a death of an interpreter."""
    error = InterpreterDied(
        f"the interpreter {text}", hint="its method `restart` starts it again, without variables"
    )
    error.cause = cause
    error.status = status if cause in {"exited", "signal"} else 0
    return error
