"""Generator of the table of distributions in docs/systems.md, from the saved results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[2] / "docs/systems.md"
COLUMNS = ("system", "Python", "QEMU", "as", "accelerator", "absent layers", "absent tools")
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"


def table(results: list[dict[str, Any]]) -> str:
    return HEAD + "".join(_row(result) for result in results)


def _row(result: dict[str, Any]) -> str:
    found = [result[column] for column in COLUMNS]
    cells = [", ".join(each) or "none" if isinstance(each, list) else each for each in found]
    return f"| {' | '.join(cells)} |\n"


def renewed(page: str) -> str:
    """Return a page with the up-to-date table."""
    before, after = re.split(re.escape(HEAD) + r"(?:\|.*\n)*", page)
    return before + table(json.loads(RESULTS.read_text())) + after
