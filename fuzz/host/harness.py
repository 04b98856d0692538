"""A harness that plays one script against the real host.

The host consists of the classes above the socket: `Guest` with `Channel`, `Session`, `Process` and
streams, and the `Console`.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from contextlib import suppress
from functools import partial
from random import Random
from subprocess import PIPE
from typing import Any
from unittest import TestCase

from tests.support.peer import pair
from tests.support.processes import open_files
from tests.support.virtual_loop import VirtualLoop

from microvm.errors import (
    ExecKilled,
    GuestDied,
    MachineError,
    MicroVMError,
    ReadLimit,
    ReadTimeout,
)
from microvm.guest.guest import Guest
from microvm.guest.process import Process
from microvm.guest.run import run
from microvm.guest.streams import OutputStream
from microvm.guest.timeouts import TIMEOUTS
from microvm.qemu.console import Console
from microvm.qemu.exit import classify
from microvm.wire.session import Session

from ..report import Disagreement, agree
from ..search import interrupted
from .acts import HostCall, Pause, Script
from .checks import READY_TIMEOUT, check, input_of
from .known_scripts import written
from .recorder import CALL, CallResult, Recorder
from .recording_channel import RecordingChannel
from .scripted_guest import ScriptedGuest

REAL_TIMEOUT = 30.0
"""Maximum number of seconds on the real clock for one script; more means an endless loop."""

FOREVER = 10_000.0
"""Number of seconds on the virtual clock after which all deadlines are over. The pauses of the
guest are added, because a command may run as long as the guest answers pings.
"""


def play(script: Script) -> Recorder:
    """Play a script against the host, and check the results."""
    recorder = Recorder(script.commands)
    before = set(open_files())
    endless = interrupted(REAL_TIMEOUT, Disagreement("the host is in an endless loop"))
    try:
        with (
            warnings.catch_warnings(record=True, action="always") as warned,
            TestCase().assertNoLogs("asyncio", "WARNING"),
        ):
            with endless, asyncio.Runner(loop_factory=VirtualLoop) as runner:
                runner.run(_live(script, recorder))
                tasks = asyncio.all_tasks(runner.get_loop())
            gc.collect(1)
        agree(not tasks, "tasks are left", tasks)
        agree(not warned, "there are warnings", [str(each.message) for each in warned])
        after = set(open_files()) - before
        agree(not after, "descriptors are left open", after)
        check(recorder)
    except AssertionError as error:
        error.add_note(written(script))
        error.add_note(recorder.transcript())
        raise
    return recorder


async def _live(script: Script, recorder: Recorder) -> None:
    """Connect a host to the scripted guest, make the calls of the script, and disconnect."""
    ours, theirs = pair()
    our_console, their_console = pair()
    console = Console()
    paused = sum(act.seconds for act in script.acts if isinstance(act, Pause))

    def reset() -> None:
        panic = console.panic()
        ending = classify(0, reason="guest-reset", internal_error=False, panic=panic, stderr="")
        guest.fail(GuestDied(ending.text, detail=console.tail()))

    with theirs, their_console:
        guest: Guest = Guest(
            console_tail=console.tail,
            session=partial(Session, clock=lambda: 0, entropy=Random(0).randbytes),
            channel=partial(
                RecordingChannel,
                recorder,
                lambda: [running.command for running in guest._running.values()],
            ),
        )
        guest.commands = script.commands
        await guest.connect(ours)
        scripted = ScriptedGuest(theirs, their_console, script, recorder.losses, reset)
        following = asyncio.create_task(console.follow(our_console))
        playing = asyncio.create_task(scripted.perform())
        try:
            async with asyncio.timeout(FOREVER + paused):
                await _use(guest, script, recorder)
        except TimeoutError:
            recorder.expect(False, "a call does not end")
        finally:
            recorder.error = guest.error
            guest.fail(GuestDied("the machine was stopped"))
            recorder.expect(recorder.left_at is not None, "the port stays open after a loss")
            playing.cancel()
            their_console.shutdown(socket.SHUT_RDWR)
            await asyncio.gather(following, playing, return_exceptions=True)
            for _ in range(5):  # cancelled tasks get five turns of the loop to finish
                await asyncio.sleep(0)


async def _use(guest: Guest, script: Script, recorder: Recorder) -> None:
    if await _call(guest, HostCall("ready", timeout=READY_TIMEOUT), recorder) is not None:
        return
    if script.commands > 1:
        await asyncio.gather(*[_call(guest, call, recorder) for call in script.calls])
        return
    for call in script.calls:
        await _call(guest, call, recorder)


async def _call(guest: Guest, call: HostCall, recorder: Recorder) -> object:
    """Make one of the script's calls to the host. Record its result or error, and return it."""
    its = CallResult(call, _now())
    recorder.calls.append(its)
    CALL.set(its)
    await _make_call(guest, call, its)
    its.ended = min(its.ended, _now())
    return its.value


async def _make_call(guest: Guest, call: HostCall, its: CallResult) -> None:
    try:
        match call.kind:
            case "run":
                done = await run(guest, ["command"], input=input_of(call), **_options(call))
                its.value, its.memory = done.returncode, done.memory
                its.out = {1: done.stdout, 2: done.stderr}
            case "ready" | "ping" | "status" | "keep":
                its.value = await getattr(guest, call.kind)(call.timeout or TIMEOUTS.ping)
            case _:
                await _exec(guest, call, its)
    except Exception as error:  # noqa: BLE001, RUF100 - the checks look at it later
        its.value = error
        if isinstance(error, ExecKilled) and call.kind == "run":
            its.out, its.memory = {1: error.stdout, 2: error.stderr}, error.memory


async def _exec(guest: Guest, call: HostCall, its: CallResult) -> None:
    stdin = None if call.stdin is None else PIPE
    async with guest.exec(["command"], stdin=stdin, **_options(call)) as process:
        if call.signal is not None:
            process.send_signal(call.signal)
        if call.kind == "communicate":
            out, err = await process.communicate(input_of(call))
        elif call.kind in ("none", "some"):
            if call.kind == "some":
                its.out[1] = await process.stdout.read(100)
            else:
                await asyncio.sleep(1)
            its.left = _now()
            return
        else:
            _, out, err, _ = await asyncio.gather(
                process._feed_all(input_of(call)),
                _read(process.stdout, call.kind),
                _read(process.stderr, call.kind),
                _note_end(process, its),
            )
        its.out = {1: out, 2: err}
        try:
            its.value = await process.wait()
        finally:
            its.memory = process.memory


def _options(call: HostCall) -> dict[str, Any]:
    grace = call.timeout and call.grace
    return {"timeout": call.timeout, "grace": grace, "max_output": call.max_output}


async def _read(stream: OutputStream, how: str) -> bytes:
    """Read until end of file, or until the machine is lost."""
    pieces = []
    with suppress(MachineError):
        match how:
            case "lines":
                while line := await _read_line(stream):
                    pieces.append(line)
            case "slow":
                while piece := await stream.read(50_000):
                    pieces.append(piece)
                    await asyncio.sleep(0.1)
            case _:
                async for chunk in stream:
                    pieces.append(chunk)
    return b"".join(pieces)


async def _read_line(stream: OutputStream) -> bytes:
    """Return the next line, or a part of a long line; try again after each time-out."""
    while True:
        try:
            return await stream.readline(limit=50_000, timeout=1.0)
        except ReadLimit:
            return await stream.read(50_000)
        except ReadTimeout:
            continue


async def _note_end(process: Process, its: CallResult) -> None:
    """Record the time at which the command exits, which may be before its output is read."""
    with suppress(MicroVMError):
        await process.wait()
    its.ended = _now()


def _now() -> float:
    return asyncio.get_running_loop().time()
