"""Tests that `docs/schema.md` contains every rule and key, with examples from the fixtures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIXTURES = Path(__file__).with_name("fixtures")
TEXT = (ROOT / "docs/schema.md").read_text()
RULES = dict(re.findall(r"^### `([a-z-]+)`\n\n(.*?)(?=\n##|\Z)", TEXT, re.MULTILINE | re.DOTALL))


def test_reference_documents_every_rule() -> None:
    # Another test compares the fixtures with the rules in the sources.
    assert [*RULES] == [
        *sorted(path.stem for path in FIXTURES.glob("*.err")),
        *sorted(path.stem for path in FIXTURES.glob("breaking/*.err")),
    ]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "unreadable"])
def test_a_rule_has_a_paragraph_and_an_example_that_breaks_it(rule: str) -> None:
    match = re.fullmatch(r"(\S.*?)\n\n```toml\n(.*?\n)```\n?", RULES[rule], re.DOTALL)
    assert match
    paragraph, example = match.groups()
    assert "\n\n" not in paragraph
    (schema,) = [*FIXTURES.glob(f"{rule}.toml"), *FIXTURES.glob(f"breaking/{rule}.toml")]
    assert example in schema.read_text(errors="replace")


def test_reference_documents_every_key() -> None:
    known = {
        key
        for path in FIXTURES.glob("unknown-key.err")
        for line in re.findall(r"hint: known: (.*)", path.read_text())
        for key in re.findall(r"`(\w+)`", line)
    }
    assert len(known) > 10
    assert {key for key in known if not re.search(rf"[`.[]{key}[`\]]", TEXT)} == set()
