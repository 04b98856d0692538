"""The functions of a supervisor that handle the requests of clients, and a table of them."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import asdict
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

from microvm.errors import UsageError
from microvm.guest.exchange import give_up
from microvm.guest.stdio import attach, copy_in
from microvm.guest.timeouts import TIMEOUTS
from microvm.printable import printable
from microvm.supervisor.descriptors import ClientDescriptor
from microvm.system.process import stat_fields
from microvm.units import parse_duration
from microvm.wire import files

if TYPE_CHECKING:
    from microvm.guest.process import Process
    from microvm.guest.streams import InputStream
    from microvm.supervisor.supervisor import ClientRequest, Supervisor

_CLEANUP_TIMEOUT = 10.0  # maximum number of seconds to clean up a cancelled file transfer
_MAX_SHOWN = 200  # maximum number of characters of a command line that users see


async def _exec(supervisor: Supervisor, request: ClientRequest) -> dict[str, Any]:
    """Run a client's command, whose standard streams are the descriptors that the client sent.

    With `sized` in the request, wait until the client has sent the size of its terminal, before any
    output is written. The client sends the size when its terminal is ready.
    """
    argv, options = request.fields.get("argv"), request.fields.get("options", {})
    if not isinstance(argv, list) or not isinstance(options, dict):
        raise UsageError("a command needs a list of arguments, and an object of options")
    if len(request.client.descriptors) != 3:
        raise UsageError("a command needs three descriptors: standard input, output and error")
    with ExitStack() as owned:
        source, out, err = (
            owned.enter_context(ClientDescriptor(request.client.descriptors.pop(0), writes=writes))
            for writes in (False, True, True)
        )
        async with (
            supervisor.queue.turn(_shown(argv), wait=request.waits),
            await supervisor.machine.exec(argv, **options) as process,
        ):
            sized = asyncio.Event()
            request.on_line.append(lambda line: _control(process, line, sized))
            await request.client.send({"started": True})
            if request.fields.get("sized"):
                await sized.wait()  # is cancelled if the client disconnects without sending a size
            feed = None
            if process.stdin and options.get("stdin") == PIPE:
                feed = _fed(source, process.stdin)
            elif process.stdin:
                # A command with a terminal has an input stream even if none was requested. So close
                # this stream.
                process.stdin.close()
            try:
                returncode = await attach(process, feed, out.write, err.write)
            except BrokenPipeError:
                returncode = -signal.SIGPIPE
            except asyncio.CancelledError:
                if options.get("command") == files.PROGRAM:
                    # The program `carry` transfers files. Give it time to remove a partly written
                    # file in the guest.
                    await give_up(process, _CLEANUP_TIMEOUT)
                raise
    return {"returncode": returncode, "memory": process.memory}


async def _fed(source: ClientDescriptor, stream: InputStream) -> None:
    with source:  # closes our end of the pipe at the end, so that its writer gets SIGPIPE
        await copy_in(source.read, stream)


def _control(process: Process, line: dict[str, Any], sized: asyncio.Event) -> None:
    """Handle a client's line for its command: signal, terminal size (also sets `sized`) or kill.

    A command with a terminal waits for `sized`. The line `abandon` kills the command.
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
    return line if len(line) <= _MAX_SHOWN else f"{line[: _MAX_SHOWN - 1]}…"


async def _stop(supervisor: Supervisor, request: ClientRequest) -> dict[str, Any]:
    """End the machine, and reply with the reason after its files were removed."""
    supervisor.end("it was stopped", asked=True, traceless=True)
    return await _wait(supervisor, request)


async def _wait(supervisor: Supervisor, request: ClientRequest) -> dict[str, Any]:
    """Reply when the machine has ended: with `reason`, and `asked` (True if a user wanted it)."""
    await supervisor.gone.wait()
    assert supervisor.ending is not None  # noqa: S101 - set before `gone`
    return {"reason": supervisor.ending.reason, "asked": supervisor.ending.asked}


async def _status(supervisor: Supervisor, request: ClientRequest) -> dict[str, Any]:
    """Reply with the counters of `sandboxd`, the guest's daemon; fail after `timeout` seconds."""
    timeout = request.fields.get("timeout", TIMEOUTS.ping)
    return asdict(await supervisor.machine.status(parse_duration(timeout)))


async def _checkpoint(supervisor: Supervisor, request: ClientRequest) -> dict[str, Any]:
    """Take a snapshot. Save it as `name`, or without a name, send its files to the client."""
    name = request.fields.get("name")
    if not isinstance(name, str | None):
        raise UsageError(f"{name!r} is not a valid name of a snapshot")
    async with supervisor.queue.turn("a checkpoint is being taken", wait=request.waits):
        snapshot = await supervisor.machine.checkpoint(name)
    if name is not None:
        return {"pause": snapshot.pause}
    with snapshot:
        exported, descriptors = snapshot._export()
        request.client.passed += map(os.dup, descriptors)
    return exported


async def _facts(supervisor: Supervisor, request: ClientRequest) -> dict[str, Any]:
    """Reply with the description of the machine, as in `machine.json`, and its current state."""
    qemu = supervisor.facts.get("qemu")
    return {
        **supervisor.facts,
        "state": "ending" if supervisor.ended.done() else "running" if qemu else "starting",
        "runs": supervisor.queue.runs or None,
        "waiting": supervisor.queue.length,
        **(_usage(qemu) if qemu else {}),
    }


def _usage(pid: int) -> dict[str, Any]:
    """Return the memory (resident bytes) and CPU time (seconds) of QEMU; empty if it exited."""
    if not (fields := stat_fields(pid)):
        return {}
    return {
        "memory_used": int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        "cpu_time": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
    }


Handler = Callable[["Supervisor", "ClientRequest"], Coroutine[Any, Any, dict[str, Any]]]

HANDLERS: dict[str, Handler] = {
    "checkpoint": _checkpoint,
    "exec": _exec,
    "facts": _facts,
    "status": _status,
    "stop": _stop,
    "wait": _wait,
}
"""The handler of each request, by the value of `call`."""

LASTING = frozenset({"checkpoint", "exec", "wait"})
"""The requests that can last for any time, because they wait for other clients or commands."""
