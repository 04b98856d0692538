"""The C decoders without sanitizer errors; the corpus reaches all of their code."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..report import corpus
from ..search import Record, Search
from .build import unreached
from .fuzzer import fuzz

pytestmark = pytest.mark.thorough


def test_corpus_reaches_every_line_and_branch() -> None:
    assert unreached(corpus()) == []


def test_less_than_the_corpus_leaves_lines_unreached() -> None:
    assert any(line.startswith("session.c:") for line in unreached(corpus()[:1]))


@pytest.mark.rung
@pytest.mark.parametrize("seconds", [2.0, pytest.param(300.0, marks=pytest.mark.long)])
def test_random_bytes(
    tmp_path: Path, seconds: float, search: Search, record_property: Record
) -> None:
    counts = fuzz(tmp_path, search.seconds or seconds, search.seed)
    assert counts["frames"] > counts["inputs"] > len(corpus())
    for name, count in counts.items():
        record_property(name, count)
