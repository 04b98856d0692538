"""A running guest that the host is connected to: its commands, pings and status.

This module does not depend on QEMU. If QEMU fails, the owner of the machine calls
:meth:`Guest.fail` with the reason.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar, Unpack

from microvm.errors import (
    LOOK_AT_CONSOLE,
    Busy,
    GuestDied,
    GuestUnresponsive,
    MachineError,
)
from microvm.guest.command import Command
from microvm.guest.deadline import Deadline, Timer
from microvm.guest.process import Process
from microvm.guest.request import arguments_of, request_of
from microvm.guest.running_command import RunningCommand
from microvm.guest.timeouts import TIMEOUTS, Timeouts
from microvm.guest.turns import Turns
from microvm.option import ParsedOptions, parse_options
from microvm.options import Argv, ExecOptions
from microvm.wire import codec
from microvm.wire.channel import Channel, ChannelFactory
from microvm.wire.session import Session
from microvm.wire.state import SessionState

T = TypeVar("T")


class Guest:
    """A running guest, which runs commands. `connect` starts a session with it.

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
        self.waits = False
        self._turns = Turns()
        self._console_tail = console_tail
        self._timeouts = timeouts
        self._session = session()
        self._channel = channel(self._session, self._on_event, self._on_lost, self._flush)
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, RunningCommand] = {}
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
        self._loss_due = Timer()

    @property
    def commands(self) -> int:
        """Maximum number of commands that run at once. Set it only while no command runs."""
        return self._session.commands

    @commands.setter
    def commands(self, commands: int) -> None:
        self._session.commands = commands

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

    async def keep(self, timeout: float | None = None) -> None:
        """Tell the guest to freeze its processes, so that clones of the saved guest continue them.

        Otherwise the `hello` with which a host begins a session would stop the processes.
        The next call of `resume` unfreezes the processes.
        """
        self._check_alive()
        self._channel.write(self._session.keep())
        await self._ping(timeout)

    def exec(self, argv: Argv, **options: Unpack[ExecOptions]) -> Process:
        """Start a command. See `MicroVM.exec` for the options, and `_exec` for errors."""
        return self._exec(argv, parse_options(ExecOptions, options, "exec"))

    async def start(self, argv: Argv, options: ParsedOptions) -> Process:
        """Start a command. If too many run, first wait until abandoned commands have exited.

        If `waits` is True, wait until any command has exited, and earlier requests have started.
        """
        async with self._turn(lambda: self._session.has_room(beside=self.commands > 1)):
            return self._exec(argv, options)

    @asynccontextmanager
    async def idle(self) -> AsyncIterator[None]:
        """Context manager for saving the guest: wait until all abandoned commands have exited.

        If `waits` is True, wait for all commands. Later requests then wait until the block ends.
        """
        async with self._turn(lambda: not self._running):
            yield

    @asynccontextmanager
    async def _turn(self, has_room: Callable[[], bool]) -> AsyncIterator[None]:
        await self._wait_abandoned(has_room)
        if not self.waits:
            yield
            return
        async with self._turns.turn(
            lambda: self.error is not None or (has_room() and self._free.is_set())
        ):
            yield

    def _exec(self, argv: Argv, options: ParsedOptions) -> Process:
        """Start a command with parsed options. Raise `Busy` if too many commands run already."""
        self._check_alive()
        if not self._free.is_set():
            raise _busy()
        argv = arguments_of(argv, options)
        request, limits = request_of(argv, options, self.defaults, beside=self.commands > 1)
        self._begin()
        conversation, frame = self._session.exec_request(request)
        running = RunningCommand(
            argv or [request.command],
            request,
            conversation,
            self._channel,
            limits,
            kill_timeout=self._timeouts.kill,
            on_late=self._unresponsive,
        )
        if self.on_command is not None:
            self.on_command(running.command)
        self._channel.write(frame)
        if not self._running:
            self._next_ping.start(self._timeouts.ping_interval, self._ask)
        self._running[conversation.id] = running
        return running.process()

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
            self._turns.recheck()

    async def _wait_abandoned(self, is_enough: Callable[[], bool]) -> None:
        """Wait until abandoned commands have exited, or until `is_enough` returns True.

        A command is abandoned if its `Process` was dropped, or if `Process.abandon` was called.
        """
        for dropped in (False, True):
            if dropped and not is_enough():
                # A `Process` that the caller has dropped may still be referred to by a reference
                # cycle, or by the traceback of an error that was just handled. So let the event
                # loop run once, and collect cycles. This deletes the `Process`, and so kills its
                # command.
                await asyncio.sleep(0)
                gc.collect()
            while not is_enough() and (command := self._abandoned()) is not None:
                # This wait needs no time limit of its own: if the guest does not kill the command
                # in time, the host gives up the guest, and this ends the command, too.
                await command.ended.wait()

    def _abandoned(self) -> Command | None:
        """Return an abandoned command that has not exited yet, or None if all have exited."""
        commands = (running.command for running in self._running.values())
        return next((command for command in commands if command.abandoned), None)

    async def ping(self, timeout: float | None = None) -> None:
        """Send a ping to the guest, and wait at most `timeout` seconds for the answer.

        If `timeout` is None, the limit is that of the pings that are sent while a command runs.
        """
        await self._free.wait()
        await self._ping(timeout)

    async def _ping(self, timeout: float | None) -> None:
        self._check_alive()
        token = next(self._tokens)
        self._channel.write(self._session.ping(token))
        pong = self._pongs[token] = self._loop.create_future()
        await self._answer(pong, timeout)

    async def status(self, timeout: float | None = None) -> codec.Status:
        """Return the counters of the guest's daemon, which must arrive within `timeout` seconds.

        If `timeout` is None, the limit is that of a ping.
        """
        await self._free.wait()
        self._check_alive()
        self._channel.write(self._session.status_request())
        status: asyncio.Future[codec.Status] = self._loop.create_future()
        self._statuses.append(status)
        return await self._answer(status, timeout)

    async def _answer(self, future: asyncio.Future[T], timeout: float | None) -> T:
        if timeout is None:
            timeout = self._timeouts.ping
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
            case codec.ExecOutput() | codec.ExecStdinCredit() | codec.ExecStdinClosed():
                self._running[event.id].hear(event)
            case codec.ExecResponse() | codec.ExecFailed():
                self._running[event.id].hear(event)
                del self._running[event.id]
                self._turns.recheck()
                if not self._running:
                    self._next_ping.cancel()
            case codec.Pong(token=token):
                if waiter := self._pongs.pop(token, None):
                    _settle(waiter, None)
                else:
                    self._pong_due.cancel()
                    if self._running:
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
        for timer in (self._next_ping, self._pong_due, self._loss_due):
            timer.cancel()
        self._channel.close()
        lost, self._running = self._running, {}
        for running in lost.values():
            running.fail(error)
        self._turns.recheck()
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

    def _flush(self) -> None:
        """Send the commands' queued standard input, because the write buffer has room again.

        Begin with the command that has waited longest for its turn, so that all of them get a turn.
        """
        for id_ in list(self._running):
            if self._channel.is_full:
                return
            running = self._running[id_] = self._running.pop(id_)
            running.flush()

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


def _settle(waiter: asyncio.Future[T], result: T) -> None:
    # If the task that waited for the future was cancelled, the future is already done, and setting
    # its result would raise an error.
    if not waiter.done():
        waiter.set_result(result)
