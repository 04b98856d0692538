"""Tests of whether docs/troubleshooting.md has what `microvm doctor` can say."""

from __future__ import annotations

from .troubleshooting import PAGE, renewed


def test_the_page_is_fresh() -> None:
    page = PAGE.read_text()
    assert renewed(page) == page, "run `make gen`"
