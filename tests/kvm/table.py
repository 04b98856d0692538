"""Generator of the table in CONTRIBUTING.md of the test files that do not run under KVM.

The table shows the reasons in `plan`.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.kvm.plan import LEFT_OUT

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
HEAD = "| test files that do not run there | reason |\n|---|---|\n"


def renewed(page: str) -> str:
    """Return a page with the up-to-date table."""
    before, after = re.split(re.escape(HEAD) + r"(?:\|.*\n)*", page)
    return before + HEAD + "".join(_rows()) + after


def _rows() -> list[str]:
    reasons: dict[str, list[str]] = {}
    for path, reason in LEFT_OUT.items():
        reasons.setdefault(reason, []).append(path.rpartition("/")[2])
    return [
        f"| {', '.join(f'`{name}`' for name in sorted(names))} | {reason} |\n"
        for reason, names in reasons.items()
    ]
