"""The guest's program `relay`, which connects the host to servers and clients in the guest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from errno import EBADMSG, ECONNRESET, EIO, ETIMEDOUT
from typing import TypeAlias

from microvm.errors import MicroVMError, ProtocolError, StartError, StreamError, errno_text
from microvm.guest.deadline import Timer
from microvm.guest.executor import Executor
from microvm.guest.process import Process
from microvm.guest.program import OTHER_SCHEMA, another_build, is_missing, program_options
from microvm.guest.stream_transport import StreamTransport
from microvm.wire import streams
from microvm.wire.stream_session import StreamSession

# Number of unsent bytes to the program. When it is reached, transports have to wait.
_FULL = 1 << 18

# Maximum number of seconds for the program to send the last data to servers, and to exit.
_EXIT_TIMEOUT = 3.0

_OPTIONS = program_options(streams.PROGRAM)
_FAILED = "cannot connect to servers in the guest"


Failure: TypeAlias = Callable[[int], StreamError]
"""A function that turns an error number, such as ECONNREFUSED, into the error to raise."""


class Relay:
    """The program `relay`, running in a guest. It exits when no stream and no listener is open.

    :ivar is_ending: True if `relay` is exiting or has exited, so that it can open no stream or
        listener.
    :ivar ended: Event that is set when the program has exited.
    """

    def __init__(self, process: Process) -> None:
        """Create the object of `process`, a program `relay` that was just started."""
        self.is_ending = False
        self.ended = asyncio.Event()
        self._process = process
        self._session = StreamSession()
        self._transports: dict[int, StreamTransport] = {}
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, asyncio.Future[streams.Message]] = {}
        self._listeners = set[int]()
        self._outgoing = bytearray()
        self._wake = asyncio.Event()
        self._removed: list[Callable[[], None]] = []
        self._exit_due = Timer()
        self._task = asyncio.create_task(self._run())

    @classmethod
    async def start(cls, guest: Executor, owner: object) -> Relay:
        """Start the program in the guest. `owner` stays alive as long as the program runs.

        :raises Busy: If a command runs in the machine.
        """
        process = await guest.start(["relay", f"{streams.DIGEST:016x}"], _OPTIONS)
        process._keep_alive_with(owner)
        return cls(process)

    async def connect(
        self, protocol: asyncio.Protocol, server: int | str, timeout: float
    ) -> StreamTransport:
        """Connect an asyncio protocol to a server. `check_server` must have accepted its address.

        :raises StreamError: If the guest cannot connect to the server.
        """
        id_, frame = self._session.connect(server)
        transport = self._transports[id_] = StreamTransport(self, id_, protocol, server)

        def failed(number: int) -> StreamError:
            return StreamError(number, server)

        try:
            async with _limit(timeout, failed):
                await self._ask(id_, frame, failed)
        except BaseException:
            transport.abort()
            await self._exited()
            raise
        return transport

    async def listen(self, port: int, timeout: float) -> tuple[int, int]:
        """Listen on a port of the guest. The caller has checked the number with `check_guest_port`.

        :return: Id of the listener, and the number of its port, which the guest chooses if `port`
            is 0.
        :raises StreamError: If the guest cannot listen on the port.
        """
        id_, frame = self._session.listen(port)
        self._listeners.add(id_)

        def failed(number: int) -> StreamError:
            message = f"the guest cannot listen on port {port}: {errno_text(number)}"
            return StreamError(number, port, message)

        try:
            async with _limit(timeout, failed):
                answer = await self._ask(id_, frame, failed)
        except BaseException:
            await self.close_listener(id_)
            raise
        assert isinstance(answer, streams.Listening)  # noqa: S101 - the session refuses others
        return id_, answer.port

    async def close_listener(self, id_: int) -> None:
        """Close a listener. Closing it again has no effect."""
        if id_ in self._listeners:
            self._listeners.remove(id_)
            self._send(self._session.reset(id_))
            self._end_if_unused()
        await self._exited()

    def listens(self, id_: int) -> bool:
        """Return True if the listener with this id is open."""
        return not self.is_ending and id_ in self._listeners

    async def accept(self, listener: int, protocol: asyncio.Protocol, port: int) -> StreamTransport:
        """Wait for the next client of a listener, and connect an asyncio protocol to it.

        :raises StreamError: If the guest cannot accept clients at the moment.
        """
        if self.is_ending:
            raise _failed(EIO, "`relay` in the guest has exited")
        id_, frame = self._session.accept(listener)
        transport = self._transports[id_] = StreamTransport(self, id_, protocol, port)
        try:
            await self._ask(id_, frame, lambda number: StreamError(number, port))
        except BaseException:
            transport.abort()
            raise
        return transport

    async def _ask(self, id_: int, frame: bytes, failed: Failure) -> streams.Message:
        """Send a request, and return its answer; raise an error if the guest refuses it."""
        answered: asyncio.Future[streams.Message] = self._loop.create_future()
        self._asked[id_] = answered
        self._send(frame)
        try:
            answer = await answered
        finally:
            del self._asked[id_]
        if isinstance(answer, streams.Refused | streams.NotListening | streams.NotAccepted):
            raise failed(answer.error_number)
        return answer

    async def _exited(self) -> None:
        """If `relay` is about to exit, wait for its exit, so that the next command can run."""
        if self.is_ending:
            await self.ended.wait()

    # The methods of `Carrier`, by which transports send messages:

    def room(self, id_: int) -> int:
        """Return the number of bytes that a stream can send in one message now."""
        if len(self._outgoing) >= _FULL:
            return 0
        return min(self._session.credit(id_), streams.Data.MAX_BODY)

    def send_data(self, id_: int, data: bytes) -> None:
        """Send data, at most as many bytes as `room` returns."""
        self._send(self._session.data(id_, data))

    def send_eof(self, id_: int) -> None:
        """Send the end of the host's data."""
        self._send(self._session.eof(id_))

    def send_reset(self, id_: int) -> None:
        """Tell the guest to close a stream at once. If the stream is closed, send nothing."""
        self._send(self._session.reset(id_))

    def consumed(self, id_: int, amount: int) -> None:
        """Record that `amount` bytes of a stream were consumed, so that the guest can send more."""
        self._send(self._session.consumed(id_, amount))

    def remove(self, id_: int, removed: Callable[[], None]) -> None:
        """Forget a closed stream, and call `removed` later.

        If this was the last open stream or listener, `relay` exits. Then call `removed` only after
        that, because the machine can run the next command only then.
        """
        self._transports.pop(id_, None)
        self._end_if_unused()
        if self.is_ending:
            self._removed.append(removed)
        else:
            self._loop.call_soon(removed)

    def _end_if_unused(self) -> None:
        self.is_ending = self.is_ending or not (self._transports or self._listeners)
        if self.is_ending:
            self._wake.set()

    def _send(self, frame: bytes) -> None:
        if frame:
            self._outgoing += frame
            self._wake.set()

    async def _run(self) -> None:
        """Exchange messages with the program until it exits, and then end all streams."""
        writing = asyncio.create_task(self._write())
        try:
            async with self._process:
                error = await self._read()
        finally:
            writing.cancel()
            self._exit_due.cancel()
            self.is_ending = True
        for transport in list(self._transports.values()):
            transport.lose(error)
        for answered in self._asked.values():
            if not answered.done():
                answered.set_exception(error)
        self.ended.set()
        for removed in self._removed:
            self._loop.call_soon(removed)

    async def _write(self) -> None:
        """Write messages to `relay`. Close its input when no stream or listener is open."""
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - `_OPTIONS` request standard input
        with suppress(BrokenPipeError):  # the program has exited, which `_read` handles
            while self._outgoing or not (self.is_ending and not self._transports):
                await self._wake.wait()
                self._wake.clear()
                while self._outgoing:
                    data, self._outgoing = bytes(self._outgoing), bytearray()
                    stdin.write(data)
                    await stdin.drain()
                    self._flush_in_turns()
            stdin.close()
            self._exit_due.start(_EXIT_TIMEOUT, self._process.abandon)

    def _flush_in_turns(self) -> None:
        """Let one transport after another send its data, until too much is unsent.

        The next call begins with the transports that had no turn.
        """
        for id_ in list(self._transports):
            if len(self._outgoing) >= _FULL:
                break
            transport = self._transports[id_] = self._transports.pop(id_)
            transport.flush()

    async def _read(self) -> MicroVMError:
        """Handle the messages of the program until it exits. Return the error for open streams."""
        try:
            while chunk := await self._process.stdout.next_chunk():
                self._session.receive_data(bytes(chunk))
                if (fault := self._handle_events()) is not None:
                    return fault
                await asyncio.sleep(0)  # let other tasks run, even if the program sends a flood
            status = await self._process.wait()
        except StartError as error:
            return another_build(_FAILED) if is_missing(error) else error
        except MicroVMError as error:
            return error
        if status == OTHER_SCHEMA:
            return another_build(_FAILED)
        return _failed(EIO, f"`relay` in the guest exited with status {status}")

    def _handle_events(self) -> StreamError | None:
        """Handle the messages that have arrived. Return an error if one is invalid."""
        try:
            while (event := self._session.next_event()) is not None:
                self._handle(event)
        except ProtocolError as error:
            return _failed(EBADMSG, error.message)
        return None

    def _handle(self, event: streams.Message) -> None:
        transport = self._transports.get(event.id)
        answered = self._asked.get(event.id)
        if answered and not answered.done():
            answered.set_result(event)
        if transport is None:
            return
        try:
            match event:
                case streams.Connected() | streams.Accepted():
                    transport.begin()
                case streams.Data(data=data):
                    transport.receive(data)
                case streams.Credit():
                    transport.flush()
                case streams.Eof():
                    transport.receive_eof()
                case streams.Reset():
                    server = transport.get_extra_info("peername")
                    transport.lose(StreamError(ECONNRESET, server))
        except Exception as error:  # a method of the protocol has raised it
            self._loop.call_exception_handler(
                {"message": "error in a protocol", "exception": error, "transport": transport}
            )
            self.send_reset(event.id)
            transport.lose(error)


@asynccontextmanager
async def _limit(timeout: float, failed: Failure) -> AsyncIterator[None]:
    """Context manager: raise a StreamError if its block takes longer than `timeout` seconds.

    :param failed: Function that returns this error for the error number ETIMEDOUT.
    """
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise failed(ETIMEDOUT) from None
        raise


def _failed(errno: int, message: str) -> StreamError:
    return StreamError(errno, "", f"the connections to the guest failed: {message}")
