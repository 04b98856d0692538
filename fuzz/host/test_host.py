"""Tests of the host against a scripted guest: it only raises documented errors, in time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import Phase, given, seed, settings
from tests.support.judged import Judge
from tests.support.recording import recordings

from microvm.wire.command_conversation import CommandConversation

from ..report import Disagreement
from ..search import SETTINGS, Record, Search, batch, smallest
from . import known_scripts as known
from .acts import HostCall, Pause, Script
from .harness import play
from .known_scripts import ASKED, ENDED, ENDINGS, FAILED, MALFORMED, lasting, read, written
from .strategies import honest, scripts


def explore(number: int, frames: list[int]) -> None:
    """Play a batch of scripts."""
    with smallest(known.CORPUS, ".txt") as failure:

        @batch(150, Phase.shrink)
        @seed(number)
        @given(script=scripts())
        def examples(script: Script) -> None:
            failure.assume_time()
            try:
                frames.append(len(play(script).frames))
            except Exception as error:
                failure.note(error, written(script).encode())
                raise

        examples()


@pytest.mark.thorough
@pytest.mark.rung
@pytest.mark.parametrize("name", FAILED)
def test_corpus(name: str) -> None:
    play(FAILED[name])


@pytest.mark.thorough
@settings(SETTINGS, max_examples=100)
@given(script=honest())
def test_host_accepts_an_honest_guest(script: Script) -> None:
    recorder = play(script)
    assert not recorder.breach
    assert recorder.error is None
    assert len(recorder.calls) == 1 + len(script.calls)


@pytest.mark.rung
@pytest.mark.parametrize("batches", [1, pytest.param(130, marks=pytest.mark.long)])
def test_random_script(batches: int, search: Search, judge: Judge, record_property: Record) -> None:
    frames: list[int] = []
    for number in search.batches(batches):
        explore(number, frames)
        judge()
    assert sum(frames) > len(frames)
    record_property("scripts", len(frames))
    record_property("frames", sum(frames))


def test_command_may_run_for_hours() -> None:
    recorder = play(Script((*ASKED, *[Pause(3600.0)] * 3, ENDED), (HostCall("run"),)))
    assert [its.value for its in recorder.calls] == [None, 0]


@settings(SETTINGS, max_examples=100)
@given(script=scripts())
def test_script_round_trip(script: Script) -> None:
    assert read(written(script)) == script


@pytest.mark.thorough
@pytest.mark.rung
@pytest.mark.parametrize("error", ENDINGS)
def test_host_reports_the_cause_of_a_loss(error: type) -> None:
    for acts in ENDINGS[error].values():
        assert type(play(lasting(*acts)).error) is error


@pytest.mark.thorough
@pytest.mark.rung
@pytest.mark.parametrize("cuts", [(), (7,)])
def test_malformed_frames_are_refused(cuts: tuple[int, ...]) -> None:
    for said in MALFORMED:
        assert play(lasting(*ASKED, said, cuts=cuts)).breach


@pytest.mark.thorough
def test_broken_host_is_found_and_its_script_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    accept = CommandConversation.accept
    monkeypatch.setattr(CommandConversation, "accept", lambda *said: accept(*said) or True)
    monkeypatch.setattr(known, "CORPUS", tmp_path)
    monkeypatch.setattr("fuzz.search.SHRINKING", 1.0)
    with recordings(), pytest.raises(Disagreement):
        explore(7, [])
    [saved] = tmp_path.iterdir()
    assert re.fullmatch(r"[a-z0-9-]+-[0-9a-f]{8}\.txt", saved.name)
    with recordings(), pytest.raises(Disagreement):
        play(read(saved.read_text()))
