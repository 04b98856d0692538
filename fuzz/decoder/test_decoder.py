"""The decoders in C, by themselves: the corpus reaches all of them, and breaks nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..report import corpus
from ..search import Record, Search
from .build import measure
from .fuzzer import Fuzzer


def test_the_corpus_reaches_every_line_and_branch() -> None:
    reached = measure(corpus())
    assert reached.count(": 100.0% ") == 3, reached  # lines, functions, and branches each way


@pytest.mark.rung
@pytest.mark.parametrize("seconds", [5.0, pytest.param(300.0, marks=pytest.mark.long)])
def test_any_bytes(tmp_path: Path, seconds: float, search: Search, record_property: Record) -> None:
    fuzzer = Fuzzer(tmp_path)
    fuzzer.fuzz(search.seconds or seconds, search.seed)
    assert fuzzer.frames > fuzzer.executions > len(corpus())
    record_property("inputs", fuzzer.executions)
    record_property("frames", fuzzer.frames)
