"""The conversation with a guest that is played by the test, and need not play fair."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from signal import SIGKILL, SIGTERM
from subprocess import DEVNULL, PIPE, STDOUT, CalledProcessError
from typing import Any, TypeVar

import pytest

from microvm.errors import (
    Busy,
    ExecTimeout,
    GuestDied,
    GuestUnresponsive,
    MachineError,
    OutputLimit,
    ProtocolError,
    StartError,
    UsageError,
    VersionMismatch,
)
from microvm.guest.deadline import Deadline
from microvm.guest.guest import Guest
from microvm.guest.process import CompletedProcess, Process
from microvm.guest.run import run
from microvm.guest.streams import OutputStream
from microvm.guest.timeouts import Timeouts
from microvm.wire import codec
from microvm.wire.channel import FRAMES_PER_TURN
from microvm.wire.codec import Ending, Stage, Stream
from microvm.wire.session import WINDOW

M = TypeVar("M", bound=codec.Message)

PIECE = 65536
SOON = 0.05
"""Long enough for what happens at once, in seconds."""

PROMPT = Timeouts(loss_grace=0.0)
"""The product's, but for a machine that has no owner to say how it ended."""

HASTE = 0.5
"""Instead of the seconds that a guest has to answer."""

HASTY = Timeouts(ping_interval=0.02, ping=HASTE, kill=HASTE, loss_grace=0.0)
"""For who asks early whether the guest is alive, and waits a moment only for its answers."""

PATIENCE = 30.0
"""For what must happen, however busy the machine."""


class Peer:
    """The guest's end of the port; it says what the test makes it say."""

    def __init__(self, port: socket.socket) -> None:
        self.port = port
        self._decoder = codec.Decoder("host")
        self.nonce = 0
        self.id = 0
        self.credit: dict[Stream, int] = {}

    async def hear(self) -> codec.Message:
        """The next message of the host; EOFError when it has gone."""
        while (message := self._decoder.next_message()) is None:
            data = await asyncio.get_running_loop().sock_recv(self.port, 1 << 20)
            if not data:
                raise EOFError
            self._decoder.receive_data(data)
        match message:
            case codec.ExecRequest(id=id_, stdout_credit=out, stderr_credit=err):
                self.id, self.credit = id_, {Stream.STDOUT: out, Stream.STDERR: err}
            case codec.ExecCredit(stream=stream, amount=amount):
                self.credit[stream] += amount
        return message

    async def expect(self, kind: type[M]) -> M:
        """The next message, which must be of this kind."""
        message = await self.hear()
        assert isinstance(message, kind), message
        return message

    async def hears_nothing(self) -> bool:
        """Whether the host stays silent for a moment."""
        try:
            async with asyncio.timeout(SOON):
                await self.hear()
        except TimeoutError:
            return True
        return False

    async def say(self, *messages: codec.Message | bytes) -> None:
        data = [m if isinstance(m, bytes) else m.encode() for m in messages]
        await asyncio.get_running_loop().sock_sendall(self.port, b"".join(data))

    async def greet(self, *, digest: int = codec.DIGEST) -> None:
        """Answer the hello."""
        self.nonce = (await self.expect(codec.Hello)).nonce
        await self.say(codec.Ready(codec.VERSION, digest, codec.MAX_BODY, self.nonce))

    async def write(self, stream: Stream, data: bytes) -> None:
        """Write output, as far and as soon as it has been paid for."""
        view = memoryview(data)
        while view:
            while not self.credit[stream]:
                await self.expect(codec.ExecCredit)
            size = min(len(view), PIECE, self.credit[stream])
            self.credit[stream] -= size
            await self.say(codec.ExecOutput(self.id, stream, view[:size]))
            view = view[size:]

    async def exit(self, status: int, ending: Ending = Ending.EXITED) -> None:
        await self.say(codec.ExecResponse(self.id, ending, status))

    async def is_left(self) -> bool:
        """Whether the host has closed the port."""
        with suppress(EOFError, ConnectionResetError):
            while True:
                await self.hear()
        return True


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tuple[Guest, Peer]]:
    """A guest that has been connected to, and who plays it; nothing may go unnoticed."""
    unhandled: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    guest = Guest(**{"timeouts": PROMPT, **options})
    await guest.connect(ours)
    try:
        yield guest, Peer(theirs)
    finally:
        guest.fail(GuestDied("the test is over"))
        theirs.close()
        await asyncio.sleep(0)
    assert unhandled == []


@asynccontextmanager
async def greeted(**options: Any) -> AsyncIterator[tuple[Guest, Peer]]:
    """A guest that is ready."""
    async with connected(**options) as (guest, peer):
        await asyncio.gather(guest.ready(PATIENCE), peer.greet())
        await peer.expect(codec.Resume)
        yield guest, peer


# -- Getting ready ------------------------------------------------------------------------------


async def test_a_guest_that_never_answers_hello_is_a_time_out() -> None:
    async with connected() as (guest, _):
        with pytest.raises(TimeoutError):
            await guest.ready(SOON)
        assert guest.error is None


async def test_a_guest_that_answers_after_a_time_out_can_still_be_waited_for() -> None:
    async with connected() as (guest, peer):
        with pytest.raises(TimeoutError):
            await guest.ready(SOON)
        await peer.greet()
        await guest.ready(PATIENCE)
        await peer.expect(codec.Resume)


async def test_what_is_left_of_an_older_life_is_not_heard() -> None:
    async with connected() as (guest, peer):
        await peer.say(codec.ExecOutput(9, Stream.STDOUT, b"old"), codec.Pong(1))
        await asyncio.gather(guest.ready(PATIENCE), peer.greet())
        await peer.expect(codec.Resume)
        assert guest.error is None


async def test_a_port_that_closes_before_the_answer_is_a_death() -> None:
    async with connected() as (guest, peer):
        peer.port.close()
        with pytest.raises(GuestDied, match="the connection to the guest ended"):
            await guest.ready(PATIENCE)


async def test_a_guest_of_another_schema_is_refused_and_left() -> None:
    async with connected() as (guest, peer):
        await peer.greet(digest=0)
        with pytest.raises(VersionMismatch):
            await guest.ready(PATIENCE)
        assert await peer.is_left()


async def test_a_guest_that_sends_garbage_is_refused_and_left() -> None:
    async with connected() as (guest, peer):
        await peer.say(b"login: \r\n\r\n\r\n")
        with pytest.raises(ProtocolError, match="malformed frame"):
            await guest.ready(PATIENCE)
        assert await peer.is_left()


async def test_nothing_can_be_run_before_it_is_ready() -> None:
    async with connected() as (guest, _):
        with pytest.raises(MachineError):
            guest.exec(["true"])
        with pytest.raises(MachineError):
            await guest.ping()
        with pytest.raises(MachineError):
            await guest.status()


# -- Running ------------------------------------------------------------------------------------


async def answered(
    running: Awaitable[CompletedProcess[Any]], script: Callable[[], Awaitable[None]]
) -> CompletedProcess[Any]:
    """The result of a command, while the other side follows its script."""
    result, _ = await asyncio.gather(running, script())
    assert isinstance(result, CompletedProcess)
    return result


async def test_run_captures_both_streams_and_the_exit_code() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            request = await peer.expect(codec.ExecRequest)
            assert request.argv == (b"sh", b"-c", b"x")
            await peer.write(Stream.STDOUT, b"out\n")
            await peer.write(Stream.STDERR, b"\xfferr")
            await peer.write(Stream.STDOUT, b"more")
            await peer.exit(3)

        result = await answered(run(guest, ["sh", "-c", "x"]), script)
        assert result == CompletedProcess(["sh", "-c", "x"], 3, b"out\nmore", b"\xfferr")


async def test_a_command_that_a_signal_ended_has_its_negative_number() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.exit(9, Ending.SIGNALLED)

        assert (await answered(run(guest, ["true"]), script)).returncode == -9


async def test_check_raises_what_subprocess_raises() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.write(Stream.STDOUT, b"out")
            await peer.exit(1)

        with pytest.raises(CalledProcessError) as caught:
            await answered(run(guest, ["false"], check=True), script)
        assert (caught.value.returncode, caught.value.stdout) == (1, b"out")


async def test_a_command_that_cannot_start_says_where_and_why() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.say(codec.ExecFailed(peer.id, Stage.CHDIR, 13))

        with pytest.raises(StartError, match="cannot enter its working directory") as caught:
            await answered(run(guest, ["ls"], cwd="/x"), script)
        assert (caught.value.stage, caught.value.errno) == ("chdir", 13)


async def test_an_errno_that_there_is_none_of_is_named_by_its_number() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.say(codec.ExecFailed(peer.id, Stage.EXEC, 2**32 - 1))

        with pytest.raises(StartError, match="errno 4294967295"):
            await answered(run(guest, ["ls"]), script)


async def test_a_stage_of_a_newer_guest_is_named_by_its_number() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.say(codec.ExecFailed(peer.id, 99, 2))

        with pytest.raises(StartError, match="stage 99 failed"):
            await answered(run(guest, ["ls"]), script)


async def test_text_and_paths_are_sent_as_the_operating_system_spells_them() -> None:
    async with greeted() as (guest, peer):
        guest.exec(["é", b"\xff", "\udcff"], command="/bin/é", env={"É": "ü"}, cwd=Path("/tmp/é"))
        request = await peer.expect(codec.ExecRequest)
        assert request.command == b"/bin/\xc3\xa9"
        assert request.argv == (b"\xc3\xa9", b"\xff", b"\xff")
        assert request.env == (b"\xc3\x89=\xc3\xbc",)
        assert request.cwd == b"/tmp/\xc3\xa9"


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        ([], {}),
        (["a\0b"], {}),
        (["\ud800"], {}),
        (["a"], {"env": {"A=B": "c"}}),
        (["a"], {"env": {"A": "\0"}}),
        (["a"], {"cwd": "/\0"}),
        (["a" * 200_000], {}),
    ],
    ids=["empty", "NUL", "surrogate", "name", "NUL in env", "NUL in cwd", "too long"],
)
async def test_a_command_that_cannot_be_sent_is_refused_and_nothing_is_said(
    argv: list[str], options: dict[str, Any]
) -> None:
    async with greeted() as (guest, peer):
        with pytest.raises(UsageError):
            guest.exec(argv, **options)
        guest.exec(["true"])
        assert (await peer.expect(codec.ExecRequest)).id == 1


async def test_a_second_command_is_busy_and_the_first_undisturbed() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["sleep", "1"])
        with pytest.raises(Busy):
            guest.exec(["true"])
        await peer.expect(codec.ExecRequest)
        await peer.write(Stream.STDOUT, b"first")
        await peer.exit(0)
        assert await process.stdout.read() == b"first"
        assert await process.wait() == 0


async def test_output_comes_chunk_by_chunk_while_the_command_runs() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"])
        await peer.expect(codec.ExecRequest)
        for data in (b"one", b"two"):
            await peer.write(Stream.STDERR, data)
            assert bytes(await anext(process.stderr)) == data
            assert process.returncode is None


async def test_signals_are_sent_while_the_command_runs_and_not_after() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["sleep", "1"])
        await peer.expect(codec.ExecRequest)
        process.terminate()
        assert await peer.hear() == codec.ExecSignal(1, SIGTERM)
        process.kill()
        assert await peer.hear() == codec.ExecKill(1)
        await peer.exit(SIGKILL, Ending.SIGNALLED)
        assert await process.wait() == -SIGKILL
        process.terminate()
        process.kill()
        assert await peer.hears_nothing()


async def test_a_process_that_has_ended_does_not_signal_the_next_command() -> None:
    async with greeted() as (guest, peer):
        first = guest.exec(["true"])
        await peer.expect(codec.ExecRequest)
        await peer.exit(0)
        await first.wait()
        second = guest.exec(["sleep", "1"])
        await peer.expect(codec.ExecRequest)
        first.kill()
        first.terminate()
        first.abandon()
        del first
        assert await peer.hears_nothing()
        assert second.returncode is None


async def test_a_signal_that_does_not_exist_is_a_usage_error() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["sleep", "1"])
        await peer.expect(codec.ExecRequest)
        with pytest.raises(UsageError, match="no signal has the number 300"):
            process.send_signal(300)


# -- Loss ---------------------------------------------------------------------------------------


async def test_output_before_an_abrupt_end_is_read_then_comes_the_error() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"])
        await peer.expect(codec.ExecRequest)
        await peer.write(Stream.STDOUT, b"a" * PIECE)
        await peer.write(Stream.STDOUT, b"tail")
        half = codec.ExecOutput(1, Stream.STDOUT, b"lost").encode()[:-2]
        await peer.say(half)
        peer.port.close()
        with pytest.raises(GuestDied):
            await process.wait()
        assert bytes(await anext(process.stdout)) == b"a" * PIECE
        assert bytes(await anext(process.stdout)) == b"tail"
        for _ in range(2):
            with pytest.raises(GuestDied):
                await anext(process.stdout)


async def test_half_a_line_before_an_abrupt_end_is_a_line_then_comes_the_error() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"])
        await peer.expect(codec.ExecRequest)
        reading = asyncio.create_task(process.stdout.readline())
        await peer.write(Stream.STDOUT, b"half a")
        await asyncio.sleep(SOON)
        await peer.write(Stream.STDOUT, b" line")
        peer.port.close()
        assert await reading == b"half a line"
        with pytest.raises(GuestDied):
            await process.stdout.readline()


async def test_whoever_waits_is_told_of_the_loss() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"])
        waiting = [
            asyncio.ensure_future(waiter)
            for waiter in (
                process.wait(),
                process.stdout.read(),
                process.stderr.read(),
                guest.ping(),
                guest.status(),
            )
        ]
        await peer.expect(codec.ExecRequest)
        await asyncio.sleep(0)
        peer.port.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert results == [guest.error] * len(waiting)
        assert isinstance(guest.error, GuestDied)


async def test_after_the_loss_everything_raises_its_reason() -> None:
    async with greeted() as (guest, _):
        reason = guest.fail(GuestDied("it halted"))
        for use in (run(guest, ["true"]), guest.ping(), guest.status(), guest.ready(1)):
            with pytest.raises(GuestDied) as caught:
                await use
            assert caught.value is reason


async def test_a_loss_that_nobody_waits_for_is_not_reported_by_asyncio() -> None:
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    ours, theirs = socket.socketpair()
    guest = Guest()
    await guest.connect(ours)
    guest.fail(GuestDied("before anybody asked"))
    await asyncio.sleep(0)
    theirs.close()
    del guest
    gc.collect()
    assert unhandled == []


async def test_the_first_reason_counts() -> None:
    async with greeted() as (guest, _):
        first = guest.fail(GuestDied("first"))
        assert guest.fail(GuestUnresponsive("second")) is first
        assert guest.error is first


async def test_the_owner_of_the_machine_can_give_a_better_reason_within_the_grace() -> None:
    async with greeted(timeouts=Timeouts(loss_grace=PATIENCE)) as (guest, peer):
        process = guest.exec(["cat"])
        peer.port.close()
        await asyncio.sleep(SOON)
        assert guest.error is None
        guest.fail(GuestDied("the guest reset"))
        with pytest.raises(GuestDied, match="the guest reset"):
            await process.wait()


async def test_without_a_better_reason_the_grace_ends() -> None:
    async with greeted(timeouts=Timeouts(loss_grace=SOON)) as (guest, peer):
        peer.port.close()
        with pytest.raises(GuestDied, match="the connection to the guest ended"):
            await guest.ping()


async def test_garbage_while_a_command_runs_ends_it_at_once() -> None:
    async with greeted(timeouts=Timeouts(loss_grace=PATIENCE)) as (guest, peer):
        process = guest.exec(["cat"])
        await peer.expect(codec.ExecRequest)
        await peer.write(Stream.STDOUT, b"good")
        await peer.say(b"\xff" * 100)
        with pytest.raises(ProtocolError):
            await process.wait()
        assert bytes(await anext(process.stdout)) == b"good"
        assert await peer.is_left()


async def test_a_flood_without_credit_is_refused() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"])
        await peer.expect(codec.ExecRequest)
        await peer.write(Stream.STDOUT, bytes(WINDOW))
        await peer.say(codec.ExecOutput(1, Stream.STDOUT, b"x"))
        with pytest.raises(ProtocolError, match="ExecOutput where it must not"):
            await process.wait()


# -- Pings --------------------------------------------------------------------------------------


async def test_ping_returns_with_the_answer() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.say(codec.Pong((await peer.expect(codec.Ping)).token))

        await asyncio.gather(guest.ping(), script())


async def test_status_returns_the_counters() -> None:
    async with greeted() as (guest, peer):
        counters = codec.Status(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)

        async def script() -> None:
            await peer.expect(codec.StatusRequest)
            await peer.say(counters)

        status, _ = await asyncio.gather(guest.status(), script())
        assert status == counters


async def test_a_ping_that_is_not_answered_ends_the_guest() -> None:
    async with greeted(console_tail=lambda: "Kernel panic") as (guest, peer):
        with pytest.raises(GuestUnresponsive, match=r"did not answer within 0\.05 s") as caught:
            await guest.ping(SOON)
        assert caught.value.detail == "Kernel panic"
        assert guest.error is caught.value
        assert await peer.is_left()


@pytest.mark.parametrize("ask", [Guest.ping, Guest.status], ids=["ping", "status"])
async def test_the_answer_to_a_question_that_was_given_up_does_no_harm(
    ask: Callable[[Guest], Awaitable[Any]],
) -> None:
    async with greeted() as (guest, peer):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await ask(guest)
        question = await peer.hear()
        if isinstance(question, codec.Ping):
            await peer.say(codec.Pong(question.token))
        else:
            await peer.say(codec.Status(0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        process = guest.exec(["true"])
        await peer.expect(codec.ExecRequest)
        await peer.exit(0)
        assert await process.wait() == 0


async def test_a_guest_that_stops_answering_while_a_command_runs_is_given_up() -> None:
    async with greeted(timeouts=HASTY, console_tail=lambda: "the end") as (guest, peer):
        process = guest.exec(["cat"])
        await peer.expect(codec.ExecRequest)
        ping = await peer.expect(codec.Ping)
        await peer.say(codec.Pong(ping.token))
        await peer.expect(codec.Ping)
        await peer.write(Stream.STDOUT, b"output is no answer")
        with pytest.raises(GuestUnresponsive, match="has it halted") as caught:
            await process.wait()
        assert caught.value.detail == "the end"
        assert await peer.is_left()


async def test_a_guest_that_answers_is_asked_again_until_the_command_ends() -> None:
    async with greeted(timeouts=HASTY) as (guest, peer):
        process = guest.exec(["cat"])
        await peer.expect(codec.ExecRequest)
        # Longer than it may take for one answer.
        until = time.monotonic() + 2 * HASTE
        while time.monotonic() < until:
            await peer.say(codec.Pong((await peer.expect(codec.Ping)).token))
        await peer.exit(0)
        assert await process.wait() == 0
        assert await peer.hears_nothing()


async def test_an_answer_to_somebody_else_is_no_sign_of_life() -> None:
    async with greeted(timeouts=HASTY) as (guest, peer):
        process = guest.exec(["cat"])
        await peer.expect(codec.ExecRequest)
        await peer.expect(codec.Ping)

        async def script() -> None:
            await peer.say(codec.Pong((await peer.expect(codec.Ping)).token))

        await asyncio.gather(guest.ping(PATIENCE), script())
        with pytest.raises(GuestUnresponsive):
            await process.wait()


async def test_an_idle_guest_is_not_asked() -> None:
    async with greeted(timeouts=HASTY) as (_, peer):
        assert await peer.hears_nothing()


# -- Time-outs, cancellation, kills -------------------------------------------------------------


async def test_a_time_out_kills_and_keeps_the_output_so_far() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.write(Stream.STDOUT, b"so far")
            await peer.write(Stream.STDERR, b"no good")
            assert await peer.hear() == codec.ExecKill(1)
            await peer.write(Stream.STDOUT, b", so good")
            await peer.exit(SIGKILL, Ending.SIGNALLED)

        with pytest.raises(ExecTimeout, match=r"timed out after 0\.05 s") as caught:
            await answered(run(guest, ["sleep", "60"], timeout=SOON), script)
        assert (caught.value.stdout, caught.value.stderr) == (b"so far, so good", b"no good")
        assert guest.error is None


async def test_a_time_out_frees_a_command_that_waits_for_its_reader() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["yes"], timeout=0.5)
        await peer.expect(codec.ExecRequest)
        await peer.write(Stream.STDOUT, b"a" * WINDOW)
        credit = await peer.expect(codec.ExecCredit)
        assert (credit.stream, credit.amount) == (Stream.STDOUT, WINDOW)
        await peer.expect(codec.ExecKill)
        # It may have been ahead by a window; no more of it is kept, whatever it still sends.
        await peer.write(Stream.STDOUT, b"b" * 3 * WINDOW)
        await peer.exit(SIGKILL, Ending.SIGNALLED)
        with pytest.raises(ExecTimeout):
            await process.wait()
        assert await process.stdout.read() == b"a" * WINDOW + b"b" * WINDOW


async def test_output_that_a_time_out_has_let_go_is_not_paid_for_again_when_it_is_read() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["yes"], timeout=SOON)
        await peer.expect(codec.ExecRequest)
        half = WINDOW // 2
        await peer.write(Stream.STDOUT, bytes(half))
        heard = [await peer.hear(), await peer.hear()]
        assert {type(message) for message in heard} == {codec.ExecCredit, codec.ExecKill}
        taken = 0
        while taken < half:
            taken += len(await anext(process.stdout))
        assert await peer.hears_nothing()


async def test_a_command_that_ends_in_time_leaves_no_deadline_behind() -> None:
    async with greeted(timeouts=HASTY) as (guest, peer):
        process = guest.exec(["true"], timeout=0.5)
        await peer.expect(codec.ExecRequest)
        await peer.exit(0)
        assert await process.wait() == 0
        await asyncio.sleep(0.5 + HASTY.kill + SOON)
        assert guest.error is None
        assert await peer.hears_nothing()


async def test_a_kill_that_was_answered_leaves_no_deadline_behind() -> None:
    async with greeted(timeouts=HASTY) as (guest, peer):
        process = guest.exec(["sleep", "60"])
        await peer.expect(codec.ExecRequest)
        process.abandon()
        await peer.expect(codec.ExecKill)
        await peer.exit(SIGKILL, Ending.SIGNALLED)
        await process.wait()
        await asyncio.sleep(HASTY.kill + SOON)
        assert guest.error is None


async def test_a_kill_after_a_time_out_that_is_never_answered_ends_the_guest() -> None:
    async with greeted(timeouts=HASTY) as (guest, peer):

        async def answer_pings() -> None:
            with suppress(EOFError, ConnectionResetError, BrokenPipeError):
                while True:
                    message = await peer.hear()
                    if isinstance(message, codec.Ping):
                        await peer.say(codec.Pong(message.token))

        with pytest.raises(GuestUnresponsive, match="a killed command did not end"):
            await answered(run(guest, ["sleep", "60"], timeout=SOON), answer_pings)
        with pytest.raises(GuestUnresponsive):
            await run(guest, ["true"])


async def test_a_cancelled_run_kills_and_leaves_the_guest_ready_for_the_next() -> None:
    async with greeted() as (guest, peer):
        first = asyncio.create_task(run(guest, ["sleep", "60"]))
        await peer.expect(codec.ExecRequest)
        await peer.write(Stream.STDOUT, b"of no interest")
        first.cancel()
        assert await peer.hear() == codec.ExecKill(1)
        assert not first.done()
        await peer.exit(SIGKILL, Ending.SIGNALLED)
        with pytest.raises(asyncio.CancelledError):
            await first

        async def script() -> None:
            assert (await peer.expect(codec.ExecRequest)).id == 2
            await peer.write(Stream.STDOUT, b"second")
            await peer.exit(0)

        assert (await answered(run(guest, ["true"]), script)).stdout == b"second"


async def test_a_cancelled_communicate_kills_and_waits_for_the_end() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["sleep", "60"])
        task = asyncio.create_task(process.communicate())
        await asyncio.sleep(0)
        await peer.expect(codec.ExecRequest)
        task.cancel()
        assert await peer.hear() == codec.ExecKill(1)
        assert not task.done()
        await peer.exit(SIGKILL, Ending.SIGNALLED)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert process.returncode == -SIGKILL


async def test_a_cancelled_wait_or_read_leaves_the_command_running() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["sleep", "60"])
        await peer.expect(codec.ExecRequest)
        for waiting in (process.wait(), process.stdout.read()):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(waiting, SOON)
        assert await peer.hears_nothing()


async def test_a_block_that_is_left_early_kills_and_waits_for_the_end() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.write(Stream.STDOUT, b"one")
            assert await peer.expect(codec.ExecKill)
            await peer.exit(SIGKILL, Ending.SIGNALLED)

        async def leave() -> None:
            async with guest.exec(["yes"]) as process:
                assert await anext(process.stdout) == b"one"
            assert process.returncode == -SIGKILL

        await asyncio.gather(leave(), script())


async def test_a_block_that_is_left_after_the_end_says_nothing() -> None:
    async with greeted() as (guest, peer):
        async with guest.exec(["true"]) as process:
            await peer.expect(codec.ExecRequest)
            await peer.exit(0)
            await process.wait()
        assert await peer.hears_nothing()


async def test_a_cancelled_run_does_not_wait_for_ever_for_the_kill() -> None:
    async with greeted(timeouts=HASTY) as (guest, peer):
        task = asyncio.create_task(run(guest, ["sleep", "60"]))
        await peer.expect(codec.ExecRequest)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert isinstance(guest.error, GuestUnresponsive)


async def _arrives(stream: OutputStream, size: int) -> None:
    """Wait until this much has come and not been read."""
    async with asyncio.timeout(PATIENCE):
        while len(stream._buffer) < size:  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("stream", Stream)
async def test_an_abandoned_command_is_killed_and_drained(stream: Stream) -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["yes"])
        await peer.expect(codec.ExecRequest)
        await peer.write(stream, bytes(WINDOW))
        await _arrives(process.stdout if stream is Stream.STDOUT else process.stderr, WINDOW)
        process.abandon()
        heard = [await peer.hear(), await peer.hear()]
        assert {type(message) for message in heard} == {codec.ExecCredit, codec.ExecKill}
        await peer.write(stream, bytes(3 * WINDOW))
        await peer.exit(SIGKILL, Ending.SIGNALLED)
        assert await process.wait() == -SIGKILL
        assert guest.error is None


# -- Readers ------------------------------------------------------------------------------------


async def test_a_slow_reader_loses_nothing() -> None:
    content = Random(1).randbytes(3 * WINDOW + 12345)
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"])

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.write(Stream.STDOUT, content)
            await peer.exit(0)

        writing = asyncio.create_task(script())
        read = []
        async for chunk in process.stdout:
            read.append(bytes(chunk))
            await asyncio.sleep(0.001 if len(read) % 8 else 0)
        await writing
        assert b"".join(read) == content
        assert await process.wait() == 0


async def test_a_signal_gets_out_though_nobody_reads() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["yes"])
        await peer.expect(codec.ExecRequest)
        for stream in Stream:
            await peer.write(stream, bytes(WINDOW))
        process.terminate()
        assert await peer.hear() == codec.ExecSignal(1, SIGTERM)


async def test_a_full_stream_does_not_stall_the_other() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["yes"])

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.write(Stream.STDOUT, bytes(WINDOW))
            await peer.write(Stream.STDERR, bytes(3 * WINDOW))
            await peer.exit(0)

        stderr, _ = await asyncio.gather(process.stderr.read(), script())
        assert len(stderr) == 3 * WINDOW
        assert len(await process.stdout.read()) == WINDOW


async def test_a_reader_that_does_not_read_gives_no_credit() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["yes"])
        await peer.expect(codec.ExecRequest)
        await peer.write(Stream.STDOUT, bytes(WINDOW))
        assert await peer.hears_nothing()
        assert process.returncode is None


@pytest.fixture
def memory() -> Iterator[Callable[[], int]]:
    """Bytes that Python has allocated since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


async def test_what_is_not_read_takes_no_more_than_its_size(memory: Callable[[], int]) -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["yes"])
        await peer.expect(codec.ExecRequest)
        # One byte for the stream that nobody reads, with much for the one that is read.
        rounds, much = 100, bytes(3 * PIECE)

        async def script() -> None:
            for _ in range(rounds):
                await peer.write(Stream.STDOUT, b"x")
                await peer.write(Stream.STDERR, much)

        async def read() -> None:
            left = rounds * len(much)
            async for chunk in process.stderr:
                left -= len(chunk)
                if not left:
                    break

        await asyncio.gather(script(), read())
        assert memory() < 4 * WINDOW
        assert bytes(await anext(process.stdout)) == b"x" * rounds


async def test_output_in_tiny_pieces_takes_no_more_than_its_size(memory: Callable[[], int]) -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["yes"])
        await peer.expect(codec.ExecRequest)
        pieces = 30_000
        tiny = codec.ExecOutput(1, Stream.STDOUT, b"ab").encode()
        await peer.say(tiny * pieces)
        await peer.exit(0)
        await process.wait()
        # As objects of their own they would take fifty times as much.
        assert memory() < 1 << 20
        assert await process.stdout.read() == b"ab" * pieces


# -- Input --------------------------------------------------------------------------------------


async def test_nothing_is_fed_unless_it_is_asked_for() -> None:
    async with greeted() as (guest, peer):
        for options in ({}, {"stdin": None}, {"stdin": DEVNULL}):
            process = guest.exec(["cat"], **options)
            assert process.stdin is None
            assert (await peer.expect(codec.ExecRequest)).stdin_from is codec.StdinKind.NULL
            await peer.exit(0)
            await process.wait()


async def test_input_waits_for_credit_and_goes_no_further() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"], stdin=PIPE)
        assert (await peer.expect(codec.ExecRequest)).stdin_from is codec.StdinKind.HOST
        assert process.stdin
        process.stdin.write(b"hello")
        process.stdin.write(memoryview(b" world"))
        draining = asyncio.create_task(process.stdin.drain())
        assert await peer.hears_nothing()
        await peer.say(codec.ExecStdinCredit(1, 7))
        assert await peer.hear() == codec.ExecStdin(1, b"hello")
        assert await peer.hear() == codec.ExecStdin(1, b" w")
        assert await peer.hears_nothing()
        assert not draining.done()
        process.stdin.close()
        assert process.stdin.is_closing()
        await peer.say(codec.ExecStdinCredit(1, 100))
        assert await peer.hear() == codec.ExecStdin(1, b"orld")
        assert await peer.hear() == codec.ExecStdin(1, b"")
        await draining
        process.stdin.close()
        process.stdin.write(b"too late")
        assert await peer.hears_nothing()


async def test_credit_for_more_than_is_read_is_not_used(memory: Callable[[], int]) -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"], stdin=PIPE)
        await peer.expect(codec.ExecRequest)
        await peer.say(*[codec.ExecStdinCredit(1, 0xFFFFFFFF)] * 2)
        await asyncio.sleep(SOON)
        data = Random(3).randbytes(8 << 20)
        before = memory()
        assert process.stdin
        process.stdin.write(data)
        draining = asyncio.create_task(process.stdin.drain())
        await asyncio.sleep(SOON)
        assert not draining.done()
        assert memory() - before < 1 << 20
        heard = bytearray()
        while len(heard) < len(data):
            heard += (await peer.expect(codec.ExecStdin)).data
        assert heard == data
        await draining


async def test_input_is_cut_into_frames() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"], stdin=PIPE)
        await peer.expect(codec.ExecRequest)
        await peer.say(codec.ExecStdinCredit(1, 1 << 20))
        data = Random(2).randbytes(3 * PIECE + 5)
        assert process.stdin
        process.stdin.write(data)
        process.stdin.close()
        frames = [await peer.expect(codec.ExecStdin) for _ in range(5)]
        assert [len(frame.data) for frame in frames] == [PIECE, PIECE, PIECE, 5, 0]
        assert b"".join(bytes(frame.data) for frame in frames) == data


async def test_an_end_needs_no_credit() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"], stdin=PIPE)
        await peer.expect(codec.ExecRequest)
        assert process.stdin
        process.stdin.write(b"")
        process.stdin.close()
        assert await peer.hear() == codec.ExecStdin(1, b"")


@pytest.mark.parametrize("how", ["closed", "ended", "lost", "failed"])
async def test_drain_is_told_that_nobody_reads_any_more(how: str) -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"], stdin=PIPE)
        await peer.expect(codec.ExecRequest)
        assert process.stdin
        process.stdin.write(b"x" * 100)
        draining = asyncio.create_task(process.stdin.drain())
        await asyncio.sleep(0)
        match how:
            case "closed":
                await peer.say(codec.ExecStdinClosed(1))
            case "ended":
                await peer.exit(0)
            case "failed":
                await peer.say(codec.ExecFailed(1, Stage.LOOKUP, 2))
            case _:
                peer.port.close()
        with pytest.raises(BrokenPipeError):
            await draining
        assert process.stdin.is_closing()
        process.stdin.write(b"more")
        process.stdin.close()
        with pytest.raises(BrokenPipeError):
            await process.stdin.drain()
        if how == "closed":
            assert await peer.hears_nothing()
            await peer.exit(0)
            assert await process.wait() == 0


async def test_what_is_fed_to_an_ended_command_does_not_reach_the_next() -> None:
    async with greeted() as (guest, peer):
        first = guest.exec(["cat"], stdin=PIPE)
        await peer.expect(codec.ExecRequest)
        assert first.stdin
        first.stdin.write(b"of the first")
        await peer.exit(0)
        await first.wait()
        second = guest.exec(["cat"], stdin=PIPE)
        await peer.expect(codec.ExecRequest)
        await peer.say(codec.ExecStdinCredit(2, 100))
        first.stdin.write(b"of the first")
        first.stdin.close()
        first.resize(1, 1)
        assert await peer.hears_nothing()
        assert second.stdin
        second.stdin.write(b"of the second")
        assert await peer.hear() == codec.ExecStdin(2, b"of the second")


@pytest.mark.parametrize("taken", [0, 3, 10])
@pytest.mark.parametrize("says", [False, True], ids=["ends", "closes"])
async def test_a_command_that_takes_less_than_its_input_is_no_error(taken: int, says: bool) -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            if taken:
                await peer.say(codec.ExecStdinCredit(1, taken))
                assert len((await peer.expect(codec.ExecStdin)).data) == taken
            if says:
                await peer.say(codec.ExecStdinClosed(1))
            await peer.write(Stream.STDOUT, b"enough")
            await peer.exit(0)

        result = await answered(run(guest, ["head"], input=b"x" * 100), script)
        assert (result.returncode, result.stdout) == (0, b"enough")


async def test_communicate_feeds_and_reads_at_once() -> None:
    data = Random(3).randbytes(3 * WINDOW)
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"], stdin=PIPE)
        await peer.expect(codec.ExecRequest)

        async def script() -> None:
            await peer.say(codec.ExecStdinCredit(1, PIECE))
            while True:
                message = await peer.hear()
                if isinstance(message, codec.ExecStdin):
                    if not message.data:
                        return await peer.exit(0)
                    # Credit for output comes in between.
                    await peer.say(codec.ExecOutput(1, Stream.STDOUT, message.data))
                    await peer.say(codec.ExecStdinCredit(1, len(message.data)))

        (out, err), _ = await asyncio.gather(process.communicate(data), script())
        assert (out, err) == (data, b"")


async def test_empty_input_is_an_end() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            request = await peer.expect(codec.ExecRequest)
            assert request.stdin_from is codec.StdinKind.HOST
            assert await peer.hear() == codec.ExecStdin(1, b"")
            await peer.exit(0)

        await answered(run(guest, ["cat"], input=b""), script)


# -- Options ------------------------------------------------------------------------------------


async def test_the_request_says_what_the_options_do() -> None:
    async with greeted() as (guest, peer):
        options: dict[str, Any] = {
            "user": 1000,
            "tty": (5, 6),
            "max_processes": 7,
            "max_memory": "8M",
        }
        process = guest.exec(["sh"], **options)
        request = await peer.expect(codec.ExecRequest)
        assert request.user == b"1000"
        assert (request.rows, request.columns) == (5, 6)
        assert (request.max_processes, request.max_memory) == (7, 8 << 20)
        assert process.stdin is not None
        process.resize(50, 60)
        assert await peer.hear() == codec.ExecResize(1, 50, 60)
        with pytest.raises(UsageError):
            process.resize(-1, 60)


@pytest.mark.parametrize(
    ("tty", "size"), [(True, (24, 80)), (False, (0, 0)), ((1, 2), (1, 2))], ids=str
)
async def test_a_terminal_and_its_size(tty: Any, size: tuple[int, int]) -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["sh"], tty=tty)
        request = await peer.expect(codec.ExecRequest)
        assert (request.rows, request.columns) == size
        assert (process.stdin is not None) == bool(tty)


@pytest.mark.parametrize("user", ["me", b"me", "me:us", "1:2"], ids=str)
async def test_a_user_by_name(user: str | bytes) -> None:
    async with greeted() as (guest, peer):
        guest.exec(["sh"], user=user)
        text = user if isinstance(user, bytes) else user.encode()
        assert (await peer.expect(codec.ExecRequest)).user == text


@pytest.mark.parametrize(
    "options",
    [
        {"stdin": STDOUT},
        {"tty": (0, 80)},
        {"tty": (70000, 80)},
        {"user": "a\0"},
        {"max_memory": -1},
    ],
    ids=str,
)
async def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    async with greeted() as (guest, peer):
        with pytest.raises(UsageError):
            guest.exec(["true"], **options)
        guest.exec(["true"])
        assert (await peer.expect(codec.ExecRequest)).id == 1


async def test_text_is_decoded_and_encoded() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.say(codec.ExecStdinCredit(1, 100))
            assert await peer.hear() == codec.ExecStdin(1, "é\n".encode())
            await peer.write(Stream.STDOUT, "a\r\nü\rb\n".encode())
            await peer.exit(0)

        result = await answered(run(guest, ["cat"], input="é\n", text=True), script)
        assert (result.stdout, result.stderr) == ("a\nü\nb\n", "")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, b"\xe9\r\n"),
        ({"encoding": "latin-1"}, "é\n"),
        ({"errors": "replace"}, "\ufffd\n"),
        ({"text": True, "errors": "surrogateescape"}, "\udce9\n"),
        ({"text": True, "encoding": "latin-1"}, "é\n"),
    ],
    ids=str,
)
async def test_encoding_and_errors_ask_for_text(options: dict[str, Any], expected: object) -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.write(Stream.STDERR, b"\xe9\r\n")
            await peer.exit(0)

        assert (await answered(run(guest, ["cat"], **options), script)).stderr == expected


async def test_bytes_that_are_no_text_are_an_error_and_the_guest_stays_usable() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.write(Stream.STDOUT, b"\xff")
            await peer.exit(0)

        with pytest.raises(UnicodeDecodeError):
            await answered(run(guest, ["cat"], text=True), script)
        await answered(run(guest, ["cat"]), script)


async def test_output_that_is_not_captured_goes_to_our_own(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.say(codec.ExecStdinCredit(1, 100))
            assert await peer.hear() == codec.ExecStdin(1, b"in")
            assert await peer.hear() == codec.ExecStdin(1, b"")
            await peer.write(Stream.STDOUT, b"out\n")
            await peer.write(Stream.STDERR, b"err\n")
            await peer.write(Stream.STDOUT, b"more\n")
            await peer.exit(2)

        result = await answered(run(guest, ["sh"], capture_output=False, input=b"in"), script)
        assert result == CompletedProcess(["sh"], 2, None, None)
    assert capfd.readouterr() == ("out\nmore\n", "err\n")


async def test_a_reader_that_has_gone_ends_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    saved = os.dup(1)
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.write(Stream.STDOUT, b"out\n")
            await peer.expect(codec.ExecKill)
            await peer.exit(SIGKILL, Ending.SIGNALLED)

        os.dup2(writer, 1)
        try:
            with pytest.raises(BrokenPipeError):
                await answered(run(guest, ["yes"], capture_output=False), script)
        finally:
            os.dup2(saved, 1)
            os.close(saved)
            os.close(writer)
        assert guest.error is None
    assert capfd.readouterr() == ("", "")


# -- Grace and limits ---------------------------------------------------------------------------


async def test_grace_sends_a_signal_before_the_kill() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            assert await peer.hear() == codec.ExecTerminate(1)
            start = time.monotonic()
            await peer.write(Stream.STDOUT, b"not yet")
            assert await peer.hear() == codec.ExecKill(1)
            assert time.monotonic() - start > 0.15
            await peer.exit(SIGKILL, Ending.SIGNALLED)

        with pytest.raises(ExecTimeout, match=r"timed out after 0\.05 s") as caught:
            await answered(run(guest, ["sleep"], timeout=SOON, grace=0.2), script)
        assert caught.value.stdout == b"not yet"


async def test_a_command_that_ends_within_the_grace_is_not_killed() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.expect(codec.ExecTerminate)
            await peer.write(Stream.STDOUT, b"bye")
            await peer.exit(SIGTERM, Ending.SIGNALLED)

        with pytest.raises(ExecTimeout) as caught:
            await answered(run(guest, ["sleep"], timeout=SOON, grace=2 * SOON), script)
        assert caught.value.stdout == b"bye"
        await asyncio.sleep(2 * SOON)
        assert await peer.hears_nothing()


@pytest.mark.parametrize("limit", [0, 1, 10, PIECE + 1])
async def test_output_beyond_its_limit_is_cut_there_and_killed(limit: int) -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.write(Stream.STDOUT, b"a" * (limit // 2))
            await peer.write(Stream.STDERR, b"b" * (limit + 100))
            await peer.expect(codec.ExecKill)
            await peer.write(Stream.STDOUT, b"too late")
            await peer.exit(SIGKILL, Ending.SIGNALLED)

        with pytest.raises(OutputLimit) as caught:
            await answered(run(guest, ["yes"], max_output=limit), script)
        assert caught.value.stdout == b"a" * (limit // 2)
        assert caught.value.stderr == b"b" * (limit - limit // 2)
        assert guest.error is None


async def test_output_up_to_its_limit_is_no_error() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.write(Stream.STDOUT, b"12345")
            await peer.write(Stream.STDERR, b"67890")
            await peer.exit(0)

        result = await answered(run(guest, ["cat"], max_output=10), script)
        assert (result.stdout, result.stderr) == (b"12345", b"67890")


async def test_a_flood_after_the_kill_does_not_put_its_deadline_off() -> None:
    async with greeted(timeouts=HASTY) as (guest, peer):
        process = guest.exec(["yes"], max_output=1)
        await peer.expect(codec.ExecRequest)

        async def script() -> None:
            kills = 0
            with suppress(EOFError, OSError):
                while True:
                    await peer.say(codec.ExecOutput(1, Stream.STDOUT, b"xx"))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            message = await peer.hear()
                            kills += isinstance(message, codec.ExecKill)
                            if isinstance(message, codec.Ping):
                                await peer.say(codec.Pong(message.token))
            assert kills == 1

        flooding = asyncio.create_task(script())
        with pytest.raises(GuestUnresponsive, match="a killed command did not end"):
            await process.wait()
        await flooding


FLOOD = """
import socket, sys
port, frame = socket.socket(fileno=int(sys.argv[1])), bytes.fromhex(sys.argv[2])
port.setblocking(True)
try:
    while True:
        port.sendall(frame * 10000)
except OSError:
    pass
"""


@pytest.mark.parametrize(
    "frame", [codec.ExecOutput(1, Stream.STDOUT, b"x"), codec.ExecStdinCredit(1, 1)]
)
async def test_a_flood_holds_up_neither_deadlines_nor_others(
    frame: codec.Message,
) -> None:
    async with greeted(timeouts=replace(PROMPT, kill=HASTE)) as (guest, peer):
        frames, hear = [0], guest._on_event

        def count(event: codec.Message) -> None:
            frames[0] += 1
            hear(event)

        assert guest._channel
        guest._channel._on_event = count
        process = guest.exec(["yes"], stdin=PIPE, timeout=HASTE)
        await peer.expect(codec.ExecRequest)
        command = [sys.executable, "-c", FLOOD, str(peer.port.fileno()), frame.encode().hex()]
        with subprocess.Popen(  # noqa: ASYNC220 - it does not block
            command, pass_fds=[peer.port.fileno()]
        ) as flooder:
            waiting = asyncio.create_task(process.wait())
            reading = asyncio.create_task(process.stdout.read())
            most = 0
            while not waiting.done():
                before = frames[0]
                await asyncio.sleep(0)
                most = max(most, frames[0] - before)
            with pytest.raises(GuestUnresponsive, match="a killed command did not end"):
                await waiting
            with pytest.raises(GuestUnresponsive, match="a killed command did not end"):
                await reading
            flooder.kill()
        # What was put off and what is read: uvloop does both between two turns of ours.
        assert 0 < most <= 2 * FRAMES_PER_TURN


# -- Mistakes of the caller ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "options", "says"),
    [
        ("echo hello", {}, "a list of arguments"),
        (b"ls", {}, "a list of arguments"),
        (["echo", 5], {}, "neither str, bytes nor a path"),
        (["a", None], {}, "neither str, bytes nor a path"),
        (["true"], {"env": {"A": None}}, "neither str, bytes nor a path"),
        (["true"], {"max_output": -1}, "max_output"),
        (["true"], {"max_processes": "4"}, "max_processes"),
        (["true"], {"max_memory": -1}, "max_memory: -1 is not a size"),
        (["true"], {"max_memory": 64}, "max_memory: 64 is too little"),
        (["true"], {"timeout": "5 s"}, "timeout: '5 s' is not a duration"),
        (["true"], {"timeout": 0}, "timeout: 0 is no time"),
        (["true"], {"tty": (1, 2, 3)}, "tty"),
        (["true"], {"tty": "yes"}, "tty"),
        (["true"], {"grace": 1}, "timeout"),
        (["true"], {"input": b"x", "stdin": PIPE}, "stdin"),
    ],
)
async def test_a_mistake_of_the_caller_is_refused_before_anything_is_sent(
    argv: Any, options: Any, says: str
) -> None:
    async with greeted() as (guest, peer):
        with pytest.raises(UsageError, match=says):
            await run(guest, argv, **options)
        assert await peer.hears_nothing()


@pytest.mark.parametrize("name", ["timout", "shell"])
async def test_an_unknown_keyword_is_refused_as_python_does_it(name: str) -> None:
    async with greeted() as (guest, _):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            await run(guest, ["true"], **{name: 1})  # type: ignore[arg-type]


async def test_a_path_is_an_argument() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec([Path("/bin/true")])  # type: ignore[list-item]
        assert (await peer.expect(codec.ExecRequest)).argv == (b"/bin/true",)
        assert process._command.name == "/bin/true"


async def test_the_name_of_a_command_is_safe_to_print() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec([b"\x1b[31m\xff"])
        await peer.expect(codec.ExecRequest)
        await peer.say(codec.ExecFailed(1, Stage.LOOKUP, 2))
        with pytest.raises(StartError, match=re.escape(r"\x1b[31m\udcff: not found")):
            await process.wait()


async def test_text_that_was_cut_off_does_not_hide_why() -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.write(Stream.STDOUT, "a\r\nä".encode()[:-1])
            await peer.expect(codec.ExecKill)
            await peer.exit(SIGKILL, Ending.SIGNALLED)

        with pytest.raises(ExecTimeout) as caught:
            await answered(run(guest, ["sleep"], timeout=SOON, text=True), script)
        assert (caught.value.stdout, caught.value.stderr) == ("a\n\ufffd", "")


async def test_communicate_raises_what_wait_raises() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["nonexistent"])
        await peer.expect(codec.ExecRequest)
        await peer.say(codec.ExecFailed(1, Stage.LOOKUP, 2))
        with pytest.raises(StartError):
            await process.communicate()
        assert process.returncode == 127
    assert guest.error is not None


async def test_a_command_that_was_lost_with_its_machine_has_a_return_code() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["sleep", "60"])
        await peer.expect(codec.ExecRequest)
        guest.fail(GuestDied("the test says so"))
        assert process.returncode == 125


async def test_what_cannot_be_handled_ends_the_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    unhandled: list[Any] = []
    async with greeted() as (guest, peer):
        asyncio.get_running_loop().set_exception_handler(lambda _, what: unhandled.append(what))
        process = guest.exec(["true"])
        await peer.expect(codec.ExecRequest)
        monkeypatch.setattr(process._command, "finish", lambda _: 1 / 0)
        await peer.exit(0)
        with pytest.raises(GuestDied, match="could not be handled"):
            await process.wait()
    assert isinstance(unhandled[0]["exception"], ZeroDivisionError)


# -- Dropped processes ----------------------------------------------------------------------------


async def _is_killed(peer: Peer) -> None:
    while not isinstance(message := await peer.hear(), codec.ExecKill):
        assert isinstance(message, codec.ExecCredit | codec.Ping), message


@pytest.mark.parametrize(
    "keep",
    [lambda _: None, lambda p: p, lambda p: p.stdout, lambda p: p.stderr, lambda p: p.stdout.read],
    ids=["nothing", "itself", "stdout", "stderr", "read"],
)
async def test_a_process_that_nobody_holds_is_killed(keep: Callable[[Process], object]) -> None:
    async with greeted() as (guest, peer):
        kept = keep(guest.exec(["yes"]))
        await peer.expect(codec.ExecRequest)
        if kept is not None:
            assert await peer.hears_nothing()
        del kept
        await _is_killed(peer)
        with pytest.raises(Busy):  # it is not gone yet
            guest.exec(["true"])
        await peer.exit(9, Ending.SIGNALLED)
        await guest.wait_idle()
        assert guest.exec(["true"]).returncode is None


async def test_a_cancelled_user_of_a_process_leaves_the_guest_ready_for_the_next() -> None:
    async with greeted() as (guest, peer):

        async def work() -> int:
            process = guest.exec(["sleep", "60"])
            return await process.wait()

        task = asyncio.create_task(work())
        await peer.expect(codec.ExecRequest)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        following = asyncio.create_task(run(guest, ["true"]))
        await _is_killed(peer)
        assert not following.done()
        await peer.exit(9, Ending.SIGNALLED)
        await peer.expect(codec.ExecRequest)
        await peer.exit(0)
        assert (await following).returncode == 0


async def test_a_process_that_only_an_error_holds_is_not_in_use() -> None:
    async with greeted() as (guest, peer):

        async def work() -> None:
            process = guest.exec(["sleep", "60"])
            await process.wait()

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await work()
        following = asyncio.create_task(_next(peer))
        await run(guest, ["true"])
        await following


async def test_a_process_that_only_a_cycle_holds_is_not_in_use() -> None:
    async with greeted() as (guest, peer):
        gc.disable()
        try:
            cycle: list[object] = [guest.exec(["sleep", "60"])]
            cycle.append(cycle)
            del cycle
            following = asyncio.create_task(_next(peer))
            await run(guest, ["true"])
            await following
        finally:
            gc.enable()


async def _next(peer: Peer) -> None:
    """Play the guest: one command is killed, and the next one ends well."""
    await peer.expect(codec.ExecRequest)
    await _is_killed(peer)
    await peer.exit(9, Ending.SIGNALLED)
    await peer.expect(codec.ExecRequest)
    await peer.exit(0)


async def test_a_process_that_is_in_use_is_not_waited_for() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["sleep", "60"])
        await peer.expect(codec.ExecRequest)
        await guest.wait_idle()
        with pytest.raises(Busy):
            await run(guest, ["true"])
        assert process.returncode is None


def test_a_process_can_be_dropped_when_its_loop_is_closed() -> None:
    async def left() -> object:
        async with greeted() as (guest, peer):
            process = guest.exec(["sleep", "60"])
            await peer.expect(codec.ExecRequest)
            return process

    process = asyncio.run(left())
    del process


# -- A loop that stands still ---------------------------------------------------------------------


def _stand_still(seconds: float) -> None:
    time.sleep(seconds)


async def test_a_guest_is_not_blamed_for_what_we_did_not_read() -> None:
    async with greeted(timeouts=HASTY) as (guest, peer):
        process = guest.exec(["yes"], timeout=SOON)
        await peer.expect(codec.ExecRequest)
        await _is_killed(peer)
        for _ in range(3):
            _stand_still(HASTY.kill + 0.2)
            await asyncio.sleep(SOON)
        await peer.exit(9, Ending.SIGNALLED)
        with pytest.raises(ExecTimeout):
            await process.wait()


async def test_patience_ends_even_where_the_loop_is_always_late() -> None:
    expired = asyncio.Event()
    Deadline().start(0.2, expired.set)
    for number in range(4):
        assert not expired.is_set(), number
        _stand_still(0.35)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert expired.is_set()


async def test_patience_counts_while_the_loop_runs() -> None:
    expired = asyncio.Event()
    begun = time.monotonic()
    Deadline().start(0.7, expired.set)
    stopped = Deadline()
    stopped.start(0.01, lambda: pytest.fail("it was stopped"))
    stopped.cancel()
    await asyncio.wait_for(expired.wait(), PATIENCE)
    assert time.monotonic() - begun >= 0.7


# -- Lines --------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1, 3, 7, PIECE])
async def test_output_can_be_read_by_lines_and_in_pieces(piece: int) -> None:
    content = b"one\ntwo\n\n" + b"x" * 100 + b"\nthree"
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"])
        await peer.expect(codec.ExecRequest)
        for at in range(0, len(content), piece):
            await peer.write(Stream.STDOUT, content[at : at + piece])
        await peer.exit(0)
        stdout = process.stdout
        assert await stdout.readline() == b"one\n"
        assert await stdout.read(2) + await stdout.readline() == b"two\n"
        assert await stdout.read(0) == b""
        assert await stdout.readline() == b"\n"
        rest = b""
        while data := await stdout.read(5):
            assert len(data) <= 5
            rest += data
            if b"\n" in rest:
                break
        rest += b"".join([chunk async for chunk in stdout])
        assert rest == b"x" * 100 + b"\nthree"
        assert await stdout.readline() == await stdout.read(9) == await stdout.read() == b""


@pytest.mark.parametrize("read", [lambda s: s.readline(), lambda s: s.read()], ids=["line", "all"])
async def test_a_read_that_is_cancelled_loses_nothing(
    read: Callable[[OutputStream], Coroutine[Any, Any, bytes]],
) -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"])
        await peer.expect(codec.ExecRequest)
        for piece in (b"first ", b"second "):
            await peer.write(Stream.STDOUT, piece)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read(process.stdout), SOON)
        await peer.write(Stream.STDOUT, b"third\n")
        assert await process.stdout.readline() == b"first second third\n"


async def test_what_came_before_the_guest_died_can_be_read() -> None:
    async with greeted() as (guest, peer):
        process = guest.exec(["cat"])
        await peer.expect(codec.ExecRequest)
        await peer.write(Stream.STDOUT, b"last words")
        await _arrives(process.stdout, len(b"last words"))
        reading = asyncio.create_task(process.stdout.read())
        await asyncio.sleep(0)
        guest.fail(GuestDied("the test says so"))
        with pytest.raises(GuestDied):
            await reading
        assert await process.stdout.read(100) == b"last words"
        with pytest.raises(GuestDied):
            await process.stdout.read(100)
