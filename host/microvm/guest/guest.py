"""A live guest on the other end of a port: commands, pings, and the moment it is lost.

It knows nothing of QEMU: whoever owns the machine says how it ended, by :meth:`Guest.fail`.
"""

from __future__ import annotations

import asyncio
import codecs
import gc
import itertools
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from signal import SIGKILL
from subprocess import PIPE
from typing import Any, Self, TypeVar, Unpack, cast

from microvm.errors import ExecKilled, GuestDied, GuestUnresponsive, MachineError, UsageError
from microvm.guest.command import Command
from microvm.guest.deadline import Deadline
from microvm.guest.process import CompletedProcess, Process
from microvm.guest.request import limits_of, request_of
from microvm.guest.stdio import copy_out
from microvm.guest.streams import InputStream
from microvm.options import PING_TIMEOUT, ExecOptions, RunOptions, Text
from microvm.wire import codec
from microvm.wire.channel import Channel
from microvm.wire.session import Session

PING_INTERVAL = 2.0
"""While a command runs, the guest is asked this often, in seconds."""

KILL_TIMEOUT = 5.0
"""How long a command that was killed may take to be gone, in seconds."""

T = TypeVar("T")


class Guest:
    """One guest; `connect` starts the conversation, `ready` waits for its answer.

    The first reason for which it is lost counts: it becomes `error`, and everyone who waits for
    something from this guest gets it raised.
    """

    def __init__(self, console_tail: Callable[[], str], loss_grace: float) -> None:
        """Use `connect` to get one."""
        self.error: MachineError | None = None
        self._console_tail = console_tail
        self._loss_grace = loss_grace
        self._session = Session()
        self._channel: Channel | None = None
        self._loop = asyncio.get_running_loop()
        self._command: Command | None = None
        self._timers: dict[str, asyncio.TimerHandle | Deadline] = {}
        self._tokens = itertools.count(1)
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._pongs: dict[int, asyncio.Future[None]] = {}
        self._statuses: list[asyncio.Future[codec.Status]] = []

    @classmethod
    async def connect(
        cls,
        port: socket.socket,
        *,
        console_tail: Callable[[], str] = str,
        loss_grace: float = 0.0,
    ) -> Self:
        """Take over a port and greet the guest, which may not be listening yet.

        :param console_tail: gives the detail of errors.
        :param loss_grace: seconds between the end of the port and the error, in which the owner of
            the machine can give a better reason.
        """
        guest = cls(console_tail, loss_grace)
        channel = await Channel.connect(
            port, guest._session, guest._on_event, guest._on_lost, guest._flush
        )
        guest._channel = channel
        channel.write(guest._session.hello())
        return guest

    async def ready(self, timeout: float) -> None:
        """Wait for its answer, then tell it the time.

        :raises TimeoutError: it did not come within `timeout` seconds.
        :raises MachineError: the guest was lost, or is not ours.
        """
        async with asyncio.timeout(timeout):
            # Of a shield, Python 3.14 reports an error that comes when nobody waits any more.
            await asyncio.wait([self._ready])
        self._ready.result()
        self._alive().write(self._session.resume())

    def exec(self, argv: Sequence[Text], **options: Unpack[ExecOptions]) -> Process:
        """Start a command; see `MicroVM.exec`."""
        channel = self._alive()
        request, limits = request_of(argv, options), limits_of(options)
        frame = self._session.exec_request(request)
        fed = request.stdin or request.terminal is not None
        command = self._command = Command(
            argv or [request.command],
            request,
            stdin=InputStream(self._feed, self._stdin_credit) if fed else None,
            consumed=self._consumed,
            max_output=limits.max_output,
        )
        channel.write(frame)
        self._arm("ping", PING_INTERVAL, self._ask)
        if limits.timeout is not None:
            self._arm("expire", limits.timeout, self._expire, command, limits.timeout, limits.grace)
        return Process(
            command,
            send_signal=self._signal,
            resize=self._resize,
            abandon=self._abandon,
            dropped=lambda: self._dropped(command),
        )

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

    async def run(
        self, argv: Sequence[Text], **options: Unpack[RunOptions]
    ) -> CompletedProcess[Any]:
        """Run a command to its end; see `MicroVM.run`."""
        given = options.pop("input", None)
        capture = options.pop("capture_output", True)
        decode = _decoder(
            options.pop("text", False), options.pop("encoding", None), options.pop("errors", None)
        )
        check = options.pop("check", False)
        if given is not None:
            if options.get("stdin") is not None:
                raise UsageError("input is fed to standard input: stdin says something else")
            options["stdin"] = PIPE
        data = given.encode(decode.encoding, decode.errors) if isinstance(given, str) else given
        out: bytes | None = None
        err: bytes | None = None
        await self.wait_idle()
        async with self.exec(argv, **cast(ExecOptions, options)) as process:
            try:
                if capture:
                    out, err = await process.collect(data)
                else:
                    await _pass_on(process, data)
                returncode = await process.wait()
            except ExecKilled as error:
                error.stdout, error.stderr = decode.cut(out), decode.cut(err)
                raise
        completed = CompletedProcess(process.args, returncode, decode(out), decode(err))
        if check:
            completed.check_returncode()
        return completed

    def _abandon(self, command: Command) -> None:
        if command is self._command:
            command.abandoned = True
            command.release(0)
            self._kill()

    def _dropped(self, command: Command) -> None:
        """Kill what nobody can wait for any more; this is called in any thread."""
        if not command.ended.is_set():
            command.abandoned = True
            with suppress(RuntimeError):  # the loop has been closed, and the machine with it
                self._loop.call_soon_threadsafe(self._abandon, command)

    async def ping(self, timeout: float = PING_TIMEOUT) -> None:
        """Ask the guest whether it is alive.

        :raises GuestUnresponsive: there was no answer within `timeout` seconds.
        """
        channel = self._alive()
        token = next(self._tokens)
        channel.write(self._session.ping(token))
        pong = self._pongs[token] = self._loop.create_future()
        await self._answer(pong, timeout)

    async def status(self, timeout: float = PING_TIMEOUT) -> codec.Status:
        """Return the daemon's counters.

        :raises GuestUnresponsive: there was no answer within `timeout` seconds.
        """
        channel = self._alive()
        channel.write(self._session.status_request())
        status: asyncio.Future[codec.Status] = self._loop.create_future()
        self._statuses.append(status)
        return await self._answer(status, timeout)

    async def _answer(self, future: asyncio.Future[T], timeout: float) -> T:
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise self._unresponsive(f"it did not answer within {timeout:g} s") from None

    def _alive(self) -> Channel:
        if self.error is not None:
            raise self.error
        if self._channel is None:
            raise UsageError("the guest is not connected")
        return self._channel

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
                    self._command.stdin.refuse()
            case codec.ExecResponse() | codec.ExecFailed():
                if self._command:
                    self._command.finish(event)
                self._command = None
                self._disarm("ping", "expire", "kill")
            case codec.Pong(token=token):
                if waiter := self._pongs.pop(token, None):
                    _settle(waiter, None)
                else:
                    self._disarm("pong")
                    if self._command:
                        self._arm("ping", PING_INTERVAL, self._ask)
            case codec.Status():
                _settle(self._statuses.pop(0), event)
            case codec.Ready():
                self._ready.set_result(None)

    def _on_lost(self, error: MachineError) -> None:
        if isinstance(error, GuestDied):
            self._arm("lost", self._loss_grace, self.fail, error)
        else:
            self.fail(error)

    def fail(self, error: MachineError) -> MachineError:
        """Give the guest up, unless that has been done before; returns the reason that counts."""
        if self.error is not None:
            return self.error
        self.error = error
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        command, self._command = self._command, None
        if command is not None:
            command.lose(error)
        waiters: list[asyncio.Future[Any]] = [self._ready, *self._pongs.values(), *self._statuses]
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)
        # Nobody may be waiting for it; asyncio would complain of an exception never retrieved.
        self._ready.exception()
        return error

    def _signal(self, signal: int) -> None:
        if self._channel:
            kill = signal == SIGKILL
            session = self._session
            self._channel.write(session.exec_kill() if kill else session.exec_signal(signal))

    def _consumed(self, stream: codec.Stream, amount: int) -> None:
        if self._channel:
            self._channel.write(self._session.consumed(stream, amount))

    def _feed(self, data: bytes | memoryview) -> None:
        if self._channel:
            self._channel.write(*self._session.exec_stdin(data))

    def _flush(self) -> None:
        if self._command and self._command.stdin:
            self._command.stdin.flush()

    def _stdin_credit(self) -> int:
        # A guest may give credit for gigabytes, and read nothing.
        full = self._channel is not None and self._channel.is_full
        return 0 if full else self._session.stdin_credit

    def _resize(self, rows: int, columns: int) -> None:
        if self._channel:
            self._channel.write(self._session.exec_resize(rows, columns))

    def _expire(self, command: Command, timeout: float, grace: float | None) -> None:
        command.mark_killed(command.over_time(timeout))
        if grace and self._channel:
            self._channel.write(self._session.exec_terminate())
            self._arm("expire", grace, self._kill)
        else:
            self._kill()

    def _kill(self) -> None:
        if "kill" in self._timers:
            return  # a guest that goes on sending must not put the deadline off
        self._signal(SIGKILL)
        self._wait("kill", KILL_TIMEOUT, "a killed command did not end")

    def _ask(self) -> None:
        if self._channel:
            self._channel.write(self._session.ping(next(self._tokens)))
            self._wait("pong", PING_TIMEOUT, "it does not answer; has it halted?")

    def _wait(self, name: str, timeout: float, reason: str) -> None:
        self._disarm(name)
        self._timers[name] = Deadline(timeout, lambda: self._unresponsive(reason))

    def _unresponsive(self, reason: str) -> MachineError:
        message = f"the guest is not responding: {reason}"
        return self.fail(GuestUnresponsive(message, detail=self._console_tail()))

    def _arm(self, name: str, delay: float, callback: Callable[..., Any], *args: object) -> None:
        self._disarm(name)
        self._timers[name] = self._loop.call_later(delay, callback, *args)

    def _disarm(self, *names: str) -> None:
        for name in names:
            if timer := self._timers.pop(name, None):
                timer.cancel()


def _settle(waiter: asyncio.Future[T], result: T) -> None:
    if not waiter.done():  # who waited may have been cancelled
        waiter.set_result(result)


async def _pass_on(process: Process, data: bytes | None) -> None:
    await asyncio.gather(
        process.feed_all(data), copy_out(process.stdout, 1), copy_out(process.stderr, 2)
    )


@dataclass(frozen=True, slots=True)
class _Decoder:
    """Turns output into what the caller asked for: bytes, or text with universal newlines."""

    text: bool
    encoding: str
    errors: str

    def __call__(self, data: bytes | None) -> bytes | str | None:
        if data is None or not self.text:
            return data
        return data.decode(self.encoding, self.errors).replace("\r\n", "\n").replace("\r", "\n")

    def cut(self, data: bytes | None) -> bytes | str | None:
        """Decode what ends somewhere: in the middle of a character, too."""
        errors = "replace" if self.errors == "strict" else self.errors
        return replace(self, errors=errors)(data)


def _decoder(text: bool, encoding: str | None, errors: str | None) -> _Decoder:
    asked = text or encoding is not None or errors is not None
    try:
        "".encode(encoding or "utf-8")
        codecs.lookup_error(errors or "strict")
    except LookupError as error:
        raise UsageError(str(error)) from None
    return _Decoder(asked, encoding or "utf-8", errors or "strict")
