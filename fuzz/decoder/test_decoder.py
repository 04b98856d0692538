"""The decoders in C, by themselves: the corpus reaches all of them, and breaks nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..report import corpus
from . import fuzzer
from .coverage import Meter


def test_the_corpus_reaches_every_line_and_branch(tmp_path: Path) -> None:
    coverage = Meter(tmp_path).measure(corpus())
    assert coverage.missed == []
    assert str(coverage).startswith("100% of ")


def test_what_a_meter_has_not_run_is_missed(tmp_path: Path) -> None:
    coverage = Meter(tmp_path).measure(corpus()[:1])
    assert any(place.startswith("session.c:") for place in coverage.missed)


@pytest.mark.parametrize(
    "seconds", [5.0, pytest.param(300.0, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_any_bytes(seconds: float) -> None:
    outcome = fuzzer.run(seconds, seed=1)
    assert outcome.findings == ()
    assert outcome.executions > len(corpus())
    assert outcome.frames > outcome.executions
