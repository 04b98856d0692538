"""Tests of our programs of `make footprint` on the microcontroller that it emulates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from footprint.__main__ import COUNTS, measure
from footprint.messages import messages
from footprint.programs import ours

pytestmark = pytest.mark.thorough

DOCUMENT = Path(__file__).parents[2] / "docs/performance.md"


@pytest.mark.long
@pytest.mark.parametrize("count", COUNTS)
def test_round_trip_fits_the_documented_flash(count: int, tmp_path: Path) -> None:
    row = re.search(rf"^\| {count} \| (\d+) \(\d+\) \| (\d+) ", DOCUMENT.read_text(), re.MULTILINE)
    assert row
    for style, said in zip(("inline", "table"), map(int, row.groups()), strict=True):
        (tmp_path / style).mkdir()
        more = ours(tmp_path / style, messages(count), style)
        # Code size differs between releases of a compiler.
        assert measure(tmp_path / style, more).flash == pytest.approx(said, rel=0.05)
