"""The decoders in C, by themselves: the corpus reaches all of them, and breaks nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .. import report
from ..report import corpus
from ..search import Record, Search
from .build import is_whole, measure
from .fuzzer import Fuzzer


@pytest.fixture
def fuzzer(tmp_path: Path) -> Fuzzer:
    """Build one."""
    return Fuzzer(tmp_path)


def test_the_corpus_reaches_every_line_and_branch() -> None:
    reached = measure(corpus())
    assert is_whole(reached), reached


def test_what_reaches_more_is_kept(
    fuzzer: Fuzzer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first, *others] = corpus()
    monkeypatch.setattr(report, "CORPUS", tmp_path / "corpus")
    report.CORPUS.mkdir()
    shutil.copy(first, report.CORPUS)
    before = measure(corpus())
    assert not is_whole(before)
    for path in others:
        shutil.copy(path, fuzzer.grown)
    kept = fuzzer.keep_what_reaches_more()
    assert 1 < len(kept) < len(others)
    assert measure(corpus()) != before


@pytest.mark.rung
@pytest.mark.parametrize("seconds", [5.0, pytest.param(300.0, marks=pytest.mark.long)])
def test_any_bytes(fuzzer: Fuzzer, seconds: float, search: Search, record_property: Record) -> None:
    fuzzer.replay()
    fuzzer.fuzz(search.seconds or seconds, search.seed)
    assert fuzzer.frames > fuzzer.executions > len(corpus())
    # What is left when that is whole are edges of the compiler's own, and of what replays.
    if not is_whole(measure(corpus())):
        fuzzer.keep_what_reaches_more()
    record_property("inputs", fuzzer.executions)
    record_property("frames", fuzzer.frames)
