"""Generator of the tables in docs/faults.md, from the states and the matrix."""

from __future__ import annotations

import re
from pathlib import Path

from .matrix import MATRIX, Row
from .state import STATES

PAGE = Path(__file__).parents[2] / "docs/faults.md"
STATES_HEAD = "| state | meaning |\n|---|---|\n"
HEAD = (
    "| fault | states | result | text of the message | text of the hint | within |\n"
    "|---|---|---|---|---|---|\n"
)


def states() -> str:
    """Return the table of the states."""
    rows = [
        f"| {name} | {' '.join((act.__doc__ or '').split())} |\n" for name, act in STATES.items()
    ]
    return STATES_HEAD + "".join(rows)


def matrix() -> str:
    """Return the table of the faults. A fault with several rows is named once."""
    lines, last = [], ""
    for row in MATRIX:
        what = "" if row.fault == last else row.fault
        lines.append(f"| {' | '.join([what, *_cells(row)])} |\n")
        last = row.fault
    return HEAD + "".join(lines)


def _cells(row: Row) -> list[str]:
    if row.error is not None:
        outcome = f"`{row.error.__name__}`"
    else:
        outcome = "a machine that boots" if row.says else "no error"
    said, hint = (f"`{text}`" if text else "" for text in (row.says, row.hint))
    return [", ".join(row.states.split()), outcome, said, hint, f"{row.within:g} s"]


def renewed(page: str) -> str:
    """Return a page with up-to-date tables."""
    for head, table in (STATES_HEAD, states()), (HEAD, matrix()):
        before, after = re.split(re.escape(head) + r"(?:\|.*\n)*", page)
        page = before + table + after
    return page
