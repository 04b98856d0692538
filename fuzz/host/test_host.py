"""The host against a scripted guest: only what is documented comes of what a guest says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings

from microvm.errors import (
    GuestDied,
    GuestUnresponsive,
    MachineError,
    ProtocolError,
    VersionMismatch,
)
from microvm.wire import codec
from microvm.wire.codec import Ending, Stream
from microvm.wire.session import Session

from ..settings import SETTINGS
from . import rung
from .checks import Violation
from .harness import play
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
from .strategies import GREETING, READY, honest, scripts

ASKED = (*GREETING, Hear("ExecRequest"))
SLOW = Call("exec", reading="slow")
ENDED = Say(codec.ExecResponse(1, Ending.EXITED, 0), ("id",))


@pytest.mark.parametrize("path", corpus(), ids=lambda path: path.stem)
def test_what_once_failed(path: Path) -> None:
    play(Script.from_json(path.read_text()))


@settings(SETTINGS, max_examples=100)
@given(script=honest())
def test_an_honest_guest_is_believed(script: Script) -> None:
    result = play(script)
    assert result.recorder.breach is None
    assert result.error is None
    assert len(result.calls) == len(script.calls)


@settings(SETTINGS, max_examples=300)
@given(script=scripts())
def test_any_script(script: Script) -> None:
    play(script)


@pytest.mark.long
@settings(SETTINGS, max_examples=20_000)
@given(script=scripts())
def test_any_script_at_length(script: Script) -> None:
    play(script)


@settings(SETTINGS, max_examples=100)
@given(script=scripts())
def test_a_script_can_be_written_down(script: Script) -> None:
    assert Script.from_json(script.to_json()) == script


def output(data: bytes = b"x") -> codec.ExecOutput:
    return codec.ExecOutput(1, Stream.STDOUT, data)


BREACHES: dict[str, tuple[Act, ...]] = {
    "ready twice": (*GREETING, READY),
    "what only a host says": (*GREETING, Say(codec.Ping(1))),
    "an answer to no ping": (*GREETING, Say(codec.Pong(77))),
    "a status that nobody asked for": (*GREETING, Say(codec.Status(*[0] * 10))),
    "a refusal": (*GREETING, Say(codec.Error(0, 1, 2, 3, 4))),
    "an id of the future": (*ASKED, Say(codec.ExecResponse(2, Ending.EXITED, 0))),
    "an id of the past": (*GREETING, Serve(), Hear("ExecRequest"), Say(output())),
    "two ends": (*ASKED, ENDED, ENDED),
    "output after the end": (*ASKED, ENDED, Say(output())),
    "output beyond its credit": (*ASKED, Flood(1, 65536, 17)),
    "output of nothing": (*ASKED, Say(output(b""))),
    "credit for input that nobody feeds": (*ASKED, Say(codec.ExecStdinCredit(1, 1))),
    "credit of nothing": (*ASKED, Say(codec.ExecStdinCredit(1, 0))),
    "the end of input that nobody feeds": (*ASKED, Say(codec.ExecStdinClosed(1))),
    "a stream that there is not": (*ASKED, Raw(output().encode()[:-2] + b"\3x")),
    "a body too long": (*ASKED, Say(output(), bent={"length": 65538})),
    "a body too short": (*ASKED, Say(ENDED.message, bent={"length": 1})),
    "flags": (*ASKED, Say(ENDED.message, bent={"flags": 1})),
    "a word after goodbye": (*ASKED, Say(codec.Goodbye(1)), ENDED),
}
ENDS: dict[str, tuple[type[MachineError] | None, tuple[Act, ...]]] = {
    "a nonce that is not ours": (
        None,
        (Hear("Hello"), Say(READY.message, ("version", "digest", "max_body"))),
    ),
    "another schema": (
        VersionMismatch,
        (Hear("Hello"), Say(READY.message, ("version", "nonce"))),
    ),
    "no version": (VersionMismatch, (Hear("Hello"), Say(READY.message, ("digest", "nonce")))),
    "the end of the port": (GuestDied, (*ASKED, Close())),
    "the end of a half of it": (GuestDied, (*ASKED, Close(half=True))),
    "the end in a frame": (GuestDied, (*ASKED, Raw(ENDED.message.encode()[:-1]), Close())),
    "a reset": (GuestDied, (*ASKED, Reset())),
    "silence": (GuestUnresponsive, ASKED),
    "a frame without end": (GuestUnresponsive, (*ASKED, Dribble(1.0))),
    **{name: (ProtocolError, breach) for name, breach in BREACHES.items()},
}


@pytest.mark.parametrize("name", ENDS)
def test_what_a_guest_does_is_known_for_what_it_is(name: str) -> None:
    wanted, acts = ENDS[name]
    result = play(Script((*acts, Pause(100.0)), (SLOW, Call("run", timeout=100.0))))
    assert type(result.error) is (wanted or type(None))
    assert wanted is not None or isinstance(result.ready, TimeoutError)


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
    script = Script((*ASKED, *acts), (Call("exec", timeout=0.2, grace=0.1), SLOW))
    result = play(script, HASTY)
    assert isinstance(result.error, GuestUnresponsive)
    # Not the slack of `HASTY`, which is for those who cannot wait.
    assert result.calls[0].ended - result.calls[0].began < 4


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
        play(Script.from_json(saved[0].read_text()))
