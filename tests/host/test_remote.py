"""Tests of the client of a simulated supervisor."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
from array import array
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM
from subprocess import PIPE
from typing import Any

import pytest
from tests.support.options import exec_options
from tests.support.peer import TIMEOUT
from tests.support.virtual_loop import VirtualLoop

from microvm.errors import (
    ExecKilled,
    ExecTimeout,
    GuestDied,
    GuestUnresponsive,
    MachineError,
    MicroVMError,
    OutputLimit,
    ProtocolError,
    UsageError,
)
from microvm.guest.process import Process
from microvm.guest.run import run
from microvm.guest.timeouts import TIMEOUTS, Timeouts
from microvm.supervisor.client import protocol
from microvm.supervisor.client.asynchronous import AsyncConnection
from microvm.supervisor.client.connector import Connector
from microvm.supervisor.client.remote_guest import RemoteGuest
from microvm.supervisor.error_json import to_json
from microvm.wire.session import WINDOW

MEMORY = 40 << 20
PIPE_SIZE = 1 << 16

QUICK = Timeouts(ping_interval=0.01, ping=0.1, kill=0.1, loss_grace=0.0)
"""The time-outs of a host that waits in vain."""


class ReceivedRequest:
    """A request that reached the supervisor, and its connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.descriptors: list[int] = []
        self.asked: dict[str, Any] = {}
        self._received = b""

    async def hear(self) -> dict[str, Any]:
        """Return the next line; answer pings before it. Raise EOFError if the client is gone."""
        while True:
            while b"\n" not in self._received:
                data = b""
                with suppress(ConnectionResetError):
                    data = await asyncio.get_running_loop().sock_recv(self.connection, 1 << 16)
                if not data:
                    raise EOFError
                self._received += data
            line, _, self._received = self._received.partition(b"\n")
            message: dict[str, Any] = json.loads(line)
            if "ping" not in message:
                return message
            self.say({"pong": message["ping"]})

    def say(self, message: object) -> None:
        self.connection.sendall(json.dumps(message).encode() + b"\n")

    def fail(self, error: MicroVMError) -> None:
        self.finish()
        self.say({"error": to_json(error), "status": error.exit_status})

    def exit(self, returncode: int) -> None:
        self.finish()
        self.say({"result": {"returncode": returncode, "memory": MEMORY}})

    def finish(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())

    def write(self, stream: int, data: bytes) -> None:
        while data:
            data = data[os.write(self.descriptors[stream], data) :]

    def close(self) -> None:
        self.finish()
        self.connection.close()


class Played(Connector):
    """A simulated supervisor, which sends the messages of the test."""

    name = "played"

    def __init__(self, **options: Any) -> None:
        self.guest = RemoteGuest(self, **options)
        self.requests: asyncio.Queue[ReceivedRequest] = asyncio.Queue()
        self.all: list[ReceivedRequest] = []
        self.loop = asyncio.get_running_loop()

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> socket.socket:
        ours, theirs = socket.socketpair()
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))
        ours.sendmsg([json.dumps(request).encode() + b"\n"], [rights])
        self.loop.call_soon_threadsafe(self._accept, theirs)
        return ours

    def _accept(self, connection: socket.socket) -> None:
        request = ReceivedRequest(connection)
        data, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 8)
        connection.setblocking(False)
        request.asked, request.descriptors = json.loads(data), descriptors
        self.all.append(request)
        self.requests.put_nowait(request)

    def lost(self) -> MachineError:
        return GuestDied("it was stopped")

    def silent(self) -> MachineError:
        return GuestUnresponsive("the supervisor does not answer")

    async def starts(self) -> ReceivedRequest:
        """Return the next request after the start of its command."""
        request = await self.requests.get()
        request.say({"started": True})
        return request

    async def started(self, argv: list[str], **options: Any) -> tuple[Process, ReceivedRequest]:
        """Start a command; return its process and its request."""
        starting = self.guest.start(argv, exec_options(**options))
        process, request = await asyncio.gather(starting, self.starts())
        return process, request


@asynccontextmanager
async def attached(**options: Any) -> AsyncIterator[Played]:
    """Yield a simulated supervisor with its guest; check that all descriptors are closed."""
    await asyncio.sleep(0)  # uvloop opens some descriptors in its first turn
    before = descriptors()
    played = Played(**options)
    try:
        yield played
    finally:
        for request in played.all:
            request.close()
        await played.guest.close()
    assert descriptors() == before


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


@pytest.fixture
async def played() -> AsyncIterator[Played]:
    """A simulated supervisor with a guest that has the default options."""
    async with attached() as played:
        yield played


async def test_a_command_waits_while_its_output_is_not_read(played: Played) -> None:
    process, request = await played.started(["yes"])
    os.set_blocking(request.descriptors[1], False)
    written = 0
    async with asyncio.timeout(TIMEOUT):
        while written <= WINDOW + PIPE_SIZE:
            try:
                written += os.write(request.descriptors[1], bytes(PIPE_SIZE))
            except BlockingIOError:
                if written >= WINDOW:
                    break
                await asyncio.sleep(0)
    assert WINDOW <= written <= WINDOW + 2 * PIPE_SIZE
    assert process.returncode is None
    reading = asyncio.create_task(process.stdout.read())
    await asyncio.sleep(0)
    os.set_blocking(request.descriptors[1], True)
    await asyncio.to_thread(request.write, 1, bytes(3 * WINDOW))
    request.exit(0)
    assert len(await reading) == written + 3 * WINDOW
    assert await process.wait() == 0


@pytest.mark.parametrize(
    "error", [ExecTimeout("x", 1.5), OutputLimit("x", 5)], ids=lambda error: type(error).__name__
)
async def test_error_of_a_killed_command_has_its_output(played: Played, error: ExecKilled) -> None:
    running = asyncio.create_task(run(played.guest, ["x"], text=True))
    request = await played.starts()
    request.write(1, b"some\xff")
    request.write(2, b"more")
    error.memory, error.returncode = MEMORY, -SIGKILL
    request.fail(error)
    with pytest.raises(type(error)) as caught:
        await running
    assert (caught.value.stdout, caught.value.stderr) == ("some\ufffd", "more")
    assert caught.value.memory == MEMORY


async def test_a_killed_command_ends_although_nobody_reads_its_output(played: Played) -> None:
    process, request = await played.started(["yes"])
    await asyncio.to_thread(request.write, 1, bytes(WINDOW))
    error = ExecTimeout("yes", 1)
    error.returncode = -SIGKILL
    request.fail(error)
    with pytest.raises(ExecTimeout):
        await process.wait()
    assert process.returncode == -SIGKILL
    assert len(await process.stdout.read()) == WINDOW


async def test_an_exited_supervisor_means_that_the_guest_died(played: Played) -> None:
    process, request = await played.started(["sleep", "9"])
    calling = asyncio.create_task(played.guest.ping())
    other = await played.requests.get()
    request.write(2, b"last words")
    request.close()
    other.close()
    for ended in (process.wait(), calling):
        with pytest.raises(GuestDied, match="it was stopped"):
            await ended
    assert await process.stderr.read(99) == b"last words"
    with pytest.raises(GuestDied):
        await process.stderr.read()


@pytest.mark.parametrize("line", [b"{]\n", b"7\n", b'{"result": {}}\n', b'{"started": 1}\n[]\n'])
async def test_an_invalid_line_of_the_supervisor_is_an_error(played: Played, line: bytes) -> None:
    starting = asyncio.create_task(run(played.guest, ["x"]))
    request = await played.requests.get()
    request.connection.sendall(line)
    request.finish()
    with pytest.raises((ProtocolError, GuestDied)):
        await starting


async def test_a_supervisor_that_does_not_answer_is_noticed() -> None:
    async with attached(timeouts=QUICK) as played:
        starting = asyncio.create_task(played.starts())
        with pytest.raises(GuestUnresponsive, match="does not answer"):
            await run(played.guest, ["x"])
        with pytest.raises(GuestUnresponsive, match="does not answer"):
            await played.guest.ping()
        await starting


def test_a_supervisor_that_answers_pings_is_waited_for() -> None:
    async def scene() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        silent = asyncio.Event()
        talk = AsyncConnection(ours, "one", on_event=print, on_silence=silent.set)
        request = ReceivedRequest(theirs)
        answering = asyncio.create_task(request.hear())
        await asyncio.sleep(100 * TIMEOUTS.ping)
        assert not silent.is_set()
        talk.send(protocol.signal(SIGTERM))
        assert await answering == {"signal": SIGTERM}
        unanswered = asyncio.get_running_loop().time()
        await silent.wait()
        waited = asyncio.get_running_loop().time() - unanswered
        assert TIMEOUTS.ping <= waited <= TIMEOUTS.ping + TIMEOUTS.ping_interval + 0.001
        talk.close()
        theirs.close()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scene())


async def test_next_command_waits_until_a_cancelled_one_is_killed(played: Played) -> None:
    process, request = await played.started(["yes"])
    running = asyncio.create_task(process.communicate())
    await asyncio.sleep(0)
    running.cancel()
    assert await request.hear() == {"abandon": True}
    following = asyncio.create_task(played.guest.start(["true"], exec_options()))
    await asyncio.to_thread(request.write, 1, bytes(3 * WINDOW))  # this message is dropped
    assert played.requests.empty()
    request.exit(-SIGKILL)
    with pytest.raises(asyncio.CancelledError):
        await running
    next_request = await played.starts()
    next_request.exit(0)
    assert await (await following).wait() == 0


async def test_cancelling_a_start_closes_the_connection() -> None:
    async with attached(wait=True) as played:
        starting = asyncio.create_task(played.guest.start(["x"], exec_options()))
        request = await played.requests.get()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        with pytest.raises(EOFError):
            await request.hear()
        following = asyncio.create_task(played.guest.start(["y"], exec_options()))
        request.close()  # the command has ended now
        second = await played.starts()
        second.exit(0)
        assert await (await following).wait() == 0


@pytest.mark.thorough
async def test_a_dropped_process_is_killed(played: Played) -> None:
    process, request = await played.started(["x"])
    stream = process.stdout
    del process
    gc.collect()
    assert not played.guest._commands or not next(iter(played.guest._commands)).command.abandoned
    del stream
    gc.collect()
    assert await request.hear() == {"abandon": True}
    request.exit(-SIGKILL)
    await played.guest._wait_idle()


@pytest.mark.thorough
async def test_closing_kills_commands_and_refuses_new_ones(played: Played) -> None:
    process, request = await played.started(["x"])
    waiting = asyncio.create_task(played.guest.start(["y"], exec_options()))
    second = await played.requests.get()
    calling = asyncio.create_task(played.guest.status())
    await played.requests.get()
    closing = asyncio.create_task(played.guest.close())
    assert await request.hear() == {"abandon": True}
    request.exit(-SIGKILL)
    with pytest.raises(EOFError):
        await second.hear()
    assert not closing.done()
    second.close()
    await closing
    assert process.returncode == -SIGKILL
    for refused in (waiting, calling, played.guest.start(["z"], exec_options())):
        with pytest.raises(UsageError, match="let go"):
            await refused


@pytest.mark.thorough
def test_commands_are_killed_with_their_event_loop() -> None:
    gc.collect()
    before = descriptors()
    kept: list[Any] = []

    async def main() -> None:
        played = Played()
        guest = played.guest
        process, request = await played.started(["sleep", "9"], stdin=PIPE)
        idle, other = await played.started(["true"])
        other.exit(0)
        await idle.wait()
        other.close()
        kept.extend((guest, process, request))

    with pytest.warns(ResourceWarning, match="left running in machine played: sleep") as warned:
        asyncio.run(main())
    assert len(warned) == 1
    _, process, request = kept
    assert request.connection.recv(99) == b""
    assert process.returncode == UsageError.exit_status
    request.close()
    assert descriptors() == before


async def test_descriptors_of_a_reply_belong_to_the_caller(played: Played) -> None:
    calling = asyncio.create_task(played.guest.call_for_files("open"))
    request = await played.requests.get()
    with Path("/dev/null").open("rb") as file:  # noqa: ASYNC230
        socket.send_fds(request.connection, [b'{"result": 1}\n'], [file.fileno()])
    answer, [descriptor] = await calling
    assert answer == 1
    assert os.fstat(descriptor).st_rdev == os.makedev(1, 3)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
