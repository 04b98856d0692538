"""The counts as they are kept in a file, to be compared with those of here and now."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from . import measure
from .measure import Counts

FILE = Path(__file__).with_name("figures.json")

SUBJECTS: Mapping[str, Callable[[], Counts]] = {
    "controller": measure.controller,
    "daemon": measure.daemon,
    "microvm run": measure.modules,
}
"""What is counted: each by a function."""

#: How far a count may be from the kept one, as a part of that, by its first word. A start digests
#: the state of a template, which is nearly three times as large with Debian's kernel.
_TOLERANCE = {"instructions": 0.15, "system": 0.2, "modules": 0.03}


def python() -> str:
    """Return the version of this Python: each has instructions and modules of its own."""
    return "{}.{}".format(*sys.version_info)


def kept() -> tuple[str, Mapping[str, Counts]]:
    """Return the version of Python that the kept counts are of, and these, by their subjects."""
    read = json.loads(FILE.read_text())
    return read["python"], read["counts"]


def keep(counts: Mapping[str, Counts]) -> None:
    """Keep counts in the place of those that are kept."""
    FILE.write_text(json.dumps({"python": python(), "counts": counts}, indent=2) + "\n")


def changes(before: Counts, after: Counts) -> list[str]:
    """Return, in words, what differs by more than it may."""
    return [
        f"{name}: {before.get(name, 0):,} before, {count:,} now"
        for name, count in after.items()
        if abs(count - before.get(name, 0)) > _TOLERANCE[name.split()[0]] * before.get(name, 0)
    ]
