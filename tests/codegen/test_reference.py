"""Tests that `docs/schema.md` contains every rule and key, with examples from the fixtures."""

from __future__ import annotations

import re

import pytest

from .common import FIXTURES, ROOT, breaking_schemas, fixtures

TEXT = (ROOT / "docs/schema.md").read_text()
RULES = {
    rule: (text, re.findall(r"`(.*?)`", example))
    for rule, text, example in re.findall(
        r"^\| `([a-z-]+)` \| (.*) \| (.*) \|$", TEXT.partition("## Rules of a schema")[2], re.M
    )
}
SCHEMAS = breaking_schemas() | fixtures()


def test_reference_documents_every_rule() -> None:
    # Another test compares the fixtures with the rules in the sources.
    assert [*RULES] == [
        *sorted(path.stem for path in FIXTURES.glob("*.err")),
        *sorted(path.stem for path in FIXTURES.glob("breaking/*.err")),
    ]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "unreadable"])
def test_a_rule_has_a_text_and_an_example_that_breaks_it(rule: str) -> None:
    text, example = RULES[rule]
    assert text.endswith(".")
    schema = SCHEMAS[f"{rule}.toml"].encode(errors="surrogateescape").decode(errors="replace")
    lines = [line.strip() for line in schema.splitlines()]
    assert example
    assert "\n".join(example) in "\n".join(line for line in lines if line)


def test_reference_documents_every_key() -> None:
    known = {
        key
        for path in FIXTURES.glob("unknown-key.err")
        for line in re.findall(r"hint: known: (.*)", path.read_text())
        for key in re.findall(r"`(\w+)`", line)
    }
    assert len(known) > 10
    assert {key for key in known if not re.search(rf"[`.[]{key}[`\]]", TEXT)} == set()
