"""Test that a start and a command need no more instructions and imports than before."""

from __future__ import annotations

import platform
import shutil

import pytest

from microvm_image import default

from . import figures

pytestmark = [pytest.mark.thorough, pytest.mark.alone]


@pytest.mark.parametrize("subject", figures.SUBJECTS)
def test_counts_equal_the_recorded_ones(subject: str) -> None:
    python, kept = figures.kept()
    if python != figures.python():
        pytest.skip(f"the counts are those of Python {python}")
    if platform.machine() != "x86_64":
        pytest.skip("the counts are those of x86_64")
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    default()
    changed = figures.changes(kept[subject], figures.SUBJECTS[subject]())
    assert not changed, "\n".join(["`make counts` keeps them, if they are worth it:", *changed])
