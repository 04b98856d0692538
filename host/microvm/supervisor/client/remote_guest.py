"""A `RemoteGuest` is the guest of another process, the supervisor of a named machine."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence, Set
from contextlib import ExitStack
from io import FileIO
from subprocess import PIPE
from typing import Any

from microvm.concurrency.tasks import check_loop, running_loop
from microvm.concurrency.threads import in_thread
from microvm.errors import MicroVMError
from microvm.guest.process import Process
from microvm.guest.request import request_of
from microvm.guest.timeouts import TIMEOUTS, Timeouts
from microvm.option import ParsedOptions, options_of
from microvm.options import ExecOptions, Text, to_bytes
from microvm.supervisor import wire
from microvm.supervisor.client.connector import Connector, detached
from microvm.supervisor.client.pipes import InputPipe
from microvm.supervisor.client.remote_command import RemoteCall, RemoteCommand
from microvm.wire import codec


class RemoteGuest:
    """An executor of commands; each call of it is a connection of its own.

    :ivar defaults: what a command has unless its caller says something else.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        defaults: Mapping[str, Any] | None = None,
        wait: bool = False,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        """Prepare one.

        :param wait: whether to wait for its turn while somebody else's command runs.
        """
        self.defaults: Mapping[str, Any] = defaults or {}
        self._connector = connector
        self._wait = wait
        self._timeouts = timeouts
        self._closed: Callable[[], MicroVMError] | None = None
        self._commands: set[RemoteCommand] = set()
        self._opening: set[asyncio.Future[RemoteCommand]] = set()
        self._left: set[asyncio.Future[RemoteCommand]] = set()
        self._calls: set[RemoteCall] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._until_loop_ends: AsyncGenerator[None, None] | None = None

    async def start(self, argv: Sequence[Text], options: ParsedOptions) -> Process:
        """Start a command; see `MicroVM.exec`."""
        request, _ = request_of(argv, options)
        self._check_loop()
        await self._wait_idle()
        running = await self._begin(argv, request, options)
        return running.process()

    async def ping(self, timeout: float = TIMEOUTS.ping) -> None:
        """Ask the guest whether it is alive; see `MicroVM.ping`."""
        await self.call("status", timeout=timeout)

    async def status(self, timeout: float = TIMEOUTS.ping) -> codec.Status:
        """Return the daemon's counters; see `MicroVM.status`."""
        return codec.Status(**await self.call("status", timeout=timeout))

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """Have the supervisor do something, and return what comes of it.

        :raises MicroVMError: what it raises there.
        """
        answer, descriptors = await self.call_for_files(name, **arguments)
        for descriptor in descriptors:
            os.close(descriptor)
        return answer

    async def call_for_files(self, name: str, /, **arguments: Any) -> tuple[Any, list[int]]:
        """Do as `call`, and return what files come with the answer, too; the caller closes them."""
        self._check_loop()
        connection = await self._ask({"call": name, **arguments})
        call = RemoteCall(connection, self._connector, self._timeouts)
        self._calls.add(call)
        if self._closed is not None:  # meanwhile
            call.fail(self._closed())
        try:
            return await call.answer()
        except asyncio.CancelledError:
            await call.take_back()
            raise
        finally:
            self._calls.discard(call)
            call.close()

    async def close(self, why: Callable[[], MicroVMError] = detached) -> None:
        """Kill what runs here, and let go of the machine; idempotent.

        :param why: returns the error for what is asked afterwards.
        """
        if self._closed is None:
            self._check_loop()
            self._closed = why
        for call in self._calls:
            call.fail(self._closed())
        for opening in self._opening:
            self._leave(opening)
        for running in list(self._commands):
            running.abandon()
        await self._gone()
        if self._until_loop_ends is not None:
            await self._until_loop_ends.aclose()

    def _check_loop(self) -> None:
        """See that the running loop is the one that we have begun in."""
        self._loop = self._loop or running_loop("machine")
        check_loop("machine", self._loop)

    async def _wait_idle(self) -> None:
        """Wait until commands of ours that were abandoned are gone; see `Guest.wait_idle`."""
        if any(not running.command.abandoned for running in self._commands):
            await asyncio.sleep(0)
            gc.collect()
        await self._gone()

    async def _gone(self) -> None:
        """Wait until what was abandoned is gone; a kill has a deadline, and so have supervisors."""
        if self._left:
            await asyncio.wait(list(self._left))
        for running in list(self._commands):
            if running.command.abandoned:
                await running.command.ended.wait()

    async def _begin(
        self, argv: Sequence[Text], request: codec.ExecRequest, options: ParsedOptions
    ) -> RemoteCommand:
        fed = request.stdin_from == codec.StdinKind.HOST or request.rows > 0
        # `run` has further options, which the supervisor does not know.
        told = {name: options[name] for name in options_of(ExecOptions) if name in options.given}
        told["stdin"] = PIPE if fed else None
        asked = {
            "call": "exec",
            "argv": [wire.plain(to_bytes(argument)) for argument in argv],
            "options": {
                name: wire.plain(value) for name, value in told.items() if value is not None
            },
        }
        if self._until_loop_ends is None:
            self._until_loop_ends = _until_loop_ends(self._commands)
            await anext(self._until_loop_ends)
        # It is not cancelled: what has been asked for can only be taken back when that is known.
        opening = asyncio.ensure_future(self._open(argv, request, asked, fed=fed))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            running = await asyncio.shield(opening)
            await running.started
        except asyncio.CancelledError:
            self._leave(opening)
            raise
        return running

    async def _open(
        self,
        argv: Sequence[Text],
        request: codec.ExecRequest,
        asked: Mapping[str, Any],
        *,
        fed: bool,
    ) -> RemoteCommand:
        with ExitStack() as ours, ExitStack() as theirs:
            source, sink = _pipe(theirs, ours)
            (output, out), (errors, err) = _pipe(ours, theirs), _pipe(ours, theirs)
            if not fed:
                sink.close()
            connection = await self._ask(asked, [source, out, err], theirs.pop_all())
            running = RemoteCommand(
                argv or [request.command],
                request,
                connection,
                self._connector,
                self._timeouts,
                stdin=InputPipe(sink) if fed else None,
                output={codec.Stream.STDOUT: output, codec.Stream.STDERR: errors},
                ended=self._commands.discard,
            )
            ours.pop_all()
        self._commands.add(running)
        return running

    def _leave(self, opening: asyncio.Future[RemoteCommand]) -> None:
        """Take a command back, as soon as it has been asked for."""
        self._left.add(opening)
        opening.add_done_callback(self._take_back)

    def _take_back(self, opening: asyncio.Future[RemoteCommand]) -> None:
        self._left.discard(opening)
        if not opening.cancelled() and opening.exception() is None:
            opening.result().abandon()

    async def _ask(
        self,
        request: Mapping[str, Any],
        files: Sequence[FileIO] = (),
        owner: ExitStack | None = None,
    ) -> socket.socket:
        """Connect, and send a request; its files are closed by `owner`, which nobody else has."""
        with owner or ExitStack() as unsent:
            if self._closed is not None:
                raise self._closed()
            whole = {**request, "wait": self._wait}
            asking = asyncio.ensure_future(
                in_thread(_ask, self._connector, whole, files, unsent.pop_all())
            )
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(_close_result)
            raise


async def _until_loop_ends(commands: Set[RemoteCommand]) -> AsyncGenerator[None, None]:
    """Yield once, and end what runs when a loop that ends closes this.

    By then all of its tasks have ended: nobody can wait for these commands, or end them, any more.
    """
    try:
        yield
    finally:
        for running in list(commands):
            running.leave()


def _ask(
    connector: Connector, request: Mapping[str, Any], files: Sequence[FileIO], owner: ExitStack
) -> socket.socket:
    with owner:  # in this thread: whoever waits for it may be cancelled
        return connector.ask(request, [file.fileno() for file in files])


def _pipe(reads: ExitStack, writes: ExitStack) -> tuple[FileIO, FileIO]:
    """Return the two ends of a pipe, with their owners."""
    reader, writer = os.pipe()
    return (
        reads.enter_context(FileIO(reader, "r")),
        writes.enter_context(FileIO(writer, "w")),
    )


def _close_result(asking: asyncio.Future[socket.socket]) -> None:
    """Close a connection for which nobody waits any more."""
    if not asking.cancelled() and asking.exception() is None:
        asking.result().close()
