"""The examples of docs/json.md, and whether something has the names and the types of one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs/json.md"

#: What is printed, by the command that prints it.
EXAMPLES = dict(re.findall(r"^    \$ (.*)\n((?:    .*\n)+)", PAGE.read_text(), re.MULTILINE))


def check(shown: Any, found: Any, where: str) -> None:
    """See that values have the names and the types of an example's; None is of any type."""
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
