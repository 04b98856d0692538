"""What a hostile guest may come up with: scripts that are honest but for some lies.

An honest script comes first, made from what the host is going to call; lies are put into it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from microvm.wire import codec
from microvm.wire.codec import Stream
from microvm.wire.session import WINDOW

from .. import messages as any_
from ..strategies import LARGEST, NAMES, u16, u32
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
    Print,
    Raw,
    Reset,
    Say,
    Script,
    Serve,
)

READY = Say(codec.Ready(0, 0, 0, 0), ("version", "digest", "max_body", "nonce"))
GREETING = (Hear("Hello"), READY)

_sizes = st.sampled_from([0, 1, 5, 100, 16_383, 16_384, 100_000]) | st.integers(0, 5000)
_large = st.sampled_from([WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW])
_times = st.none() | st.sampled_from([0.1, 1.0, 5.0, 30.0])
_pauses = st.sampled_from([0.05, 1.0, 2.5, 9.0, 12.0])

calls = st.one_of(
    *[
        st.builds(
            Call,
            st.sampled_from(["run", "communicate", "exec", "exec"]),
            reading=st.sampled_from(["all", "slow", "lines", "some", "none"]),
            timeout=_times,
            grace=st.none() | st.just(0.5),
            max_output=st.none() | st.none() | st.sampled_from([0, 1, 1000, 200_000]),
            stdin=st.none() | _sizes | st.just(1_000_000),
            signal=st.none() | st.just(15) | st.just(9),
        )
    ]
    * 4,
    st.builds(Call, st.sampled_from(["ping", "status"]), timeout=st.none() | st.just(1.0)),
)

serves = st.builds(
    Serve,
    stdout=_sizes | _large,
    stderr=_sizes,
    size=st.sampled_from([1000, 20_000, 65_536]),
    status=st.sampled_from([0, 0, 1, 255]),
    failed=st.sampled_from([False] * 7 + [True]),
)


def _fields(message: codec.Message) -> list[str]:
    names = {"id": "id", "token": "token", "nonce": "nonce"}
    return [name for name in names if hasattr(message, name)]


@st.composite
def _said(draw: st.DrawFn) -> Say:
    """Any message of the guest's, with none, some or all of it true."""
    message = draw(any_.MESSAGES["guest"])
    # An id that is near is a better lie.
    if "id" in _fields(message) and draw(st.booleans()):
        near: dict[str, Any] = {"id": draw(st.integers(1, 3))}
        message = replace(message, **near)
    true = tuple(name for name in _fields(message) if draw(st.integers(0, 3)))
    return Say(message, true, times=draw(st.sampled_from([1, 1, 1, 1, 1, 1, 2, 2, 100])))


@st.composite
def _bent(draw: st.DrawFn) -> Say:
    """The same with another header."""
    said = draw(_said())
    body = len(said.message.encode()) - codec.HEADER_SIZE
    length = st.sampled_from([0, body - 1, body + 1, LARGEST, 65_537, 65_538]) | u32
    changes = {
        "length": length.filter(lambda value: 0 <= value <= LARGEST),
        "type": st.sampled_from(sorted(NAMES)) | u16,
        "flags": st.sampled_from([1, 0x8000]) | u16,
        "id": st.sampled_from([0, 1, 2, LARGEST]) | u32,
        "flip": st.integers(0, 70),
    }
    names = draw(st.sets(st.sampled_from(sorted(changes)), min_size=1, max_size=2))
    return replace(said, bent={name: draw(changes[name]) for name in sorted(names)}, times=1)


@st.composite
def _overlong(draw: st.DrawFn) -> Say:
    """Any message, longer than any of its kind by a byte or two."""
    kinds: list[st.SearchStrategy[codec.Message]] = [
        any_.exec_output(),
        any_.exec_response(),
        any_.MESSAGES["guest"],
    ]
    message = draw(draw(st.sampled_from(kinds)))
    return Say(message, bent={"length": message.MAX_BODY + draw(st.integers(1, 2))})


def _of_command(message: codec.Message, times: int = 1) -> st.SearchStrategy[Act]:
    return st.just(Say(message, ("id",), times=times))


_near = st.integers(1, 4)
_strangers = st.one_of(
    any_.exec_output(id_=_near, data=st.just(b"stranger")),
    any_.exec_response(id_=_near),
    any_.exec_failed(id_=_near),
    any_.exec_stdin_credit(id_=_near),
    any_.exec_stdin_closed(id_=_near),
)
"""About commands of another time."""

_escapes = st.lists(
    st.sampled_from(
        [
            *(b"\x1b[31m", b"\x1b]0;title\x07", b"\x1b[2J", b"\x9b31m", b"\xc2\x9b1m", b"\x1bc"),
            *(b"\xe2\x80\xae", b"\0", b"\r", b"\n", b"\t", b"\x07", b"\x7f", b"text ", b"\xff"),
            *(b"\x1b", b"\x1b]8;;http://a\x1b\\", b"x" * 2000),
        ]
    ),
    max_size=12,
).map(b"".join)

_signals = any_.exec_response(id_=st.just(1), ending=st.just(codec.Ending.SIGNALLED))

_talk: st.SearchStrategy[Act] = st.one_of(
    _said(),
    _said(),
    _bent(),
    _overlong(),
    _overlong(),
    any_.error().map(Say),
    st.one_of(any_.ping(), any_.hello(), any_.exec_kill(), any_.exec_stdin()).map(Say),
    _strangers.map(Say),
    _strangers.map(Say),
    st.builds(Raw, st.binary(min_size=1, max_size=40)),
    # What is true once is a lie the second time, or on another day.
    _of_command(codec.ExecResponse(1, codec.Ending.EXITED, 0)),
    _of_command(codec.ExecResponse(1, codec.Ending.EXITED, 7), 2),
    st.builds(
        codec.ExecResponse,
        st.just(1),
        st.just(codec.Ending.SIGNALLED),
        any_.exec_response().map(lambda m: m.status),
    ).flatmap(_of_command),
    _of_command(codec.ExecOutput(1, Stream.STDERR, b"")),
    _of_command(codec.ExecOutput(1, Stream.STDOUT, b"line\n")),
    _of_command(codec.ExecStdinCredit(1, LARGEST), 3),
    _of_command(codec.ExecStdinCredit(1, 1), 50),
    _of_command(codec.ExecStdinCredit(1, 0)),
    _of_command(codec.ExecStdinCredit(1, 100_000)),
    _of_command(codec.ExecStdinClosed(1)),
    _of_command(codec.ExecStdinClosed(1), 2),
    st.builds(codec.Goodbye, any_.goodbye().map(lambda m: m.reason)).map(Say),
    st.just(Say(codec.Pong(0), ("token",))),
    st.just(READY),
    st.builds(
        Flood, st.sampled_from([1, 2]), st.sampled_from([1, 1000, 65_536]), st.integers(1, 40)
    ),
)
_waits: st.SearchStrategy[Act] = st.one_of(
    st.builds(Pause, _pauses),
    st.builds(
        Hear, st.sampled_from(["ExecRequest", "Ping", "ExecStdin", "ExecKill", "ExecCredit"])
    ),
)
_manners: st.SearchStrategy[Act] = st.one_of(
    st.builds(Answer, st.booleans()),
    st.just(Deaf()),
    st.builds(Dribble, st.sampled_from([0.01, 1.0])),
    st.builds(Print, _escapes),
    st.builds(Print, _escapes.map(lambda text: b"Kernel panic - not syncing: " + text)),
)
_ends: st.SearchStrategy[Act] = st.builds(Close, st.booleans()) | st.just(Reset())

_lies = st.one_of(*[_talk] * 6, *[_waits] * 2, _manners, _ends)
_cuts = st.just(()) | st.lists(st.integers(1, 30), min_size=1, max_size=4).map(tuple)


@st.composite
def honest(draw: st.DrawFn) -> Script:
    """Scripts of a guest that does as it is told, whatever the host wants."""
    wanted = tuple(draw(st.lists(calls, min_size=1, max_size=3)))
    # It goes on answering until the host has had enough.
    return Script((*_service(draw, wanted), Pause(5000.0)), wanted, draw(_cuts))


def _service(draw: st.DrawFn, wanted: tuple[Call, ...]) -> tuple[Act, ...]:
    commands = [call for call in wanted if call.kind not in ("ping", "status")]
    return (*GREETING, *(draw(serves) for _ in commands))


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Scripts with lies."""
    wanted = tuple(draw(st.lists(calls, min_size=1, max_size=3)))
    acts: list[Act] = []
    for act in _service(draw, wanted):
        if act in GREETING:
            # Who lies so early is not asked for anything.
            acts += draw(_early) if draw(st.integers(0, 5)) == 0 else []
            acts.append(act)
        elif draw(st.integers(0, 2)):
            acts += [Hear("ExecRequest"), *draw(_within)]
        else:
            acts += [*draw(_between), act]
    acts += draw(_between)
    return Script(tuple(acts), wanted, draw(_cuts))


_readies = st.builds(
    Say,
    any_.ready(
        version=st.sampled_from([0, codec.VERSION, codec.VERSION + 1]) | u32,
        digest=st.sampled_from([0, codec.DIGEST, codec.DIGEST ^ 1]),
    ),
    st.sampled_from([("nonce",), ("nonce",), ("version", "digest"), ()]),
)
_no_magic = st.integers(0, 7).map(lambda at: replace(READY, bent={"flip": at}))
_early = st.lists(_readies | _no_magic | _lies, min_size=1, max_size=2)

_stories: st.SearchStrategy[list[Act]] = st.sampled_from(
    [
        # All that has been paid for, and one byte more.
        [
            Flood(2, 65_536, WINDOW // 65_536),
            Say(codec.ExecOutput(1, Stream.STDERR, b"!"), ("id",)),
        ],
        # The same answer twice: its own, and that of the guest's good manners.
        [Hear("Ping"), Say(codec.Pong(0), ("token",))],
        [Hear("StatusRequest"), Say(codec.Status(*[0] * len(codec.Status.__slots__)))],
        [Say(codec.Goodbye(1)), Serve()],
        [Say(codec.ExecOutput(1, Stream.STDOUT, b"half a line"), ("id",)), Pause(1.0), Close()],
        [Say(codec.ExecStdinCredit(1, LARGEST), ("id",)), Deaf(), Pause(3.0)],
        # More than is handled at a time.
        [Flood(1, 1, 1000), Say(codec.ExecResponse(1, codec.Ending.EXITED, 0), ("id",))],
        [Flood(1, 1, 1000), Close()],
        [Print(b"Kernel panic - not syncing: \t"), Reset()],
        [Print(b"Kernel panic - not syncing: " + b"x" * 2000), Reset()],
        [Deaf(), Say(codec.ExecStdinCredit(1, 1 << 18), ("id",)), Pause(0.1), Close(half=True)],
    ]
)
_between = st.lists(_lies, max_size=1) | _stories
_within = st.lists(_lies, min_size=1, max_size=5) | _stories
