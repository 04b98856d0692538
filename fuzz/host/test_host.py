"""The host against a scripted guest that lies: only what is documented comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE

import pytest
from hypothesis import given, settings

from microvm.errors import (
    GuestDied,
    GuestUnresponsive,
    MachineError,
    ProtocolError,
    VersionMismatch,
)
from microvm.guest.guest import Guest
from microvm.guest.run import run
from microvm.qemu.console import TAIL_SIZE, Console
from microvm.wire import codec
from microvm.wire.codec import Ending, Stream
from microvm.wire.session import WINDOW, Session

from ..settings import SETTINGS
from . import rung
from .checks import Violation
from .harness import meet
from .loop import Loop
from .result import HASTY
from .script import (
    Act,
    Answer,
    Call,
    Close,
    Deaf,
    Dribble,
    Flood,
    Hear,
    Pause,
    Raw,
    Reset,
    Say,
    Script,
    Serve,
    corpus,
)
from .strategies import GREETING, honest, scripts

MIB = 1 << 20
FLOOD = 64 * MIB
ASKED = Hear("ExecRequest")
SLOW = Call("exec", reading="slow")
ENDED = Say(codec.ExecResponse(1, Ending.EXITED, 0), ("id",))


@pytest.mark.parametrize("path", corpus(), ids=lambda path: path.stem)
def test_what_once_failed(path: Path) -> None:
    meet(Script.from_json(path.read_text()))


@settings(SETTINGS, max_examples=100)
@given(script=honest())
def test_an_honest_guest_is_believed(script: Script) -> None:
    account = meet(script)
    assert account.witness.lie is None
    assert account.error is None
    assert len(account.results) == len(script.calls)


@settings(SETTINGS, max_examples=300)
@given(script=scripts())
def test_any_lies(script: Script) -> None:
    meet(script)


@pytest.mark.long
@settings(SETTINGS, max_examples=20_000)
@given(script=scripts())
def test_any_lies_at_length(script: Script) -> None:
    meet(script)


@settings(SETTINGS, max_examples=100)
@given(script=scripts())
def test_a_script_can_be_written_down(script: Script) -> None:
    assert Script.from_json(script.to_json()) == script


READY = GREETING[1].message
LIES: dict[str, tuple[type[MachineError] | None, tuple[Act, ...]]] = {
    "a nonce that is not ours": (
        None,
        (Hear("Hello"), Say(READY, ("version", "digest", "max_body"))),
    ),
    "another schema": (VersionMismatch, (Hear("Hello"), Say(READY, ("version", "nonce")))),
    "no version": (VersionMismatch, (Hear("Hello"), Say(READY, ("digest", "nonce")))),
    "ready twice": (ProtocolError, (*GREETING, GREETING[1])),
    "an id of the future": (
        ProtocolError,
        (*GREETING, ASKED, Say(codec.ExecResponse(2, Ending.EXITED, 0))),
    ),
    "an id of the past": (
        ProtocolError,
        (*GREETING, Serve(), ASKED, Say(codec.ExecOutput(1, Stream.STDOUT, b"x"))),
    ),
    "two ends": (ProtocolError, (*GREETING, ASKED, ENDED, ENDED)),
    "output after the end": (
        ProtocolError,
        (*GREETING, ASKED, ENDED, Say(codec.ExecOutput(1, Stream.STDOUT, b"x"))),
    ),
    "output beyond its credit": (ProtocolError, (*GREETING, ASKED, Flood(1, 65536, 17))),
    "output of nothing": (
        ProtocolError,
        (*GREETING, ASKED, Say(codec.ExecOutput(1, Stream.STDOUT, b""))),
    ),
    "credit for input that nobody feeds": (
        ProtocolError,
        (*GREETING, ASKED, Say(codec.ExecStdinCredit(1, 1))),
    ),
    "credit of nothing": (ProtocolError, (*GREETING, ASKED, Say(codec.ExecStdinCredit(1, 0)))),
    "the end of input that nobody feeds": (
        ProtocolError,
        (*GREETING, ASKED, Say(codec.ExecStdinClosed(1))),
    ),
    "a stream that there is not": (
        ProtocolError,
        (*GREETING, ASKED, Raw(codec.ExecOutput(1, Stream.STDOUT, b"x").encode()[:-2] + b"\3x")),
    ),
    "a body too long": (
        ProtocolError,
        (*GREETING, ASKED, Say(codec.ExecOutput(1, Stream.STDOUT, b"x"), bent={"length": 65538})),
    ),
    "a body too short": (
        ProtocolError,
        (*GREETING, ASKED, Say(codec.ExecResponse(1, Ending.EXITED, 0), bent={"length": 1})),
    ),
    "flags": (ProtocolError, (*GREETING, ASKED, Say(ENDED.message, bent={"flags": 1}))),
    "what only a host says": (ProtocolError, (*GREETING, Say(codec.Ping(1)))),
    "an answer to no ping": (ProtocolError, (*GREETING, Say(codec.Pong(77)))),
    "a status that nobody asked for": (
        ProtocolError,
        (*GREETING, Say(codec.Status(*[0] * len(codec.Status.__slots__)))),
    ),
    "a refusal": (ProtocolError, (*GREETING, Say(codec.Error(0, 1, 2, 3, 4)))),
    "a word after goodbye": (
        ProtocolError,
        (*GREETING, ASKED, Say(codec.Goodbye(1)), ENDED),
    ),
    "the end of the port": (GuestDied, (*GREETING, ASKED, Close())),
    "the end of a half of it": (GuestDied, (*GREETING, ASKED, Close(half=True))),
    "the end in a frame": (
        GuestDied,
        (*GREETING, ASKED, Raw(ENDED.message.encode()[:-1]), Close()),
    ),
    "a reset": (GuestDied, (*GREETING, ASKED, Reset())),
    "silence": (GuestUnresponsive, (*GREETING, ASKED)),
    "a frame without end": (GuestUnresponsive, (*GREETING, ASKED, Dribble(1.0))),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_known_for_what_it_is(name: str) -> None:
    wanted, acts = LIES[name]
    account = meet(Script((*acts, Pause(100.0)), (SLOW, Call("run", timeout=100.0))))
    assert type(account.error) is (wanted or type(None))
    assert wanted is not None or isinstance(account.ready, TimeoutError)


@pytest.mark.parametrize(
    "acts",
    [
        (Answer(pongs=False), Pause(3600.0)),
        (Dribble(0.005),),
        (Deaf(), Pause(3600.0)),
        (Hear("ExecKill"), Pause(3600.0)),
    ],
    ids=["silence", "a frame without end", "deafness", "a command that cannot be killed"],
)
def test_deadlines_hold_on_a_real_clock(acts: tuple[Act, ...]) -> None:
    script = Script((*GREETING, ASKED, *acts), (Call("exec", timeout=0.2, grace=0.1), SLOW))
    account = meet(script, HASTY)
    assert isinstance(account.error, GuestUnresponsive)
    assert account.results[0].took < 4  # not HASTY's slack, for those who cannot wait


# -- Memory -------------------------------------------------------------------------------------


class Flooder:
    """A guest without an account, which would take memory of its own."""

    def __init__(self, port: socket.socket) -> None:
        self._port = port
        self._decoder = codec.Decoder("host")
        self.said = 0

    async def hear(self) -> codec.Message:
        while (message := self._decoder.next_message()) is None:
            data = await asyncio.get_running_loop().sock_recv(self._port, 1 << 16)
            if not data:
                raise ConnectionResetError
            self._decoder.receive_data(data)
        return message

    async def say(self, data: bytes, total: int = 0) -> None:
        """Say it until so much has been said, or nobody listens."""
        with contextlib.suppress(ConnectionError):
            for _ in range(max(total // len(data), 1)):
                await asyncio.get_running_loop().sock_sendall(self._port, data)
                self.said += len(data)
                await asyncio.sleep(0)

    async def write(self, total: int) -> None:
        """Write output, as it is paid for."""
        credit = 0
        output = codec.ExecOutput(1, Stream.STDOUT, bytes(65536)).encode()
        for _ in range(total // 65536):
            while credit < 65536:
                match await self.hear():
                    case codec.ExecRequest(stdout_credit=amount) | codec.ExecCredit(amount=amount):
                        credit += amount
            await self.say(output)
            credit -= 65536


@asynccontextmanager
async def flooded() -> AsyncIterator[tuple[Guest, Flooder]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    guest = Guest()
    await guest.connect(ours)
    try:
        yield guest, Flooder(theirs)
    finally:
        guest.fail(GuestDied("the test is over"))
        theirs.close()
        await asyncio.sleep(0)


async def greet(guest: Guest, flooder: Flooder) -> None:
    hello = await flooder.hear()
    assert isinstance(hello, codec.Hello)
    ready = codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, hello.nonce)
    await flooder.say(ready.encode())
    await guest.ready(60)


OUTPUT = codec.ExecOutput(1, Stream.STDOUT, bytes(65536)).encode()


async def _of_an_older_session(guest: Guest, flooder: Flooder) -> None:
    await flooder.say(OUTPUT, FLOOD)
    await greet(guest, flooder)


async def _that_nobody_has_paid_for(guest: Guest, flooder: Flooder) -> None:
    await greet(guest, flooder)
    process = guest.exec(["yes"])  # held: one that nobody holds is killed, and all it says is taken
    await flooder.say(OUTPUT, FLOOD)
    assert isinstance(guest.error, ProtocolError)
    assert process.returncode == guest.error.exit_status
    assert flooder.said < 4 * MIB


async def _beyond_its_limit(guest: Guest, flooder: Flooder) -> None:
    await greet(guest, flooder)
    writing = asyncio.create_task(flooder.write(FLOOD))
    with pytest.raises(GuestUnresponsive):
        await run(guest, ["yes"], max_output=10)
    writing.cancel()


async def _that_is_taken(guest: Guest, flooder: Flooder) -> None:
    await greet(guest, flooder)
    process = guest.exec(["yes"])
    writing = asyncio.create_task(flooder.write(FLOOD))
    taken = 0
    while taken < FLOOD:
        taken += len(await anext(process.stdout))
    await writing


async def _of_credit(guest: Guest, flooder: Flooder) -> None:
    await greet(guest, flooder)
    guest.exec(["cat"], stdin=PIPE)
    await flooder.say(codec.ExecStdinCredit(1, 0xFFFFFFFF).encode() * 4096, FLOOD // 128)


async def _of_input(guest: Guest, flooder: Flooder) -> None:
    await greet(guest, flooder)
    process = guest.exec(["cat"], stdin=PIPE)
    await flooder.say(codec.ExecStdinCredit(1, 0xFFFFFFFF).encode())
    await asyncio.sleep(1)
    assert process.stdin
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            for _ in range(FLOOD // 65536):  # as a pipe is copied
                process.stdin.write(bytes(65536))
                await process.stdin.drain()


async def _on_the_console(_: Guest, __: Flooder) -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    console = Console()
    following = asyncio.create_task(console.follow(ours))
    await Flooder(theirs).say(b"\x1b[31m\r\n" * 8192, FLOOD)
    theirs.close()
    await following
    assert len(console.tail(lines=1 << 20)) <= TAIL_SIZE


@pytest.mark.parametrize(
    "flood",
    [
        _of_an_older_session,
        _that_nobody_has_paid_for,
        _beyond_its_limit,
        _that_is_taken,
        _of_credit,
        _of_input,
        _on_the_console,
    ],
    ids=lambda flood: flood.__name__.strip("_"),
)
def test_a_flood_takes_little_memory(
    flood: Callable[[Guest, Flooder], Awaitable[None]],
) -> None:
    async def measured() -> int:
        async with flooded() as (guest, flooder):
            tracemalloc.start()
            try:
                await flood(guest, flooder)
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    with contextlib.closing(Loop()) as loop:
        peak = loop.run_until_complete(measured())
    assert peak < 4 * WINDOW + MIB


# -- The rung -----------------------------------------------------------------------------------


def test_the_rung_says_what_it_did() -> None:
    outcome = rung.run(1.0, 7)
    assert outcome.findings == ()
    assert outcome.executions > len(corpus())
    assert outcome.frames > outcome.executions


def test_a_host_that_believes_everything_is_found_and_the_script_is_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Session, "_expect", lambda *_: None)
    monkeypatch.setattr(rung, "CORPUS", tmp_path)
    monkeypatch.setattr(rung, "corpus", list)
    outcome = rung.run(2.0, 7)
    assert outcome.findings
    saved = sorted(tmp_path.iterdir())
    assert saved
    assert re.fullmatch(r"[a-z0-9-]+-[0-9a-f]{6}\.json", saved[0].name)
    with pytest.raises(Violation):
        meet(Script.from_json(saved[0].read_text()))
