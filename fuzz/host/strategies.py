"""Strategies for scripts: honest scripts for the calls of the host, and scripts with violations."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, TypeAlias

from hypothesis import strategies as st
from tests.support.mutations import mutated

from microvm.wire import codec
from microvm.wire.codec import Ending, Stream
from microvm.wire.session import WINDOW

from ..generated import random_messages
from ..strategies import LARGEST, weighted
from .acts import (
    QUESTIONS,
    Act,
    Close,
    Hear,
    HostCall,
    Pause,
    Print,
    Reset,
    Say,
    Script,
    Serve,
    StopReading,
    Together,
)
from .known_scripts import ASKED, ENDINGS, FAILED, GREETING, MALFORMED, PONG, READY

Acts: TypeAlias = st.SearchStrategy[Act]

any_ = random_messages("sandboxd")

FACTS = ("id", "token", "nonce", "version", "digest", "max_body")

_sampled = st.sampled_from

_sizes = _sampled([0, 1, 5, 100, 16_383, 16_384, 100_000]) | st.integers(0, 5000)
_large = _sampled([WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW])

_commands = st.builds(
    HostCall,
    _sampled(["run", "communicate"]) | _sampled(["all", "slow", "lines", "some", "none"]),
    timeout=st.none() | _sampled([0.1, 1.0, 5.0, 30.0]),
    grace=st.none() | st.just(0.5),
    max_output=weighted((2, st.none()), (1, _sampled([0, 1, 1000, 200_000]))),
    stdin=st.none() | _sizes | st.just(1_000_000),
    signal=st.none() | st.just(15) | st.just(9),
)
_questions = st.builds(HostCall, _sampled(QUESTIONS), timeout=st.none() | st.just(1.0))
_calls = st.lists(weighted((2, _commands), (1, _questions)), min_size=1, max_size=3).map(tuple)

_serves = st.builds(
    Serve,
    stdout=_sizes | _large,
    stderr=_sizes,
    size=_sampled([1000, 20_000, 65_536]),
    status=_sampled([0, 0, 1, 255]),
)


@st.composite
def _says(draw: st.DrawFn, messages: st.SearchStrategy[codec.Message]) -> Say:
    """Draw an act that sends a message, in which any number of fields is correct."""
    message = draw(messages)
    facts = [name for name in FACTS if hasattr(message, name)]
    true = tuple(name for name in facts if draw(st.integers(0, 3)))
    return Say(message, true, times=draw(_sampled([1, 1, 1, 1, 1, 1, 2, 2, 100])))


# A message that is correct the first time is often wrong when it is repeated.
_of_command = st.builds(
    Say,
    _sampled(
        [
            codec.ExecResponse(1, Ending.EXITED, 7),
            codec.ExecOutput(1, Stream.STDERR, b""),
            codec.ExecOutput(1, Stream.STDOUT, b"line\n"),
            *(codec.ExecStdinCredit(1, amount) for amount in (0, 1, 100_000, LARGEST)),
            codec.ExecStdinClosed(1),
        ]
    )
    | any_.exec_response(id_=st.just(1), ending=st.just(Ending.SIGNALLED))
    | any_.exec_failed(id_=st.just(1)),
    st.just(("id",)),
    times=_sampled([1, 1, 1, 2, 50]),
)
_outputs = any_.exec_output(id_=st.just(1), data=_sampled([b"f", b"f" * 1000, b"f" * 65_536]))
_talk: Acts = weighted(
    (4, _says(any_.MESSAGES["guest"])),
    (2, mutated(any_.FRAMES["guest"]).map(Say)),
    (2, _sampled(MALFORMED)),
    (8, _of_command),
    (1, any_.MESSAGES["host"].map(Say)),
    (1, st.binary(min_size=1, max_size=40).map(Say)),
    (1, _sampled([READY, PONG])),
    (2, st.builds(Say, _outputs, st.just(("id",)), st.integers(1, 40))),
)
_waits: Acts = st.one_of(
    st.builds(Pause, _sampled([0.05, 1.0, 2.5, 9.0, 12.0])),
    st.builds(Hear, _sampled(["ExecRequest", "Ping", "ExecStdin", "ExecKill", "ExecCredit"])),
)
_texts = st.lists(
    _sampled(
        [
            *(b"\x1b[31m", b"\x1b]0;title\x07", b"\x1b[2J", b"\x9b31m", b"\xc2\x9b1m", b"\x1bc"),
            *(b"\xe2\x80\xae", b"\0", b"\r", b"\n", b"\t", b"\x07", b"\x7f", b"text ", b"\xff"),
            *(b"\x1b", b"\x1b]8;;http://a\x1b\\", b"x" * 2000),
            b"Kernel panic - not syncing: ",
        ]
    ),
    max_size=12,
).map(b"".join)
_manners: Acts = st.one_of(
    st.just(StopReading()),
    st.builds(Print, _texts),
)
_ends: Acts = st.builds(Close, st.booleans()) | st.just(Reset())
_any_act = weighted((6, _talk), (2, _waits), (1, _manners), (1, _ends))

# The acts of known scripts after the first request.
_known = [script.acts for script in FAILED.values()]
_known += [told for endings in ENDINGS.values() for told in endings.values()]
_stories = _sampled(_known).map(lambda told: [*itertools.dropwhile(ASKED.__contains__, told)])
_between = weighted((3, st.lists(_any_act, max_size=1)), (1, _stories))
_within = weighted((3, st.lists(_any_act, min_size=1, max_size=5)), (1, _stories))
_early = st.lists(_says(any_.ready()) | _any_act, min_size=1, max_size=2)

_cuts = st.just(()) | st.lists(st.integers(1, 30), min_size=1, max_size=4).map(tuple)


def _service(draw: st.DrawFn, calls: tuple[HostCall, ...]) -> list[Serve]:
    return [draw(_serves) for call in calls if call.kind not in QUESTIONS]


@st.composite
def _of_any_command(draw: st.DrawFn) -> Say:
    """Draw a message about a command, which the simulated guest sends.

    In most cases, the message has the id of one of three commands. In the other cases, no command
    has the id of the message.
    """
    act = draw(_of_command | st.builds(Say, _outputs, times=st.integers(1, 40)))
    id_ = draw(weighted((6, st.integers(1, 3)), (1, _sampled([0, 4, LARGEST]))))
    changed: Any = {"id": id_}
    assert not isinstance(act.message, bytes)
    return replace(act, message=replace(act.message, **changed), true=()) if id_ else act


@st.composite
def honest(draw: st.DrawFn) -> Script:
    """Draw a script of a guest that obeys the protocol, for any calls of the host."""
    calls, commands = draw(_calls), draw(_sampled([1, 3]))
    served = _service(draw, calls)
    acts = served if commands == 1 else [Together(tuple(served))]
    # The guest answers until the host disconnects.
    return Script((*GREETING, *acts, Pause(5000.0)), calls, draw(_cuts), commands)


@st.composite
def beside(draw: st.DrawFn) -> Script:
    """Draw a script of several commands at once, in a guest that may send wrong messages."""
    calls = draw(_calls)
    served = _service(draw, calls)
    honest_ones = draw(st.integers(0, len(served)))
    acts = weighted((6, _of_any_command()), (1, _any_act))
    all_acts: list[Act] = [Hear("ExecRequest")] * (len(served) - honest_ones)
    all_acts += draw(st.lists(acts, max_size=6))
    all_acts += [Together(tuple(served[:honest_ones])), *draw(st.lists(acts, max_size=2))]
    return Script((*GREETING, *all_acts), calls, draw(_cuts), commands=3)


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Draw a script of a guest that breaks the protocol, dies, or does nothing."""
    if draw(st.integers(0, 3)) == 0:
        return draw(beside())
    calls = draw(_calls)
    all_acts: list[Act] = []
    for greeting in GREETING:
        # A guest that is wrong before it is ready gets no requests.
        all_acts += [*(draw(_early) if draw(st.integers(0, 5)) == 0 else []), greeting]
    for act in _service(draw, calls):
        if draw(st.integers(0, 2)):
            all_acts += [Hear("ExecRequest"), *draw(_within)]
        else:
            all_acts += [*draw(_between), act]
    return Script((*all_acts, *draw(_between)), calls, draw(_cuts))
