"""The tables of attempts in docs/security.md, made of the program's own.

python -m tests.confinement.table
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tests.confinement.scene import Attempt, attempts

PAGE = Path(__file__).parents[2] / "docs/security.md"

_TAIL = "what it would give | without confinement |\n|---|---|---|\n"
_WITHOUT = {
    "open": "any process may",
    "shut": "takes privileges, or another kernel",
    "own": "harms nobody else",
}


def renewed(page: str) -> str:
    """The page with the tables as they should be, one for each kind of attempt."""
    tables = [table([*rows]) for _, rows in groupby(attempts(), lambda each: each.title)]
    rest = iter(tables)
    pattern = r"\| [\w ]+ \| " + re.escape(_TAIL) + r"(\|.*\n)*"
    page, found = re.subn(pattern, lambda _: next(rest), page)
    assert found == len(tables), "the page has another number of tables"
    return page


def table(rows: Sequence[Attempt]) -> str:
    """The table of one kind, in Markdown."""
    lines = (f"| {each.name} | {each.gives} | {_WITHOUT[each.danger]} |\n" for each in rows)
    return f"| {rows[0].title.lower()} | {_TAIL}{''.join(lines)}"


def counts() -> tuple[int, int, int]:
    """How many attempts there are, would harm others, and do where there is no confinement."""
    dangers = [each.danger for each in attempts()]
    return len(dangers), len(dangers) - dangers.count("own"), dangers.count("open")


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
