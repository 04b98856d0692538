"""The calls that a supervisor answers: one function each, and a table of them."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

from microvm.errors import UsageError
from microvm.guest.exchange import give_up
from microvm.guest.stdio import attach, copy_in
from microvm.guest.timeouts import TIMEOUTS
from microvm.printable import printable
from microvm.supervisor.descriptors import ClientDescriptor
from microvm.units import parse_duration
from microvm.wire import files

if TYPE_CHECKING:
    from microvm.guest.process import Process
    from microvm.guest.streams import InputStream
    from microvm.supervisor.supervisor import ClientRequest, Supervisor

_CLEANUP_TIMEOUT = 10.0  # of a transfer whose client has gone, in seconds
_LONGEST_SHOWN = 200  # characters of a command line


async def _exec(supervisor: Supervisor, call: ClientRequest) -> dict[str, Any]:
    """Run a command with the client's descriptors: `argv`, `options`, and three descriptors.

    With `sized`, nothing is written before the client has said the size of its terminal, which it
    has made ready by then.
    """
    argv, options = call.request.get("argv"), call.request.get("options", {})
    if not isinstance(argv, list) or not isinstance(options, dict):
        raise UsageError("what is to be run is a list of arguments, with an object of options")
    if len(call.peer.descriptors) != 3:
        raise UsageError("a command has three descriptors: its input, output and errors")
    with ExitStack() as owned:
        source, out, err = (
            owned.enter_context(ClientDescriptor(call.peer.descriptors.pop(0), writes=writes))
            for writes in (False, True, True)
        )
        async with (
            supervisor.queue.taken(_shown(argv), wait=call.waits),
            await supervisor.machine.exec(argv, **options) as process,
        ):
            sized = asyncio.Event()
            call.on_line.append(lambda line: _control(process, line, sized))
            await call.peer.send({"started": True})
            if call.request.get("sized"):
                await sized.wait()  # a client that has gone ends this, too
            feed = None
            if process.stdin and options.get("stdin") == PIPE:
                feed = _fed(source, process.stdin)
            elif process.stdin:
                process.stdin.close()  # a terminal, which always has one
            try:
                returncode = await attach(process, feed, out.write, err.write)
            except BrokenPipeError:
                returncode = -signal.SIGPIPE
            except asyncio.CancelledError:
                if options.get("command") == files.PROGRAM:
                    await give_up(process, _CLEANUP_TIMEOUT)  # what is half written would stay, too
                raise
    return {"returncode": returncode, "memory": process.memory}


async def _fed(source: ClientDescriptor, stream: InputStream) -> None:
    with source:  # whoever writes to it learns that nobody reads any more
        await copy_in(source.read, stream)


def _control(process: Process, line: dict[str, Any], sized: asyncio.Event) -> None:
    """Do what a client says about its command, and note that it has said a size.

    :raises UsageError: there is no such signal or size.
    """
    match line:
        case {"signal": int(number)}:
            process.send_signal(number)
        case {"resize": [int(rows), int(columns)]}:
            sized.set()
            process.resize(rows, columns)
        case {"abandon": _}:
            process.abandon()


def _shown(argv: list[Any]) -> str:
    line = printable(shlex.join(map(str, argv)))
    return line if len(line) <= _LONGEST_SHOWN else f"{line[: _LONGEST_SHOWN - 1]}…"


async def _stop(supervisor: Supervisor, call: ClientRequest) -> dict[str, Any]:
    """End the machine, and reply when nothing is left of it."""
    del call
    supervisor.end("it was stopped", asked=True, traceless=True)
    return await _ended(supervisor)


async def _wait(supervisor: Supervisor, call: ClientRequest) -> dict[str, Any]:
    """Reply when the machine has ended: why, and whether somebody wanted it."""
    del call
    return await _ended(supervisor)


async def _ended(supervisor: Supervisor) -> dict[str, Any]:
    await supervisor.gone.wait()
    assert supervisor.ending is not None  # noqa: S101 - it is set before
    return {"reason": supervisor.ending.reason, "asked": supervisor.ending.asked}


async def _status(supervisor: Supervisor, call: ClientRequest) -> dict[str, Any]:
    """Ask the guest for the daemon's counters, within `timeout` seconds."""
    timeout = call.request.get("timeout", TIMEOUTS.ping)
    return asdict(await supervisor.machine.status(parse_duration(timeout)))


async def _checkpoint(supervisor: Supervisor, call: ClientRequest) -> dict[str, Any]:
    """Take a snapshot, under a `name`; or without one, of which the client gets the parts."""
    name = call.request.get("name")
    if not isinstance(name, str | None):
        raise UsageError(f"{name!r} is no name of a snapshot")
    async with supervisor.queue.taken("a checkpoint is being taken", wait=call.waits):
        snapshot = await supervisor.machine.checkpoint(name)
    if name is not None:
        return {"pause": snapshot.pause}
    with snapshot:
        facts, parts = snapshot._export()
        call.peer.passed += map(os.dup, parts)
    return facts


async def _facts(supervisor: Supervisor, call: ClientRequest) -> dict[str, Any]:
    """Say what the machine is, and what it does."""
    del call
    qemu = supervisor.facts.get("qemu")
    return {
        **supervisor.facts,
        "state": "ending" if supervisor.ended.done() else "running" if qemu else "starting",
        "runs": supervisor.queue.runs or None,
        "waiting": supervisor.queue.waits,
        **(_usage(qemu) if qemu else {}),
    }


def _usage(pid: int) -> dict[str, Any]:
    """Return what QEMU takes: `memory_used`, resident, in bytes, and `cpu_time`, in seconds."""
    with suppress(OSError, IndexError, ValueError):
        # proc_pid_stat(5): times and pages; the name may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        ticks, pages = int(fields[11]) + int(fields[12]), int(fields[21])
        return {
            "memory_used": pages * os.sysconf("SC_PAGE_SIZE"),
            "cpu_time": ticks / os.sysconf("SC_CLK_TCK"),
        }
    return {}


Function = Callable[["Supervisor", "ClientRequest"], Coroutine[Any, Any, dict[str, Any]]]

CALLS: dict[str, Function] = {
    "checkpoint": _checkpoint,
    "exec": _exec,
    "facts": _facts,
    "status": _status,
    "stop": _stop,
    "wait": _wait,
}
"""What clients can ask for, by name."""

LASTING = frozenset({"checkpoint", "exec", "wait"})
"""The calls that others can hold up, for any time."""
