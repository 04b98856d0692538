"""Prints tables with aligned columns and without borders, for `ls` and similar verbs."""

from __future__ import annotations

from collections.abc import Sequence

import click

from microvm.printable import printable


def echo(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows as a table. The first row is the heading."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(map(str.ljust, row, widths)).rstrip())
