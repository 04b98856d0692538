"""Runs the Python code of the pages in docs/frameworks/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "docs/frameworks"


def names_of(page: str) -> dict[str, Any]:
    """Execute the Python code of a page, and return the names that it defines."""
    path = FOLDER / f"{page}.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    names: dict[str, Any] = {}
    exec(compile("\n".join(blocks), path, "exec"), names)  # noqa: S102
    return names
