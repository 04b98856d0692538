"""Test that the daemon accepts every valid vector, and refuses the others as expected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import vectors
from tests.support.conformance import check_vectors
from tests.support.daemon import DaemonProcess


@pytest.fixture
def process(binary: Path) -> Iterator[DaemonProcess]:
    """Both builds of the daemon, one after the other."""
    process = DaemonProcess(binary)
    yield process
    process.close()


def test_whole(process: DaemonProcess) -> None:
    known = vectors.load(vectors.COMMITTED)
    assert check_vectors(process, known) > len(known) / 2


def test_byte_by_byte(process: DaemonProcess) -> None:
    known = vectors.load(vectors.COMMITTED)
    assert check_vectors(process, known, longest=100) > len(known) / 2
