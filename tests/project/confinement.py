"""Generator of the table of layers in docs/security.md."""

from __future__ import annotations

import re
from pathlib import Path

from microvm.qemu.confinement import DEMANDED, LAYERS

PAGE = Path(__file__).parents[2] / "docs/security.md"
HEAD = "| layer | what it prevents | what it requires | `require` demands |\n"
HEAD += "|---|---|---|---|\n"


def table() -> str:
    """Return the table in Markdown."""
    rows = [(f"`{each.name}`", each.prevents, each.needs, _demand(each.name)) for each in LAYERS]
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _demand(name: str) -> str:
    for names in DEMANDED:
        if name in names:
            others = " or ".join(f"`{other}`" for other in names if other != name)
            return f"it, or {others}" if others else "it"
    return ""


def renewed(page: str) -> str:
    """Return a page with the up-to-date table."""
    return re.sub(re.escape(HEAD) + r"(\|.*\n)*", lambda _: table(), page)
