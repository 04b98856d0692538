"""Tests that docs/troubleshooting.md contains all faults of `microvm doctor`."""

from __future__ import annotations

from .troubleshooting import PAGE, renewed


def test_the_page_is_fresh() -> None:
    page = PAGE.read_text()
    assert renewed(page) == page, "run `make gen`"
