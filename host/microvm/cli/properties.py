"""Prints the properties of machines, images and snapshots, as JSON, as lines or as a table."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from microvm import arches
from microvm.cache import record
from microvm.cli.failures import for_each
from microvm.printable import printable

if TYPE_CHECKING:
    from microvm.start.saved import SavedGuest


_LEAST_WIDTH = 10  # number of characters of a column that is not cut further
_NEVER_CUT = ("DIGEST", "STARTED", "CREATED", "USED")


def time_text(seconds: float) -> str:
    """Convert seconds since 1970 to a time in the format of ISO 8601, in the local time zone."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def short_name(name: str) -> str:
    """Return the name of an image or a template as it is shown to users, without its digests.

    The architecture is also left out if it is the architecture of this host.
    """
    return re.sub(rf"(-{arches.native()})?(-[0-9a-f]{{12}}){{1,2}}$", "", name)


def digest(name: str) -> str:
    """Return the digest with which the name of an image or a template ends."""
    return name.rpartition("-")[2]


def shown_time(seconds: float, *, full: bool) -> str:
    """Convert seconds since 1970 to text for a table: the exact time, or as `2 hours ago`."""
    return time_text(seconds) if full else ago(time.time() - seconds)


def ago(age: float) -> str:
    """Return a duration in seconds as docker shows it, such as `2 hours ago`."""
    hours = int(age / 3600 + 0.5)
    if age < 1:
        return "Less than a second ago"
    if age < 60:
        return _counted(int(age), "second")
    if age < 3600:
        return _counted(int(age // 60), "minute", one="About a minute")
    for most, each, unit in ((48, 1, "hour"), (336, 24, "day"), (1440, 168, "week")):
        if hours < most:
            return _counted(hours // each, unit, one=f"About an {unit}")
    return _counted(*((hours // 720, "month") if hours < 17520 else (hours // 8760, "year")))


def _counted(number: int, unit: str, *, one: str = "") -> str:
    shown = f"{number} {unit}s" if number != 1 else one or f"1 {unit}"
    return f"{shown} ago"


def saved_properties(saved: SavedGuest) -> dict[str, object]:
    """Return the properties of a template or a snapshot by the names that docs/json.md defines."""
    facts: dict[str, object] = {
        "name": saved.name,
        "size": saved.size,
        "used": time_text(saved.used),
        "flaw": saved.flaw,
    }
    if (manifest := saved.manifest) is None:
        return facts
    made = record.members(manifest)
    origin = made.pop("origin")
    origin["memory"] <<= 20  # convert the memory from MiB to bytes
    origin["disk"] = origin.pop("scratch")
    return {**facts, **origin, **made}


def echo_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2))


def echo_table(rows: Sequence[tuple[str, ...]], *, full: bool = False) -> None:
    """Print rows as a table with aligned columns. The first row is the heading.

    If the output is a terminal, cut the widest columns until the rows fit. Digests and times are
    never cut.

    :param full: True to cut nothing.
    """
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if not full and sys.stdout.isatty():
        excess = sum(widths) + 2 * (len(widths) - 1) - shutil.get_terminal_size().columns
        cut = [at for at, title in enumerate(rows[0]) if title not in _NEVER_CUT]
        while excess > 0 and widths[widest := max(cut, key=widths.__getitem__)] > _LEAST_WIDTH:
            widths[widest] -= 1
            excess -= 1
    for row in rows:
        click.echo("  ".join(map(str.ljust, map(_cut, row, widths), widths)).rstrip())


def _cut(text: str, width: int) -> str:
    """Replace the middle of a text by an ellipsis if the text is longer than `width`.

    The beginning of a name or command line tells what it is, and the end of a name is unique.
    """
    if len(text) <= width:
        return text
    end = width // 3
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def echo_each(
    names: Iterable[str], facts: Callable[[str], dict[str, object]], *, as_json: bool
) -> None:
    """Print the properties of each named object, as `facts(name)` returns them."""
    shown: list[dict[str, object]] = []
    try:
        shown.extend(for_each(names, facts))
    finally:
        if shown:
            echo_all(shown, as_json=as_json)


def echo_all(shown: list[dict[str, object]], *, as_json: bool) -> None:
    """Print the properties of objects: as JSON, or as lines with an empty line between objects."""
    if as_json:
        echo_json(shown)
        return
    for number, facts in enumerate(shown):
        if number:
            click.echo()
        _echo(facts)


def _echo(facts: dict[str, object], indent: str = "") -> None:
    """Print each property on a line. A dictionary or list follows as indented lines."""
    for name, value in facts.items():
        match value:
            case dict():
                click.echo(f"{indent}{name}:")
                _echo(value, f"{indent}  ")
            case tuple() | list():
                click.echo(f"{indent}{name}:" + ("" if value else " none"))
                for each in value:
                    line = each if isinstance(each, str) else " ".join(each)
                    click.echo(f"{indent}  {printable(line)}")
            case _:
                click.echo(f"{indent}{name}: {printable(str(value))}".rstrip())
