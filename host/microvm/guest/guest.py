"""A running guest that the host is connected to: its commands, pings and status.

This module does not depend on QEMU. If QEMU fails, the owner of the machine calls
:meth:`Guest.fail` with the reason.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import socket
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from signal import SIGKILL
from typing import Any, TypeVar, Unpack

from microvm.errors import (
    LOOK_AT_CONSOLE,
    Busy,
    ExecTimeout,
    GuestDied,
    GuestUnresponsive,
    MachineError,
)
from microvm.guest.command import Command
from microvm.guest.deadline import Deadline, Timer
from microvm.guest.process import Process
from microvm.guest.request import request_of
from microvm.guest.streams import InputStream
from microvm.guest.timeouts import TIMEOUTS, Timeouts
from microvm.option import ParsedOptions, parse_options
from microvm.options import ExecOptions, Text
from microvm.wire import codec
from microvm.wire.channel import Channel, ChannelFactory
from microvm.wire.session import Session
from microvm.wire.state import SessionState

T = TypeVar("T")


class Guest:
    """A running guest, which runs one command at a time. `connect` starts a session with it.

    When the guest is lost, all callers that wait get an error with the first reason, and so do
    later calls. Most methods raise this `MachineError`, also if the guest is not ready.

    :ivar error: Reason why the guest is lost; None while it runs.
    :ivar defaults: Options that apply to each command that does not set them.
    :ivar on_command: Function that is called with each command at its start, or None.
    """

    def __init__(
        self,
        *,
        defaults: ExecOptions | None = None,
        console_tail: Callable[[], str] = str,
        timeouts: Timeouts = TIMEOUTS,
        session: Callable[[], Session] = Session,
        channel: ChannelFactory = Channel,
    ) -> None:
        """Create a guest without a connection. Errors contain the text that `console_tail` returns.

        The functions `session` and `channel` create the state of its connection.
        """
        self.error: MachineError | None = None
        self.defaults = parse_options(ExecOptions, defaults or {}, "exec")
        self.on_command: Callable[[Command], None] | None = None
        self._console_tail = console_tail
        self._timeouts = timeouts
        self._session = session()
        self._channel = channel(self._session, self._on_event, self._on_lost, self._flush)
        self._loop = asyncio.get_running_loop()
        self._command: Command | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._resumed = False
        self._tokens = itertools.count(1)
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._lost = asyncio.Event()
        self._pongs: dict[int, asyncio.Future[None]] = {}
        self._statuses: list[asyncio.Future[codec.Status]] = []
        self._next_ping = Timer()
        self._pong_due = Deadline()
        self._command_due = Timer()
        self._kill_due = Deadline()
        self._loss_due = Timer()

    async def connect(self, port: socket.socket) -> None:
        """Take ownership of the connected socket `port`, and send `hello` to the guest.

        The guest may not be listening yet.
        """
        await self._channel.connect(port)
        self._channel.write(self._session.hello())

    async def ready(self, timeout: float, *, resume: bool = True) -> None:
        """Wait until the guest answers `hello`; then call `resume`, unless `resume` is False.

        :param resume: True to call `resume` now, False to call it before the first command. Until
            then, processes in the guest remain frozen, and the guest lacks the current time and
            fresh entropy.
        :raises TimeoutError: If no answer arrives in time.
        """
        async with asyncio.timeout(timeout):
            # Do not use asyncio.shield(): in Python 3.14 it logs an error that arrives after the
            # timeout.
            await asyncio.wait([self._ready])
        self._ready.result()
        self._check_alive()
        if resume:
            self.resume()

    def resume(self) -> None:
        """Send the current time and entropy to the guest, which then unfreezes its processes."""
        self._check_alive()
        self._resumed = True
        self._channel.write(self._session.resume())

    def _begin(self) -> None:
        """Call `resume` before the first use of the guest, if `ready` did not call it."""
        if not self._resumed:
            self.resume()

    async def keep(self, timeout: float = TIMEOUTS.ping) -> None:
        """Tell the guest to freeze its processes, so that clones of the saved guest continue them.

        Otherwise the `hello` with which a host begins a session would stop the processes.
        The next call of `resume` unfreezes the processes.
        """
        self._check_alive()
        self._channel.write(self._session.keep())
        await self._ping(timeout)

    def exec(self, argv: Sequence[Text], **options: Unpack[ExecOptions]) -> Process:
        """Start a command. See `MicroVM.exec` for the options, and `_exec` for errors."""
        return self._exec(argv, parse_options(ExecOptions, options, "exec"))

    async def start(self, argv: Sequence[Text], options: ParsedOptions) -> Process:
        """Start a command. If an earlier command was killed, first wait until it has exited."""
        await self.wait_idle()
        return self._exec(argv, options)

    def _exec(self, argv: Sequence[Text], options: ParsedOptions) -> Process:
        """Start a command with parsed options; raise `Busy` if another command runs."""
        self._check_alive()
        if not self._free.is_set():
            raise _busy()
        request, limits = request_of(argv, options, self.defaults)
        self._begin()
        frame = self._session.exec_request(request)
        fed = self._session.takes_stdin
        command = self._command = Command(
            argv or [request.command],
            request,
            stdin=InputStream._new()._init(self._feed, self._stdin_credit) if fed else None,
            consumed=self._consumed,
            max_output=limits.max_output,
        )
        if self.on_command is not None:
            self.on_command(command)
        self._channel.write(frame)
        self._next_ping.start(self._timeouts.ping_interval, self._ask)
        if limits.timeout is not None:
            expire = partial(self._expire, command, limits.timeout, limits.grace)
            self._command_due.start(limits.timeout, expire)
        return Process._new()._init(
            command,
            send_signal=self._signal,
            resize=self._resize,
            abandon=self._abandon,
            dropped=partial(_dropped, weakref.ref(self), weakref.ref(command)),
        )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Context manager for saving the guest: its block starts no command and sends no ping.

        The method `keep` requires this.

        :raises Busy: If a command runs, or another such block is active.
        """
        self._check_alive()
        if not self._free.is_set():
            raise _busy()
        self._begin()  # gives this guest its own entropy, before the guest is saved
        # Encode the message `keep` without sending it. This raises an error if the guest does not
        # support the message.
        self._session.keep()
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    async def wait_idle(self) -> None:
        """Wait for the exit of a command that was killed, or to whose `Process` nobody refers.

        Do not wait for any other command.
        """
        command = self._command
        if command is None:
            return
        if not command.abandoned:
            # The caller may have dropped the `Process`, while a reference cycle, or the traceback
            # of an error that was just handled, still refers to it. So let the event loop run
            # once, and collect cycles. If nothing else refers to it, this kills the command.
            await asyncio.sleep(0)
            gc.collect()
        if command.abandoned:
            # This wait always ends: if the guest does not kill the command in time, the guest
            # counts as lost, which also ends the command.
            await command.ended.wait()

    def _abandon(self, command: Command) -> None:
        if command is self._command:
            command.abandoned = True
            command.release(0)
            self._kill()

    def abandon_soon(self, command: Command) -> None:
        """Kill a command to whose `Process` nobody refers any more. Any thread may call this."""
        if not command.ended.is_set():
            command.abandoned = True
            # a RuntimeError means that the event loop was closed, and so the machine has ended
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._abandon, command)

    async def ping(self, timeout: float = TIMEOUTS.ping) -> None:
        """Send a ping to the guest, and wait at most `timeout` seconds for the answer."""
        await self._free.wait()
        await self._ping(timeout)

    async def _ping(self, timeout: float) -> None:
        self._check_alive()
        token = next(self._tokens)
        self._channel.write(self._session.ping(token))
        pong = self._pongs[token] = self._loop.create_future()
        await self._answer(pong, timeout)

    async def status(self, timeout: float = TIMEOUTS.ping) -> codec.Status:
        """Return the counters of the guest's daemon, which must arrive within `timeout` seconds."""
        await self._free.wait()
        self._check_alive()
        self._channel.write(self._session.status_request())
        status: asyncio.Future[codec.Status] = self._loop.create_future()
        self._statuses.append(status)
        return await self._answer(status, timeout)

    async def _answer(self, future: asyncio.Future[T], timeout: float) -> T:
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise self._unresponsive(f"it did not answer within {timeout:g} s") from None

    def _check_alive(self) -> None:
        if self.error is not None:
            raise self.error
        if self._session.state is SessionState.FINISHED:
            raise self.fail(_goodbye())

    def _on_event(self, event: codec.Message) -> None:
        match event:
            case codec.ExecOutput():
                if self._command and not self._command.feed(event):
                    self._kill()
            case codec.ExecStdinCredit():
                self._flush()
            case codec.ExecStdinClosed():
                if self._command and self._command.stdin:
                    self._command.stdin._refuse()
            case codec.ExecResponse() | codec.ExecFailed():
                if self._command:
                    self._command.finish(event)
                self._command = None
                _cancel(self._next_ping, self._command_due, self._kill_due)
            case codec.Pong(token=token):
                if waiter := self._pongs.pop(token, None):
                    _settle(waiter, None)
                else:
                    self._pong_due.cancel()
                    if self._command:
                        self._next_ping.start(self._timeouts.ping_interval, self._ask)
            case codec.Status():
                _settle(self._statuses.pop(0), event)
            case codec.Ready():
                self._ready.set_result(None)
            case codec.Goodbye():
                self._on_lost(_goodbye())

    def _on_lost(self, error: MachineError) -> None:
        if not isinstance(error, GuestDied):
            self.fail(error)
        elif not self._loss_due.is_running:
            self._loss_due.start(self._timeouts.loss_grace, partial(self.fail, error))

    def fail(self, error: MachineError) -> MachineError:
        """Mark the guest as lost; return the reason: `error`, or the error of an earlier loss."""
        if self.error is not None:
            return self.error
        self.error = error
        self._lost.set()
        _cancel(self._next_ping, self._pong_due, self._command_due, self._kill_due, self._loss_due)
        self._channel.close()
        command, self._command = self._command, None
        if command is not None:
            command.fail(error)
        waiters: list[asyncio.Future[Any]] = [self._ready, *self._pongs.values(), *self._statuses]
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)
        # Mark the exception of the future `_ready` as retrieved. Otherwise asyncio would log it if
        # no task waits for the future.
        self._ready.exception()
        return error

    async def wait_lost(self) -> MachineError:
        """Wait until the guest is lost, and return the reason."""
        await self._lost.wait()
        assert self.error is not None  # noqa: S101 - it is set before the event
        return self.error

    def _signal(self, signal: int) -> None:
        kill = signal == SIGKILL
        session = self._session
        self._channel.write(session.exec_kill() if kill else session.exec_signal(signal))

    def _resize(self, rows: int, columns: int) -> None:
        self._channel.write(self._session.exec_resize(rows, columns))

    def _consumed(self, stream: codec.Stream, amount: int) -> None:
        self._channel.write(self._session.consumed(stream, amount))

    def _feed(self, data: bytes | memoryview) -> None:
        self._channel.write(*self._session.exec_stdin(data))

    def _flush(self) -> None:
        if self._command and self._command.stdin:
            self._command.stdin._flush()

    def _stdin_credit(self) -> int:
        # A hostile guest may allow the host to send gigabytes, and then read nothing. So send
        # nothing while the host's write buffer is full. Otherwise that buffer would grow without
        # limit.
        return 0 if self._channel.is_full else self._session.stdin_credit

    def _expire(self, command: Command, timeout: float, grace: float | None) -> None:
        command.mark_killed(ExecTimeout(command.name, timeout))
        if grace:
            self._channel.write(self._session.exec_terminate())
            self._command_due.start(grace, self._kill)
        else:
            self._kill()

    def _kill(self) -> None:
        if self._kill_due.is_running:
            return  # the command's remaining output must not extend the time limit for killing it
        self._signal(SIGKILL)
        late = partial(self._unresponsive, "a killed command did not exit")
        self._kill_due.start(self._timeouts.kill, late)

    def _ask(self) -> None:
        self._channel.write(self._session.ping(next(self._tokens)))
        late = partial(self._unresponsive, "it does not answer; has it halted?")
        self._pong_due.start(self._timeouts.ping, late)

    def _unresponsive(self, reason: str) -> MachineError:
        message = f"the guest is not responding: {reason}"
        error = GuestUnresponsive(message, hint=LOOK_AT_CONSOLE, detail=self._console_tail())
        return self.fail(error)


def _goodbye() -> GuestDied:
    return GuestDied("the guest shut itself down")


def _busy() -> Busy:
    return Busy("the machine cannot run a command while a checkpoint of it is taken")


def _cancel(*timers: Timer) -> None:
    for timer in timers:
        timer.cancel()


def _settle(waiter: asyncio.Future[T], result: T) -> None:
    # If the task that waited for the future was cancelled, the future is already done, and setting
    # its result would raise an error.
    if not waiter.done():
        waiter.set_result(result)


def _dropped(guest: weakref.ref[Guest], command: weakref.ref[Command]) -> None:
    """Kill a command to whose `Process` nobody refers any more.

    The parameters are weak references. If they were strong, an error that is stored in the guest or
    the command could keep the `Process` alive forever, because its traceback refers to frames.
    """
    if (owner := guest()) is not None and (dropped := command()) is not None:
        owner.abandon_soon(dropped)
