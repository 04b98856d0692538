"""A live guest on the other end of a port: commands, pings, and the moment it is lost.

It knows nothing of QEMU: whoever owns the machine says how it ended, by :meth:`Guest.fail`.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from typing import Any, Self, TypeVar

from microvm import codec
from microvm.channel import Channel
from microvm.errors import (
    ExecTimeout,
    GuestDied,
    GuestUnresponsive,
    MachineError,
    MicroVMError,
    UsageError,
)
from microvm.process import CompletedProcess, Process
from microvm.session import Session, State

PING_INTERVAL = 2.0
PING_TIMEOUT = 8.0
"""While a command runs, the guest is asked this often, and has this long, in seconds."""

KILL_TIMEOUT = 5.0
"""How long a command that was killed may take to be gone, in seconds."""

Text = str | bytes
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
        self._process: Process | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tokens = itertools.count(1)
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
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
        channel = await Channel.connect(port, guest._session, guest._on_event, guest._on_lost)
        guest._channel = channel
        channel.write(guest._session.hello())
        return guest

    async def ready(self, timeout: float) -> None:
        """Wait for its answer, then tell it the time.

        :raise TimeoutError: it did not come within `timeout` seconds.
        :raise MachineError: the guest was lost, or is not ours.
        """
        async with asyncio.timeout(timeout):
            await asyncio.shield(self._ready)
        self._alive().write(self._session.resume())

    @property
    def can_shut_down(self) -> bool:
        """Whether it is in a state to hear `shut_down`."""
        return self.error is None and self._session.state in (State.IDLE, State.RUNNING)

    def shut_down(self) -> None:
        """Ask it to end itself."""
        self._alive().write(self._session.shutdown())

    def exec(
        self,
        argv: Sequence[Text],
        *,
        command: Text | None = None,
        env: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        cwd: Text | Path | None = None,
        timeout: float | None = None,
    ) -> Process:
        """Start a command; its output is read from the process that this returns.

        :param argv: its arguments, the first is the name that it sees.
        :param command: the file to execute, by default `argv[0]`; without a slash it is looked up
            in the guest's PATH.
        :param env: over the guest's default environment; nothing of the host's is passed on.
        :param cwd: in the guest; `/root` by default.
        :param timeout: seconds from now after which it is killed.
        :raise Busy: another command runs on this machine.
        :raise UsageError: an empty command line, a NUL byte, or more than the protocol carries.
        :raise MachineError: the machine is dead.
        """
        if not argv and command is None:
            raise UsageError("there is no command to run")
        channel = self._alive()
        first = argv[0] if command is None else command
        frame = self._session.exec_request(
            _bytes(first),
            [_bytes(argument) for argument in argv],
            {_bytes(key): _bytes(value) for key, value in (env or {}).items()},
            _bytes(cwd or b""),
        )
        process = Process(argv or [first], send_signal=self._signal, consumed=self._consumed)
        self._process = process
        channel.write(frame)
        self._arm("ping", PING_INTERVAL, self._ask)
        if timeout is not None:
            self._arm("expire", timeout, self._expire, process, timeout)
        return process

    async def run(
        self,
        argv: Sequence[Text],
        *,
        env: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        cwd: Text | Path | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> CompletedProcess:
        """Run a command to its end and return its status and output; see `exec`.

        :param check: raise `subprocess.CalledProcessError` unless it exits with 0.
        :raise StartError: it could not be started.
        :raise ExecTimeout: it ran past its deadline.
        """
        process = self.exec(argv, env=env, cwd=cwd, timeout=timeout)
        try:
            stdout, stderr = await asyncio.gather(process.stdout.read(), process.stderr.read())
            returncode = await process.wait()
        except ExecTimeout as error:
            error.stdout, error.stderr = stdout, stderr
            raise
        except BaseException:
            self.abandon(process)
            # The machine is free again only when the command is gone; the kill has a deadline.
            with suppress(MicroVMError):
                await process.wait()
            raise
        completed = CompletedProcess(process.args, returncode, stdout, stderr)
        if check:
            completed.check_returncode()
        return completed

    def abandon(self, process: Process) -> None:
        """Kill a command that nobody waits for any more; the machine is free when it is gone."""
        if process is self._process:
            process.abandon()
            self._arm("kill", KILL_TIMEOUT, self._unresponsive, "a killed command did not end")

    async def ping(self, timeout: float = PING_TIMEOUT) -> None:
        """Ask the guest whether it is alive.

        :raise GuestUnresponsive: there was no answer within `timeout` seconds.
        """
        channel = self._alive()
        token = next(self._tokens)
        channel.write(self._session.ping(token))
        pong = self._pongs[token] = asyncio.get_running_loop().create_future()
        await self._answer(pong, timeout)

    async def status(self, timeout: float = PING_TIMEOUT) -> codec.Status:
        """Return the daemon's counters.

        :raise GuestUnresponsive: there was no answer within `timeout` seconds.
        """
        channel = self._alive()
        channel.write(self._session.status_request())
        status: asyncio.Future[codec.Status] = asyncio.get_running_loop().create_future()
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
                if self._process:
                    self._process.feed(event)
            case codec.ExecResponse() | codec.ExecFailed():
                process, self._process = self._process, None
                self._disarm("ping", "expire", "kill")
                if process:
                    process.finish(event)
            case codec.Pong(token=token):
                if waiter := self._pongs.pop(token, None):
                    _settle(waiter, None)
                else:
                    self._disarm("pong")
                    if self._process:
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
        process, self._process = self._process, None
        if process is not None:
            process.lose(error)
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

    def _expire(self, process: Process, timeout: float) -> None:
        process.expire(timeout)
        self._arm("kill", KILL_TIMEOUT, self._unresponsive, "a killed command did not end")

    def _ask(self) -> None:
        if self._channel:
            self._channel.write(self._session.ping(next(self._tokens)))
            self._arm(
                "pong", PING_TIMEOUT, self._unresponsive, "it does not answer; has it halted?"
            )

    def _unresponsive(self, reason: str) -> MachineError:
        message = f"the guest is not responding: {reason}"
        return self.fail(GuestUnresponsive(message, detail=self._console_tail()))

    def _arm(self, name: str, delay: float, callback: Callable[..., Any], *args: object) -> None:
        self._disarm(name)
        self._timers[name] = asyncio.get_running_loop().call_later(delay, callback, *args)

    def _disarm(self, *names: str) -> None:
        for name in names:
            if timer := self._timers.pop(name, None):
                timer.cancel()


def _settle(waiter: asyncio.Future[T], result: T) -> None:
    if not waiter.done():  # who waited may have been cancelled
        waiter.set_result(result)


def _bytes(value: Text | Path) -> bytes:
    if isinstance(value, bytes):
        return value
    # As the operating system spells it: surrogates stand for bytes that are not UTF-8.
    try:
        return str(value).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UsageError(f"{value!r} cannot be written as bytes: {error.reason}") from None
