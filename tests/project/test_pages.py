"""Tests that the tables in documents match the code."""

from __future__ import annotations

import pytest

from .pages import MODULES, generated

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("module", MODULES)
def test_tables_of_a_page_are_up_to_date(module: str) -> None:
    page, text = generated(module)
    assert page.read_text() == text, "run `make gen`"
