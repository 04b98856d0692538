"""A `Guest` is the live guest behind a port: it runs commands, answers pings, and may be lost.

It knows nothing of QEMU: whoever owns the machine says how it ended, by :meth:`Guest.fail`.
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

from microvm.errors import LOOK_AT_CONSOLE, Busy, GuestDied, GuestUnresponsive, MachineError
from microvm.guest.command import Command
from microvm.guest.deadline import Deadline, Timer
from microvm.guest.process import Process
from microvm.guest.request import request_of
from microvm.guest.streams import InputStream
from microvm.guest.timeouts import TIMEOUTS, Timeouts
from microvm.options import ExecOptions, Text
from microvm.wire import codec
from microvm.wire.channel import Channel, ChannelFactory
from microvm.wire.session import Session

T = TypeVar("T")


class Guest:
    """A guest runs one command at a time; `connect` greets it, `ready` waits for its answer.

    The first reason for which it is lost counts: everyone who waits for something from this guest
    gets it raised.

    :ivar error: why it is lost, if it is.
    :ivar defaults: what a command has unless its caller says something else.
    :ivar on_command: called with each command that begins; None: nobody is told.
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
        """Prepare one.

        :param console_tail: gives the detail of errors.
        :param session: makes the conversation, with a clock and entropy of its own.
        :param channel: makes what carries the bytes.
        """
        self.error: MachineError | None = None
        self.defaults: ExecOptions = defaults or {}
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
        """Take over a port and greet the guest, which may not be listening yet."""
        await self._channel.connect(port)
        self._channel.write(self._session.hello())

    async def ready(self, timeout: float, *, resume: bool = True) -> None:
        """Wait for the guest's answer, then have it go on.

        :param resume: False leaves that to `resume`, or what is done first: what was kept stays
            frozen, and where nothing was, what runs nothing needs neither a clock nor entropy.
        :raises TimeoutError: it did not come within `timeout` seconds.
        :raises MachineError: the guest was lost, or is not ours.
        """
        async with asyncio.timeout(timeout):
            # Of a shield, Python 3.14 reports an error that comes when nobody waits any more.
            await asyncio.wait([self._ready])
        self._ready.result()
        self._check_alive()
        if resume:
            self.resume()

    def resume(self) -> None:
        """Tell the guest the time and give it entropy; what was kept then goes on.

        :raises MachineError: it is lost, or not ready.
        """
        self._check_alive()
        self._resumed = True
        self._channel.write(self._session.resume())

    def _begin(self) -> None:
        """Have a guest go on that was left, before anything is done with it."""
        if not self._resumed:
            self.resume()

    async def keep(self, timeout: float = TIMEOUTS.ping) -> None:
        """Freeze what runs, and have the next greeting, whoever's it is, keep it.

        `resume` ends both.

        :param timeout: in seconds.
        :raises Busy: a command is running.
        :raises UsageError: the guest is too old to know how.
        :raises GuestUnresponsive: it did not answer in time.
        :raises MachineError: it is lost, or not ready.
        """
        self._check_alive()
        self._channel.write(self._session.keep())
        await self._ping(timeout)

    async def start(self, argv: Sequence[Text], **options: Unpack[ExecOptions]) -> Process:
        """Start a command, as `exec` does, when one that was abandoned is gone."""
        await self.wait_idle()
        return self.exec(argv, **options)

    def exec(self, argv: Sequence[Text], **options: Unpack[ExecOptions]) -> Process:
        """Start a command; see `MicroVM.exec`.

        :raises Busy: one is in flight.
        :raises UsageError: it cannot be what is meant, or cannot be sent.
        :raises TypeError: there is no such option.
        :raises MachineError: the guest is lost, or not ready.
        """
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
            stdin=InputStream(self._feed, self._stdin_credit) if fed else None,
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
        return Process(
            command,
            send_signal=self._signal,
            resize=self._resize,
            abandon=self._abandon,
            dropped=partial(_dropped, weakref.ref(self), weakref.ref(command)),
        )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Refuse commands, and have pings wait, for as long as the block lasts, which can `keep`.

        :raises Busy: a command runs, or this is done already.
        :raises UsageError: the guest is too old to know how.
        :raises MachineError: it is lost, or not ready.
        """
        self._check_alive()
        if not self._free.is_set():
            raise _busy()
        self._begin()  # one that is kept before stays who it was when it was saved
        self._session.keep()  # what speaks against it is said before anything is done
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    async def wait_idle(self) -> None:
        """Wait until a command that was abandoned is gone; one that is in use is not waited for."""
        command = self._command
        if command is None:
            return
        if not command.abandoned:
            # Its process may be held by what nobody can reach: by the traceback of an error that
            # this very turn of the loop has seen the end of, or by a cycle of such.
            await asyncio.sleep(0)
            gc.collect()
        if command.abandoned:
            await command.ended.wait()  # a kill has a deadline

    def _abandon(self, command: Command) -> None:
        if command is self._command:
            command.abandoned = True
            command.release(0)
            self._kill()

    def abandon_soon(self, command: Command) -> None:
        """Kill what nobody can wait for any more; this is called in any thread."""
        if not command.ended.is_set():
            command.abandoned = True
            with suppress(RuntimeError):  # the loop has been closed, and the machine with it
                self._loop.call_soon_threadsafe(self._abandon, command)

    async def ping(self, timeout: float = TIMEOUTS.ping) -> None:
        """Ask the guest whether it is alive.

        :param timeout: in seconds.
        :raises GuestUnresponsive: it did not answer in time.
        :raises MachineError: it is lost, or not ready.
        """
        await self._free.wait()
        await self._ping(timeout)

    async def _ping(self, timeout: float) -> None:
        self._check_alive()
        token = next(self._tokens)
        self._channel.write(self._session.ping(token))
        pong = self._pongs[token] = self._loop.create_future()
        await self._answer(pong, timeout)

    async def status(self, timeout: float = TIMEOUTS.ping) -> codec.Status:
        """Return the daemon's counters.

        :param timeout: in seconds.
        :raises GuestUnresponsive: it did not answer in time.
        :raises MachineError: it is lost, or not ready.
        """
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

    def _on_event(self, event: codec.Message) -> None:
        match event:
            case codec.ExecOutput():
                if self._command and not self._command.feed(event):
                    self._command.mark_killed(self._command.over_limit())
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

    def _on_lost(self, error: MachineError) -> None:
        if isinstance(error, GuestDied):
            self._loss_due.start(self._timeouts.loss_grace, partial(self.fail, error))
        else:
            self.fail(error)

    def fail(self, error: MachineError) -> MachineError:
        """Give the guest up, unless that has been done before; returns the reason that counts."""
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
        # Nobody may be waiting for it; asyncio would complain of an exception never retrieved.
        self._ready.exception()
        return error

    async def wait_lost(self) -> MachineError:
        """Wait until it is lost, and return why."""
        await self._lost.wait()
        assert self.error is not None  # noqa: S101 - it is set before
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
        # A guest may give credit for gigabytes, and read nothing.
        return 0 if self._channel.is_full else self._session.stdin_credit

    def _expire(self, command: Command, timeout: float, grace: float | None) -> None:
        command.mark_killed(command.over_time(timeout))
        if grace:
            self._channel.write(self._session.exec_terminate())
            self._command_due.start(grace, self._kill)
        else:
            self._kill()

    def _kill(self) -> None:
        if self._kill_due.is_running:
            return  # a guest that goes on sending must not put the deadline off
        self._signal(SIGKILL)
        late = partial(self._unresponsive, "a killed command did not end")
        self._kill_due.start(self._timeouts.kill, late)

    def _ask(self) -> None:
        self._channel.write(self._session.ping(next(self._tokens)))
        late = partial(self._unresponsive, "it does not answer; has it halted?")
        self._pong_due.start(self._timeouts.ping, late)

    def _unresponsive(self, reason: str) -> MachineError:
        message = f"the guest is not responding: {reason}"
        error = GuestUnresponsive(message, hint=LOOK_AT_CONSOLE, detail=self._console_tail())
        return self.fail(error)


def _busy() -> Busy:
    return Busy("a checkpoint of this machine is being taken, and it runs no command meanwhile")


def _cancel(*timers: Timer) -> None:
    for timer in timers:
        timer.cancel()


def _settle(waiter: asyncio.Future[T], result: T) -> None:
    if not waiter.done():  # who waited may have been cancelled
        waiter.set_result(result)


def _dropped(guest: weakref.ref[Guest], command: weakref.ref[Command]) -> None:
    """Kill a command that nobody has any more.

    What Python is to call then is kept until it has: if it held the two, and one of them an error
    that was raised, then its traceback would hold what is to be dropped, for ever.
    """
    of, left = guest(), command()
    if of is not None and left is not None:
        of.abandon_soon(left)
