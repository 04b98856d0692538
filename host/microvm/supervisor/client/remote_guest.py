"""The guest of a named machine, to which requests are sent through the machine's supervisor."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence, Set
from contextlib import ExitStack
from io import FileIO
from subprocess import PIPE
from typing import Any, TypeVar

from microvm.concurrency.tasks import check_loop, running_loop
from microvm.concurrency.threads import in_thread
from microvm.errors import MicroVMError
from microvm.guest.process import Process
from microvm.guest.request import arguments_of, request_of
from microvm.guest.timeouts import TIMEOUTS, Timeouts
from microvm.option import ParsedOptions, options_of, parse_options
from microvm.options import Argv, ExecOptions, Text, to_bytes
from microvm.supervisor import wire
from microvm.supervisor.client.connector import Connector, detached
from microvm.supervisor.client.detached import DetachedProcess, RemoteDetachedCommand
from microvm.supervisor.client.pipes import InputPipe
from microvm.supervisor.client.remote_command import RemoteCall, RemoteCommand
from microvm.wire import codec

C = TypeVar("C", bound=RemoteCommand)


class RemoteGuest:
    """A named machine's guest. Each request has its own connection to the machine's supervisor."""

    def __init__(
        self,
        connector: Connector,
        *,
        defaults: Mapping[str, Any] | None = None,
        wait: bool = False,
        max_commands: int = 1,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        """Open connections to the supervisor with `connector`, one for each request.

        :param wait: True if commands wait in the queue of a busy machine; False if they fail with
            Busy.
        :param max_commands: maximum number of commands that the machine runs at the same time.
        """
        self.defaults: Mapping[str, Any] = defaults or {}
        self._connector = connector
        self._wait = wait
        self._max_commands = max_commands
        self._timeouts = timeouts
        self._closed: Callable[[], MicroVMError] | None = None
        self._commands: set[RemoteCommand] = set()
        self._opening: set[asyncio.Future[Any]] = set()
        self._left: set[asyncio.Future[Any]] = set()
        self._calls: set[RemoteCall] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._until_loop_ends: AsyncGenerator[None, None] | None = None

    async def start(self, argv: Argv, options: ParsedOptions) -> Process:
        """Start a command; see `MicroVM.exec`."""
        argv = arguments_of(argv, options)
        request, _ = request_of(argv, options)
        self._check_loop()
        await self._wait_idle()
        fields, fed = _exec_fields(argv, request, options)
        running = await self._begin(argv or [request.command], request, fields, fed, RemoteCommand)
        return running.process()

    async def start_detached(self, argv: Argv, options: ParsedOptions) -> DetachedProcess:
        """Start a detached command; see `AttachedVM.exec`."""
        argv = arguments_of(argv, options)
        request, _ = request_of(argv, options)
        self._check_loop()
        await self._wait_idle()
        fields, fed = _exec_fields(argv, request, options)
        started = await self.call(fields.pop("call"), **fields, detach=True)
        return await self._attach(started["id"], argv or [request.command], request, fed=fed)

    async def find(self, number: int, *, fed: bool) -> DetachedProcess:
        """Attach to a detached command; see `AttachedVM.process`."""
        known = await self.call("command", id=number)
        request, _ = request_of(known["args"], parse_options(ExecOptions, {}, "exec"))
        return await self._attach(number, known["args"], request, fed=fed)

    async def _attach(
        self, number: int, args: Sequence[Text], request: codec.ExecRequest, *, fed: bool
    ) -> DetachedProcess:
        fields = {"call": "attach", "id": number, "input": fed, "recent": True, "follow": True}
        running = await self._begin(args, request, fields, fed, RemoteDetachedCommand)
        return running.detached_process(number)

    async def ping(self, timeout: float | None = None) -> None:
        """Send a ping to the guest, and wait for its answer; see `MicroVM.ping`."""
        await self.call("status", timeout=timeout)

    async def status(self, timeout: float | None = None) -> codec.Status:
        """Return the counters of `sandboxd`, the guest's daemon; see `MicroVM.status`."""
        return codec.Status(**await self.call("status", timeout=timeout))

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """Send a request named `name`, of `supervisor.handlers`, and return its result."""
        answer, descriptors = await self.call_for_files(name, **arguments)
        for descriptor in descriptors:
            os.close(descriptor)
        return answer

    async def call_for_files(self, name: str, /, **arguments: Any) -> tuple[Any, list[int]]:
        """Send a request to the supervisor, and return its result and the files that it sent.

        The caller closes the descriptors.
        """
        self._check_loop()
        connection = await self._ask({"call": name, **arguments})
        call = RemoteCall(connection, self._connector, self._timeouts)
        self._calls.add(call)
        if self._closed is not None:  # `close` was called while this thread connected
            call.fail(self._closed())
        try:
            return await call.answer()
        except asyncio.CancelledError:
            await call.cancel()
            raise
        finally:
            self._calls.discard(call)
            call.close()

    async def close(self, why: Callable[[], MicroVMError] = detached) -> None:
        """Kill this object's commands, and disconnect; later requests raise the error of `why`.

        Further calls have no effect.
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
        await self._wait_killed()
        if self._until_loop_ends is not None:
            await self._until_loop_ends.aclose()

    def _check_loop(self) -> None:
        """Raise an error if this request is made in another event loop than the first one."""
        self._loop = self._loop or running_loop("machine")
        check_loop("machine", self._loop)

    async def _wait_idle(self) -> None:
        """Wait until the abandoned commands of this object are killed; see `Guest.idle`.

        Wait for all of them, even if the machine may have a free slot: other clients use its slots,
        too, so only the supervisor knows whether a slot is free.
        """
        running = sum(not each.command.abandoned for each in self._commands)
        if running >= self._max_commands:
            await asyncio.sleep(0)
            gc.collect()
        await self._wait_killed()

    async def _wait_killed(self) -> None:
        """Wait until abandoned commands are killed, or the timeouts of their connections end."""
        if self._left:
            await asyncio.wait(list(self._left))
        for running in list(self._commands):
            if running.command.abandoned:
                await running.command.ended.wait()

    async def _begin(
        self,
        args: Sequence[Text],
        request: codec.ExecRequest,
        fields: Mapping[str, Any],
        fed: bool,
        kind: type[C],
    ) -> C:
        if self._until_loop_ends is None:
            self._until_loop_ends = _until_loop_ends(self._commands)
            await anext(self._until_loop_ends)
        # A request can only be cancelled after it was sent. So if this method is cancelled, this
        # task continues until then, and `_leave` cancels the request.
        opening = asyncio.ensure_future(self._open(args, request, fields, fed, kind))
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
        args: Sequence[Text],
        request: codec.ExecRequest,
        fields: Mapping[str, Any],
        fed: bool,
        kind: type[C],
    ) -> C:
        with ExitStack() as kept, ExitStack() as passed:
            source, sink = _pipe(passed, kept)
            (output, out), (errors, err) = _pipe(kept, passed), _pipe(kept, passed)
            if not fed:
                sink.close()
            connection = await self._ask(fields, [source, out, err], passed.pop_all())
            running = kind(
                args,
                request,
                connection,
                self._connector,
                self._timeouts,
                stdin=InputPipe(sink) if fed else None,
                output={codec.Stream.STDOUT: output, codec.Stream.STDERR: errors},
                ended=self._commands.discard,
            )
            kept.pop_all()
        self._commands.add(running)
        return running

    def _leave(self, opening: asyncio.Future[C]) -> None:
        """Cancel the command that `opening` starts, as soon as its request has been sent."""
        self._left.add(opening)
        opening.add_done_callback(self._abandon)

    def _abandon(self, opening: asyncio.Future[C]) -> None:
        self._left.discard(opening)
        if not opening.cancelled() and opening.exception() is None:
            opening.result().abandon()

    async def _ask(
        self,
        request: Mapping[str, Any],
        files: Sequence[FileIO] = (),
        owner: ExitStack | None = None,
    ) -> socket.socket:
        """Connect, send a request with open `files`, and return the connected socket.

        :param owner: Exit stack that closes the files. It is closed when they were sent.
        """
        with owner or ExitStack() as unsent:
            if self._closed is not None:
                raise self._closed()
            fields = {**request, "wait": self._wait}
            asking = asyncio.ensure_future(
                in_thread(_ask, self._connector, fields, files, unsent.pop_all())
            )
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(_close_result)
            raise


def _exec_fields(
    argv: Sequence[Text], request: codec.ExecRequest, options: ParsedOptions
) -> tuple[dict[str, Any], bool]:
    """Return the fields of a request to run a command, and True if it gets input."""
    fed = request.stdin_from == codec.StdinKind.HOST or request.rows > 0
    # Send only the options of `exec`, because the supervisor does not know the other options of
    # `run`.
    given = {name: options[name] for name in options_of(ExecOptions) if name in options.given}
    given["stdin"] = PIPE if fed else None
    given["shell"] = None  # `argv` already contains the shell
    given = {name: wire.plain(value) for name, value in given.items() if value is not None}
    arguments = [wire.plain(to_bytes(argument)) for argument in argv]
    return {"call": "exec", "argv": arguments, "options": given}, fed


async def _until_loop_ends(commands: Set[RemoteCommand]) -> AsyncGenerator[None, None]:
    """Yield once, and kill the commands when the event loop shuts down and closes this generator.

    All tasks of the loop have ended by then, so nobody waits for the commands any more.
    """
    try:
        yield
    finally:
        for running in list(commands):
            running.leave()


def _ask(
    connector: Connector, request: Mapping[str, Any], files: Sequence[FileIO], owner: ExitStack
) -> socket.socket:
    with owner:  # closes the files in this thread; the waiting task may be cancelled before
        return connector.ask(request, [file.fileno() for file in files])


def _pipe(reads: ExitStack, writes: ExitStack) -> tuple[FileIO, FileIO]:
    """Create a pipe, add each end to the stack that closes it, and return the two ends."""
    reader, writer = os.pipe()
    return reads.enter_context(FileIO(reader, "r")), writes.enter_context(FileIO(writer, "w"))


def _close_result(asking: asyncio.Future[socket.socket]) -> None:
    """Close the connection that `asking` has opened, because the task that waited is cancelled."""
    if not asking.cancelled() and asking.exception() is None:
        asking.result().close()
