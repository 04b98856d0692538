"""The daemon takes every valid vector, and refuses every other as the vector says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import vectors
from tests.support.conformance import hold_against
from tests.support.target import Process


@pytest.fixture
def process(binary: Path) -> Iterator[Process]:
    """Give each build of the daemon in turn."""
    process = Process(binary)
    yield process
    process.close()


def test_whole(process: Process) -> None:
    known = vectors.load(vectors.COMMITTED)
    assert hold_against(process, known) > len(known) / 2


def test_byte_by_byte(process: Process) -> None:
    known = vectors.load(vectors.COMMITTED)
    assert hold_against(process, known, longest=100) > len(known) / 2
