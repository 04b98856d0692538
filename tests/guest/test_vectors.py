"""Test that the daemon accepts every valid vector, and refuses the others as expected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import vectors
from tests.support.conformance import check_vectors
from tests.support.daemon import DaemonProcess, both_builds


@pytest.fixture
def process(binary: Path) -> Iterator[DaemonProcess]:
    process = DaemonProcess(binary)
    yield process
    process.close()


@both_builds
@pytest.mark.parametrize("longest", [None, 100], ids=["whole", "byte by byte"])
def test_daemon_agrees_with_every_vector(process: DaemonProcess, longest: int | None) -> None:
    known = vectors.load(vectors.COMMITTED)
    assert check_vectors(process, known, longest=longest) > len(known) / 2
