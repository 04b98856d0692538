"""The functions of a supervisor that handle the requests of clients, and a table of them."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

from microvm.concurrency.tasks import cancel
from microvm.errors import MicroVMError, UsageError
from microvm.guest.exchange import give_up
from microvm.guest.stdio import attach, copy_in
from microvm.machine import hints
from microvm.printable import printable
from microvm.supervisor.descriptors import ClientDescriptor
from microvm.supervisor.recent_output import OutputView
from microvm.system.process import stat_fields
from microvm.wire import files, streams

if TYPE_CHECKING:
    from microvm.guest.process import Process
    from microvm.guest.streams import InputStream
    from microvm.supervisor.detached import DetachedCommand
    from microvm.supervisor.server import ClientRequest
    from microvm.supervisor.supervised import SupervisedMachine

_CLEANUP_TIMEOUT = 10.0  # maximum number of seconds to clean up a cancelled file transfer
_MAX_SHOWN = 200  # maximum number of characters of a command line that users see


async def _exec(owned: SupervisedMachine, request: ClientRequest) -> dict[str, Any]:
    """Run a client's command, whose standard streams are the descriptors that the client sent.

    With `sized` in the request, wait until the client has sent the size of its terminal, before any
    output is written. The client sends the size when its terminal is ready.

    With `detach` in the request, which then has no descriptors, reply with the `id` of the command
    as soon as it runs.

    If the command fails, and its machine lacks memory, disk space or a network, send a notice.
    """
    argv, options = request.fields.get("argv"), request.fields.get("options", {})
    if not isinstance(argv, list) or not isinstance(options, dict):
        raise UsageError("a command needs a list of arguments, and an object of options")
    if request.fields.get("detach"):
        command = await owned.detached.start(
            lambda: owned.machine, argv, options, _shown(argv, options), wait=request.waits
        )
        return {"id": command.number}
    with ExitStack() as opened:
        source, out, err = _streams(request, opened)
        async with (
            owned.queue.turn(_shown(argv, options), wait=request.waits),
            await owned.machine.exec(argv, **options) as process,
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
            errors = hints.ErrorTail()
            try:
                returncode = await attach(process, feed, out.write, errors.watch(err.write))
            except BrokenPipeError:
                returncode = -signal.SIGPIPE
            except asyncio.CancelledError:
                if options.get("command") == files.PROGRAM:
                    # The program `carry` transfers files. Give it time to remove a partly written
                    # file in the guest.
                    await give_up(process, _CLEANUP_TIMEOUT)
                raise
            peak, memory = process.memory, owned.machine.memory
            hint = errors.hint(returncode, peak, memory, copier=owned.copier, opener=owned.opener)
            if hint:
                await request.client.send({"notice": hint})
    return {"returncode": returncode, "memory": peak}


def _streams(request: ClientRequest, opened: ExitStack) -> list[ClientDescriptor]:
    """Return the standard streams that the client sent, which `opened` closes."""
    if len(request.client.descriptors) != 3:
        raise UsageError("a command needs three descriptors: standard input, output and error")
    return [
        opened.enter_context(ClientDescriptor(request.client.descriptors.pop(0), writes=writes))
        for writes in (False, True, True)
    ]


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


def _shown(argv: list[Any], options: dict[str, Any]) -> str:
    """Return a command line to show; for a program of microvm, a description of its task."""
    # The first argument of microvm's own programs describes their task, such as `copy a file`.
    # Their second argument is a checksum, which users need not see.
    described = options.get("command") in (files.PROGRAM, streams.PROGRAM)
    line = printable(" ".join(map(str, argv[:1])) if described else shlex.join(map(str, argv)))
    return line if len(line) <= _MAX_SHOWN else f"{line[: _MAX_SHOWN - 1]}…"


async def _attach(owned: SupervisedMachine, request: ClientRequest) -> dict[str, Any]:
    """Write the output of the detached command `id` to the descriptors that the client sent.

    The request can have these fields:

    - `recent`: begin with the output that the supervisor has stored.
    - `input`: send the client's standard input to the command.
    - `follow`: continue until the command has exited and all of its output was written, and reply
      with its result. Without `follow`, reply after the stored output.

    If the output goes to a pipe, and the reader of the pipe has closed it, the result contains
    `unread`.

    Before the result, the client gets two kinds of lines. The line `dropped` contains, for each
    stream, the number of bytes that are missing from the output. It is sent first, and again at the
    end if the numbers have changed. The line `exited` is sent as soon as the command has exited,
    because the result is sent only after the client has read all output.
    """
    command = owned.detached.find(request.fields.get("id"))
    recent, follow = (bool(request.fields.get(name)) for name in ("recent", "follow"))
    with ExitStack() as opened:
        source, out, err = _streams(request, opened)
        stream = opened.enter_context(command.input()) if request.fields.get("input") else None
        sized = asyncio.Event()
        ended = asyncio.Event()
        request.on_line.append(lambda line: _control(command.process, line, sized))
        request.on_line.append(lambda line: ended.set() if "eof" in line else None)
        views = [
            OutputView(each, recent=recent, follow=follow)
            for each in (command.stdout, command.stderr)
        ]
        dropped = [view.dropped for view in views]
        await request.client.send({"dropped": dropped})
        await request.client.send({"started": True})
        if request.fields.get("sized"):
            await sized.wait()
        others = [asyncio.create_task(_announce_exit(command, request))] if follow else []
        if stream is not None:
            others.append(asyncio.create_task(_lent(source, stream, ended)))
        copies = [
            asyncio.create_task(_copied(view, descriptor))
            for view, descriptor in zip(views, (out, err), strict=True)
        ]
        try:
            await asyncio.gather(*copies)
        except BrokenPipeError:
            return {"returncode": -signal.SIGPIPE, "memory": None, "unread": True}
        finally:
            await cancel([*copies, *others])
        if dropped != [view.dropped for view in views]:
            await request.client.send({"dropped": [view.dropped for view in views]})
        return await command.wait() if follow else {}


async def _copied(view: OutputView, descriptor: ClientDescriptor) -> None:
    while chunk := await view.next_chunk():
        await descriptor.write(chunk)


async def _announce_exit(command: DetachedCommand, request: ClientRequest) -> None:
    with suppress(MicroVMError):
        await command.wait()
    await request.client.send({"exited": True})


async def _lent(source: ClientDescriptor, stream: InputStream, ended: asyncio.Event) -> None:
    """Copy input to a detached command, and close it after the end of file.

    The exit of a client also causes an end of file, but must not close the input of the command. So
    close the input only when `ended` is set: the client has sent that its input has ended.
    """
    with source, suppress(BrokenPipeError):
        while data := await source.read():
            stream.write(data)
            await stream.drain()
        await ended.wait()  # is cancelled if the client disconnects
        stream.close()


async def _command(owned: SupervisedMachine, request: ClientRequest) -> dict[str, Any]:
    """Reply with the description of the detached command `id`."""
    command = owned.detached.find(request.fields.get("id"))
    return {
        "args": command.args,
        "input": command.has_input and not command.has_exited,
        "tty": command.has_terminal and not command.has_exited,
    }


async def _signal(owned: SupervisedMachine, request: ClientRequest) -> dict[str, Any]:
    """Send a signal to the detached command `id`."""
    command = owned.detached.find(request.fields.get("id"))
    _control(command.process, request.fields, asyncio.Event())
    return {}


async def _stop(owned: SupervisedMachine, request: ClientRequest) -> dict[str, Any]:
    """End the machine, and reply with the reason after its files were removed."""
    owned.ending.stop()
    return await owned.ending.reply()


async def _wait(owned: SupervisedMachine, request: ClientRequest) -> dict[str, Any]:
    """Reply when the machine has ended; for an `id`, when this detached command has exited."""
    if "id" in request.fields:
        return await owned.detached.find(request.fields["id"]).wait()
    return await owned.ending.reply()


async def _status(owned: SupervisedMachine, request: ClientRequest) -> dict[str, Any]:
    """Reply with the counters of `sandboxd`, the guest's daemon; fail after `timeout` seconds."""
    return asdict(await owned.machine.status(request.fields.get("timeout")))


async def _checkpoint(owned: SupervisedMachine, request: ClientRequest) -> dict[str, Any]:
    """Take a snapshot. Save it as `name`, or without a name, send its files to the client."""
    name = request.fields.get("name")
    if not isinstance(name, str | None):
        raise UsageError(f"{name!r} is not a valid name of a snapshot")
    queue = owned.queue
    async with queue.turn("a checkpoint is being taken", wait=request.waits, alone=True):
        ports = owned.ports
        async with ports.reverse_paused() if ports else nullcontext():
            snapshot = await owned.machine.checkpoint(name)
    if name is not None:
        return {"pause": snapshot.pause}
    with snapshot:
        exported, descriptors = snapshot._export()
        request.client.passed += map(os.dup, descriptors)
    return exported


async def _port(owned: SupervisedMachine, request: ClientRequest) -> dict[str, Any]:
    """Open the ports that the request lists, and reply with descriptions of these ports."""
    published, reverse = (request.fields.get(name, []) for name in ("publish", "reverse"))
    return await owned.open_ports(published, reverse)


async def _facts(owned: SupervisedMachine, request: ClientRequest) -> dict[str, Any]:
    """Reply with the description of the machine, as in `machine.json`, and its current state."""
    qemu = owned.facts.get("qemu")
    return {
        **owned.facts,
        "state": "ending" if owned.ending.wanted.done() else "running" if qemu else "starting",
        "runs": "; ".join(owned.queue.runs) or None,
        "running": [
            {"id": each.number, "command": each.purpose}
            for each in owned.queue.uses
            if not each.alone
        ],
        "max_commands": owned.queue.slots,
        "waiting": owned.queue.length,
        "commands": owned.detached.facts(),
        **owned.ports_facts(),
        **(usage(qemu) if qemu else {}),
    }


def usage(pid: int) -> dict[str, Any]:
    """Return the memory (resident bytes) and CPU time (seconds) of QEMU; empty if it exited."""
    if not (fields := stat_fields(pid)):
        return {}
    return {
        "memory_used": int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        "cpu_time": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
    }


Handler = Callable[["SupervisedMachine", "ClientRequest"], Coroutine[Any, Any, dict[str, Any]]]

HANDLERS: dict[str, Handler] = {
    "attach": _attach,
    "checkpoint": _checkpoint,
    "command": _command,
    "exec": _exec,
    "facts": _facts,
    "port": _port,
    "signal": _signal,
    "status": _status,
    "stop": _stop,
    "wait": _wait,
}
"""The handler of each request, by the value of `call`."""

LASTING = frozenset({"attach", "checkpoint", "exec", "wait"})
"""The requests that can last for any time, because they wait for other clients or commands."""
