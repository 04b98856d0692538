"""One script against the real host code.

The host is what `MicroVM` has above the socket: `Guest` with its `Channel`, `Session`, `Process`
and streams, and the `Console`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from subprocess import PIPE
from types import FrameType
from typing import Any

from microvm.errors import ExecKilled, GuestDied, MachineError, MicroVMError
from microvm.guest.guest import Guest
from microvm.guest.process import Process
from microvm.guest.run import run
from microvm.guest.streams import OutputStream
from microvm.guest.timeouts import TIMEOUTS
from microvm.qemu.console import Console
from microvm.qemu.exit import classify

from .checks import Violation, check, input_of
from .loop import Loop
from .recording_channel import RecordingChannel
from .result import EXACT, READY_TIMEOUT, Account, Limits, Result
from .script import Call, Script
from .scripted_guest import Liar

REAL_TIMEOUT = 30.0
"""Seconds on a real clock that one script may take: more is an endless loop."""

FOREVER = 10_000.0
"""Seconds after which nothing that still waits has a deadline."""


class _Hung(KeyboardInterrupt):
    """As such it gets through an event loop."""


def meet(script: Script, limits: Limits = EXACT) -> Account:
    """Play a script against the host, and see that everything holds that must.

    :raises Violation: for the first thing that does not hold.
    """
    account = Account(script, limits)
    before = _descriptors()
    try:
        with _watched() as complaints:
            _play(asyncio.SelectorEventLoop() if limits.real else Loop(), account, complaints)
            gc.collect(1)
        if complaints:
            raise Violation(f"something went unnoticed: {complaints}")
        if after := _descriptors() - before:
            raise Violation(f"descriptors are left open: {after}")
        check(account)
    except Violation as error:
        error.add_note(repr(script))
        error.add_note(account.witness.transcript())
        raise
    return account


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough


def _play(loop: asyncio.SelectorEventLoop, account: Account, complaints: list[str]) -> None:
    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        complaints.append(f"{context['message']}: {context.get('exception')!r}")

    loop.set_exception_handler(note)
    try:
        with _bounded():
            loop.run_until_complete(_Encounter(account).run())
        if tasks := asyncio.all_tasks(loop):
            raise Violation(f"tasks are left: {tasks}")
    except _Hung:
        raise Violation("the host is busy for ever") from None
    finally:
        if tasks := asyncio.all_tasks(loop):
            _end(loop, tasks)
        loop.close()


def _end(loop: asyncio.SelectorEventLoop, tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    with suppress(BaseException), _bounded():
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


@contextmanager
def _watched() -> Iterator[list[str]]:
    """Collect what would only be logged, or be a warning."""
    complaints: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complaints.append(record.getMessage())

    log, handler = logging.getLogger("asyncio"), Handler(logging.WARNING)
    log.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield complaints
        complaints += [str(each.message) for each in caught]
    finally:
        log.removeHandler(handler)


@contextmanager
def _bounded() -> Iterator[None]:
    """Interrupt what takes too long on a real clock, where that is possible."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise _Hung

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, REAL_TIMEOUT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Encounter:
    """Both sides of a script; `run` fills in the account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._witness = account.witness

    async def run(self) -> None:
        """Connect, be ready, call, and end, as a machine's life has it."""
        ours, theirs = _pair()
        our_console, their_console = _pair()
        console = Console()
        with theirs, their_console:
            following = asyncio.create_task(console.follow(our_console))
            guest: Guest = Guest(
                console_tail=console.tail,
                timeouts=self._account.limits.timeouts,
                channel=partial(RecordingChannel, self._witness, lambda: guest._command),
            )
            await guest.connect(ours)

            def reset() -> None:
                self._reset(guest, console)

            liar = Liar(theirs, their_console, self._account.script, reset)
            playing = asyncio.create_task(liar.play())
            try:
                async with asyncio.timeout(FOREVER):
                    await self._use(guest)
            except TimeoutError:
                self._witness.faults.append("a call does not end")
            finally:
                self._account.error = guest.error
                guest.fail(GuestDied("the machine was stopped"))
                playing.cancel()
                their_console.shutdown(socket.SHUT_RDWR)
                await asyncio.gather(playing, following, return_exceptions=True)
                for _ in range(5):  # what was cancelled by that has its turns, and no more
                    await asyncio.sleep(0)

    def _reset(self, guest: Guest, console: Console) -> None:
        """Say how the machine has ended, as its life does."""
        panic = console.panic()
        ending = classify(0, reason="guest-reset", internal_error=False, panic=panic, stderr="")
        guest.fail(GuestDied(ending.text, detail=console.tail()))
        self._account.reset_at = _now()

    async def _use(self, guest: Guest) -> None:
        began = _now()
        try:
            await guest.ready(READY_TIMEOUT)
        except (TimeoutError, MachineError) as error:
            self._account.ready = error
        self._account.ready_took = _now() - began
        if self._account.ready is not None:
            return  # there is no machine then
        for call in self._account.script.calls:
            await self._call(guest, call)

    async def _call(self, guest: Guest, call: Call) -> None:
        result = Result(call, _now())
        known = len(self._witness.runs)
        try:
            match call.kind:
                case "ping":
                    await guest.ping(call.timeout or TIMEOUTS.ping)
                case "status":
                    result.value = await guest.status(call.timeout or TIMEOUTS.ping)
                case "run":
                    done = await run(guest, ["command"], input=_input(call), **_options(call))
                    result.value = done.returncode
                    result.out, result.whole = {1: done.stdout, 2: done.stderr}, True
                case _:
                    await self._exec(guest, call, result)
        except Exception as error:  # noqa: BLE001, RUF100 - which it is, is looked at later
            result.value = error
            if isinstance(error, ExecKilled) and call.kind == "run":
                result.out, result.whole = {1: error.stdout, 2: error.stderr}, True
        if result.ended is None:
            result.ended = _now()
        if guest.error is not None and self._account.lost_at is None:
            self._account.lost_at = result.ended
        if len(self._witness.runs) > known:
            result.run = self._witness.runs[known]
        self._account.results.append(result)

    async def _exec(self, guest: Guest, call: Call, result: Result) -> None:
        options = _options(call)
        if call.stdin is not None:
            options["stdin"] = PIPE
        async with guest.exec(["command"], **options) as process:
            if call.signal is not None:
                process.send_signal(call.signal)
            if call.kind == "communicate":
                out, err = await process.communicate(_input(call))
                result.out, result.whole = {1: out, 2: err}, True
            elif call.reading in ("none", "some"):
                if call.reading == "some":
                    result.out[1] = await process.stdout.read(100)
                else:
                    await asyncio.sleep(1)
                result.left = _now()
                return
            else:
                async with _noted(process, result):
                    _, out, err = await asyncio.gather(
                        process.feed_all(_input(call)),
                        _read(process.stdout, call.reading),
                        _read(process.stderr, call.reading),
                    )
                result.out, result.whole = {1: out, 2: err}, True
            result.value = await process.wait()


def _options(call: Call) -> dict[str, Any]:
    options = {"timeout": call.timeout, "grace": call.grace, "max_output": call.max_output}
    if call.timeout is None:
        del options["grace"]
    return options


def _input(call: Call) -> bytes | None:
    return None if call.stdin is None else input_of(call.stdin)


async def _read(stream: OutputStream, how: str) -> bytes:
    """Read to the end, which may be that of the machine."""
    pieces = []
    with suppress(MachineError):
        match how:
            case "lines":
                while line := await stream.readline():
                    pieces.append(line)
            case "slow":
                while piece := await stream.read(50_000):
                    pieces.append(piece)
                    await asyncio.sleep(0.1)
            case _:
                async for chunk in stream:
                    pieces.append(chunk)
    return b"".join(pieces)


@asynccontextmanager
async def _noted(process: Process, result: Result) -> AsyncIterator[None]:
    """Note when a command has ended, however long its output is read."""

    async def note() -> None:
        with suppress(MicroVMError):
            await process.wait()
        result.ended = _now()

    noting = asyncio.create_task(note())
    try:
        yield
    finally:
        await noting


def _pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def _now() -> float:
    return asyncio.get_running_loop().time()
