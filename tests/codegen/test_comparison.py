"""Test that every claim of docs/comparison.md names tests that exist."""

from __future__ import annotations

import re
import sys

import pytest
from tests.support.captured import captured

from .common import ROOT

pytestmark = pytest.mark.thorough

TEXT = (ROOT / "docs/comparison.md").read_text()
DIGITS = str.maketrans("¹²³⁴⁵⁶⁷⁸⁹⁰", "1234567890")
CLAIMS = TEXT.partition("## Strengths of microvm-proto\n")[2]


def test_every_row_of_the_table_names_tests() -> None:
    lines = re.findall(r"^\| ([^|]*?)([¹²³⁴⁵⁶⁷⁸⁹⁰]*) \|", CLAIMS, re.MULTILINE)
    unmarked = [title for title, mark in lines if not mark and title]
    # This line is about nearly all other generators.
    assert unmarked == ["data of a megabyte"]
    marks = [mark.translate(DIGITS) for _, mark in lines if mark]
    assert marks == re.findall(r"^(\d+)\. `tests/", CLAIMS, re.MULTILINE)
    assert marks == [str(number) for number in range(1, len(marks) + 1)]


def test_every_test_that_is_named_is_collected() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", TEXT))
    assert len(named) > 10
    files = sorted({name.partition("::")[0] for name in named})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *files]
    collected = captured(command, cwd=ROOT, check=True)
    there = {line.partition("[")[0] for line in collected.stdout.splitlines()}
    assert named - there == set()


def test_every_link_leads_somewhere() -> None:
    for document in (ROOT / "docs").glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
