"""The saved counts, and their comparison with new ones."""

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
"""The functions that count, by subject."""

#: Permitted relative difference from the saved count, by its first word. A start digests
#: the state of a template, which is nearly three times as large with Debian's kernel.
_TOLERANCE = {"instructions": 0.15, "system": 0.2, "modules": 0.03}


def python() -> str:
    """Return the version of this Python. Each version has its own counts."""
    return "{}.{}".format(*sys.version_info)


def kept() -> tuple[str, Mapping[str, Counts]]:
    """Return the saved counts by subject, and the version of Python that they are valid for."""
    read = json.loads(FILE.read_text())
    return read["python"], read["counts"]


def keep(counts: Mapping[str, Counts]) -> None:
    FILE.write_text(json.dumps({"python": python(), "counts": counts}, indent=2) + "\n")


def changes(before: Counts, after: Counts) -> list[str]:
    """Return descriptions of the counts that differ by more than permitted."""
    return [
        f"{name}: {before.get(name, 0):,} before, {count:,} now"
        for name, count in after.items()
        if abs(count - before.get(name, 0)) > _TOLERANCE[name.split()[0]] * before.get(name, 0)
    ]
