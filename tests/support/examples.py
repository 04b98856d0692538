"""The examples of docs/json.md, and a check that output has their names and types."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs/json.md"

#: # Documented output, by the command that prints it.
EXAMPLES = dict(re.findall(r"^    \$ (.*)\n((?:    .*\n)+)", PAGE.read_text(), re.MULTILINE))


def check(shown: Any, found: Any, where: str) -> None:
    """Check that values have the names and types of an example; None matches every type."""
    if isinstance(shown, dict) and isinstance(found, dict):
        assert list(shown) == list(found), where
        for name in shown:
            check(shown[name], found[name], f"{where}.{name}")
    elif isinstance(shown, list) and isinstance(found, list):
        for each in found:
            if shown:
                check(shown[0], each, f"{where}[]")
    elif shown is not None and found is not None:
        assert type(shown) is type(found), where
