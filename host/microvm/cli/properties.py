"""Prints the properties of machines, images and snapshots, as JSON, as lines or as a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from microvm.cache import record
from microvm.cli.failures import for_each
from microvm.printable import printable

if TYPE_CHECKING:
    from microvm.start.saved import SavedGuest


def time_text(seconds: float) -> str:
    """Convert seconds since 1970 to a time in the format of ISO 8601, in the local time zone."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


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


def echo_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows as a table with aligned columns. The first row is the heading."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(map(str.ljust, row, widths)).rstrip())


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
