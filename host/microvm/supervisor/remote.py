"""A `RemoteGuest` is the guest of another process, the supervisor of a named machine."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from io import FileIO
from subprocess import PIPE
from typing import Any, Protocol, Unpack

from microvm.error_json import from_json
from microvm.errors import (
    ExecKilled,
    MachineError,
    MicroVMError,
    ProtocolError,
    UsageError,
)
from microvm.guest.command import Command
from microvm.guest.process import Process
from microvm.guest.request import request_of
from microvm.guest.timeouts import TIMEOUTS, Timeouts
from microvm.option import options_of
from microvm.options import ExecOptions, Text, to_bytes
from microvm.supervisor import client, wire
from microvm.supervisor.conversation import Conversation
from microvm.supervisor.pipes import Inlet, Outlet
from microvm.supervisor.runtime import FACTS, Runtime
from microvm.threads import in_thread
from microvm.wire import codec
from microvm.wire.session import WINDOW


class Supervisor(Protocol):
    """The way to a supervisor."""

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> socket.socket:
        """Connect to it, and send it a request; this may take a while.

        :raises MicroVMError: it is not there.
        """
        ...

    def lost(self) -> MachineError:
        """Return why it has gone."""
        ...

    def silent(self) -> MachineError:
        """Return the error for one that does not answer."""
        ...


class Named:
    """The way to the supervisor of the machine that has this name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> socket.socket:
        """Connect to it, and send it a request; see `Supervisor.ask`."""
        connection = client.connect_again(self._name)
        try:
            connection.send({"wire": wire.WIRE, **request}, descriptors)
        except BaseException:
            connection.socket.close()
            raise
        return connection.socket

    def lost(self) -> MachineError:
        """Return why it has gone."""
        return client.ended(self._name)

    def silent(self) -> MachineError:
        """Return the error for one that does not answer."""
        return client.silent(self._name)


def find(name: str) -> tuple[str, dict[str, Any]]:
    """Return the whole name of a machine that lives, and what its supervisor has written of it.

    :raises MicroVMError: there is none, or it is gone; says why.
    """
    with Runtime() as runtime, runtime.open(name) as place:
        if not place.lives():
            raise place.error()
        facts = place.read(FACTS)
        if not facts:
            message = f"machine {place.name} is only just being started"
            raise MicroVMError(message, hint="try again when `microvm start` has printed its name")
        return place.name, facts


class RemoteGuest:
    """An executor of commands; each call of it is a connection of its own.

    :ivar defaults: what a command has unless its caller says something else.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        defaults: ExecOptions | None = None,
        wait: bool = False,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        """Prepare one.

        :param wait: whether to wait for its turn while somebody else's command runs.
        """
        self.defaults: ExecOptions = defaults or {}
        self._supervisor = supervisor
        self._wait = wait
        self._timeouts = timeouts
        self._closed = False
        self._commands: set[_Running] = set()
        self._opening: set[asyncio.Future[_Running]] = set()
        self._left: set[asyncio.Future[_Running]] = set()
        self._calls: set[_Call] = set()

    async def start(self, argv: Sequence[Text], **options: Unpack[ExecOptions]) -> Process:
        """Start a command; see `MicroVM.exec`."""
        request, _ = request_of(argv, options)
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
        connection = await self._ask({"call": name, **arguments})
        call = _Call(connection, self._supervisor, self._timeouts)
        self._calls.add(call)
        if self._closed:  # meanwhile
            call.fail(_detached())
        try:
            return await call.answer()
        except asyncio.CancelledError:
            await call.take_back()
            raise
        finally:
            self._calls.discard(call)
            call.close()

    async def close(self) -> None:
        """Kill what runs here, and let go of the machine; idempotent."""
        self._closed = True
        for call in self._calls:
            call.fail(_detached())
        for opening in self._opening:
            self._leave(opening)
        for running in list(self._commands):
            running.abandon()
        await self._gone()

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
        self, argv: Sequence[Text], request: codec.ExecRequest, options: ExecOptions
    ) -> _Running:
        fed = request.stdin_from == codec.StdinKind.HOST or request.rows > 0
        told = {**options, "stdin": PIPE if fed else None}
        asked = {
            "call": "exec",
            "argv": [wire.plain(to_bytes(argument)) for argument in argv],
            "options": {
                name: wire.plain(options_of(ExecOptions)[name].check(value))
                for name, value in told.items()
                if value is not None
            },
        }
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
    ) -> _Running:
        with ExitStack() as ours, ExitStack() as theirs:
            source, sink = _pipe(theirs, ours)
            (output, out), (errors, err) = _pipe(ours, theirs), _pipe(ours, theirs)
            if not fed:
                sink.close()
            connection = await self._ask(asked, [source, out, err], theirs.pop_all())
            running = _Running(
                argv or [request.command],
                request,
                connection,
                self._supervisor,
                self._timeouts,
                stdin=Inlet(sink) if fed else None,
                output={codec.Stream.STDOUT: output, codec.Stream.STDERR: errors},
                ended=self._commands.discard,
            )
            ours.pop_all()
        self._commands.add(running)
        return running

    def _leave(self, opening: asyncio.Future[_Running]) -> None:
        """Take a command back, as soon as it has been asked for."""
        self._left.add(opening)
        opening.add_done_callback(self._take_back)

    def _take_back(self, opening: asyncio.Future[_Running]) -> None:
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
            if self._closed:
                raise _detached()
            whole = {**request, "wait": self._wait}
            asking = asyncio.ensure_future(
                in_thread(_ask, self._supervisor, whole, files, unsent.pop_all())
            )
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(_close_result)
            raise


def _ask(
    supervisor: Supervisor, request: Mapping[str, Any], files: Sequence[FileIO], owner: ExitStack
) -> socket.socket:
    with owner:  # in this thread: whoever waits for it may be cancelled
        return supervisor.ask(request, [file.fileno() for file in files])


def _pipe(reads: ExitStack, writes: ExitStack) -> tuple[FileIO, FileIO]:
    """Return the two ends of a pipe, with their owners."""
    reader, writer = os.pipe()
    return (
        reads.enter_context(FileIO(reader, "r")),
        writes.enter_context(FileIO(writer, "w")),
    )


class _Call:
    """A call that is not a command, and its answer."""

    def __init__(
        self, connection: socket.socket, supervisor: Supervisor, timeouts: Timeouts
    ) -> None:
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._conversation = Conversation(
            connection,
            on_line=self._on_line,
            on_end=lambda: self.fail(supervisor.lost()),
            on_silence=lambda: self.fail(supervisor.silent()),
            timeouts=timeouts,
        )

    async def answer(self) -> tuple[Any, list[int]]:
        result = await self._answer
        taken, self._conversation.descriptors = self._conversation.descriptors, []
        return result, taken

    def fail(self, error: MicroVMError) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)

    async def take_back(self) -> None:
        """Have the supervisor give it up, and wait until it has."""
        self._answer = asyncio.get_running_loop().create_future()
        self._conversation.take_back()
        await asyncio.wait([self._answer])
        self._answer.exception()

    def close(self) -> None:
        self._conversation.close()

    def _on_line(self, line: dict[str, Any]) -> None:
        if "error" in line:
            self.fail(from_json(line["error"]))
        elif "result" in line and not self._answer.done():
            self._answer.set_result(line["result"])


class _Running:
    """A command that a supervisor runs for us.

    It has ended when the supervisor has said how, and all of its output has come.
    """

    def __init__(
        self,
        args: Sequence[Text],
        request: codec.ExecRequest,
        connection: socket.socket,
        supervisor: Supervisor,
        timeouts: Timeouts,
        *,
        stdin: Inlet | None,
        output: Mapping[codec.Stream, FileIO],
        ended: Callable[[_Running], None],
    ) -> None:
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._has_started = False
        self._loop = asyncio.get_running_loop()
        self._ended = ended
        self._stdin = stdin
        self._outlets = {stream: Outlet(file, self._settle) for stream, file in output.items()}
        self.command = Command(
            args,
            request,
            stdin=None if stdin is None else stdin.stream,
            consumed=lambda stream, amount: self._outlets[stream].consumed(amount),
            max_output=None,
        )
        self._supervisor = supervisor
        self._reply: int | MicroVMError | None = None
        self._conversation = Conversation(
            connection,
            on_line=self._on_line,
            on_end=self._on_end,
            on_silence=lambda: self._fail(supervisor.silent(), at_once=True),
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
                self.started.set_exception(_detached())
                self.started.exception()  # nobody may be waiting for it any more

    def abandon_soon(self) -> None:
        """Kill what nobody can wait for any more; this is called in any thread."""
        if not self.command.ended.is_set():
            self.command.abandoned = True
            with suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self.abandon)

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
        self._fail(_detached() if taken_back else self._supervisor.lost())

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
        if isinstance(self._reply, MicroVMError):
            self.command.fail(self._reply)
        else:
            self.command.exit(self._reply)
        if self._stdin is not None:
            self._stdin.close()
        self._ended(self)


def _check(message: codec.ExecSignal | codec.ExecResize, wrong: str) -> None:
    try:
        message.encode()
    except codec.EncodeError:
        raise UsageError(wrong) from None


def _close_result(asking: asyncio.Future[socket.socket]) -> None:
    """Close a connection for which nobody waits any more."""
    if not asking.cancelled() and asking.exception() is None:
        asking.result().close()


def _dropped(running: weakref.ref[_Running]) -> None:
    if (left := running()) is not None:
        left.abandon_soon()


def _detached() -> UsageError:
    return UsageError("this has let go of the machine", hint="attach to it anew")


def _wrong() -> ProtocolError:
    return ProtocolError("the process that has the machine says what makes no sense")
