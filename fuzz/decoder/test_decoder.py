"""The decoders in C, by themselves: the corpus reaches all of them, and breaks nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .. import report
from ..report import corpus
from .build import is_whole, measure
from .fuzzer import Fuzzer, run


def test_the_corpus_reaches_every_line_and_branch() -> None:
    reached = measure(corpus())
    assert is_whole(reached), reached


def test_what_reaches_more_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [first, *others] = corpus()
    monkeypatch.setattr(report, "CORPUS", tmp_path / "corpus")
    report.CORPUS.mkdir()
    shutil.copy(first, report.CORPUS)
    before = measure(corpus())
    assert not is_whole(before)
    fuzzer = Fuzzer(tmp_path)
    for path in others:
        shutil.copy(path, fuzzer.grown)
    kept = fuzzer.keep_what_reaches_more()
    assert 1 < len(kept) < len(others)
    assert measure(corpus()) != before


@pytest.mark.parametrize(
    "seconds", [5.0, pytest.param(300.0, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_any_bytes(seconds: float) -> None:
    outcome = run(seconds, seed=1)
    assert not outcome.findings
    assert outcome.executions > len(corpus())
    assert outcome.frames > outcome.executions
