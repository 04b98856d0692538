"""Tests of the measured evaluations, with few samples."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from .evaluation import measure, prepare_patched, prepare_written


@pytest.mark.long
def test_samples_from_one_snapshot_are_as_correct_as_on_the_host(tmp_path: Path) -> None:
    asyncio.run(prepare_written(tmp_path))
    for place in ("microvm", "local"):
        found = measure("written", place, 2, tmp_path)
        assert (found.correct, found.samples) == (2, 4)
        if place == "microvm":  # processes on the host may exit between two looks
            assert found.memory > 0


@pytest.mark.long
def test_only_the_right_patch_of_a_repository_passes_its_tests(tmp_path: Path) -> None:
    prepare_patched(tmp_path)
    for place in ("microvm", "local"):
        found = measure("patched", place, 1, tmp_path)
        assert (found.correct, found.samples) == (1, 3)
