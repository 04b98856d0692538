"""Generator of the tables of attempts in docs/security.md, from the list of the program."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tests.confinement.scene import AttackAttempt, attempts

PAGE = Path(__file__).parents[2] / "docs/security.md"

_TAIL = "effect if it succeeds | in an unconfined process |\n|---|---|---|\n"
_WITHOUT = {
    "open": "allowed",
    "shut": "needs privileges, or another kernel",
}


def renewed(page: str) -> str:
    """Return the page with up-to-date tables, one for each kind of attempt."""
    tables = [table([*rows]) for _, rows in groupby(attempts(), lambda each: each.title)]
    rest = iter(tables)
    pattern = r"\| [\w ]+ \| " + re.escape(_TAIL) + r"(\|.*\n)*"
    page, found = re.subn(pattern, lambda _: next(rest), page)
    assert found == len(tables), "the page has another number of tables"
    return page


def table(rows: Sequence[AttackAttempt]) -> str:
    """Return the table of one kind of attempts in Markdown."""
    lines = (f"| {each.name} | {each.gives} | {_WITHOUT[each.danger]} |\n" for each in rows)
    return f"| {rows[0].title.lower()} | {_TAIL}{''.join(lines)}"


def counts() -> tuple[int, int]:
    """Return the numbers of all attempts, and of those that work unconfined."""
    dangers = [each.danger for each in attempts()]
    return len(dangers), dangers.count("open")
