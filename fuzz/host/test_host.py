"""The host against a scripted guest: only what is documented comes of what a guest says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings

from microvm.errors import GuestUnresponsive
from microvm.wire.session import Session

from ..settings import SETTINGS
from . import rung
from .checks import Violation
from .endings import ASKED, ENDINGS, SLOW, ending
from .harness import play
from .result import REAL_CLOCK
from .script import Act, Answer, Call, Hear, Pause, Script, SlowFrame, StopReading, corpus
from .strategies import honest, scripts


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


@pytest.mark.parametrize("name", ENDINGS)
def test_what_a_guest_does_is_known_for_what_it_is(name: str) -> None:
    wanted, _ = ENDINGS[name]
    result = play(ending(name))
    assert type(result.error) is (wanted or type(None))
    assert wanted is not None or isinstance(result.ready.value, TimeoutError)


@pytest.mark.parametrize(
    "acts",
    [
        (Answer(pongs=False), Pause(3600.0)),
        (SlowFrame(0.005),),
        (StopReading(), Pause(3600.0)),
        (Hear("ExecKill"), Pause(3600.0)),
    ],
    ids=["silence", "a frame without end", "no reading", "a command that cannot be killed"],
)
def test_deadlines_hold_on_a_real_clock(acts: tuple[Act, ...]) -> None:
    script = Script((*ASKED, *acts), (Call("exec", timeout=0.2, grace=0.1), SLOW))
    result = play(script, REAL_CLOCK)
    assert isinstance(result.error, GuestUnresponsive)
    # Not the slack of `REAL_CLOCK`, which is for those who cannot wait.
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
    monkeypatch.setattr(rung, "known", dict)
    outcome = rung.run(2.0, 7)
    assert outcome.findings
    saved = sorted(tmp_path.iterdir())
    assert saved
    assert re.fullmatch(r"[a-z0-9-]+-[0-9a-f]{8}\.json", saved[0].name)
    with pytest.raises(Violation):
        play(Script.from_json(saved[0].read_text()))
