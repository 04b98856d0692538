"""The facts that `inspect` prints: as JSON, or a line each."""

from __future__ import annotations

import click

from microvm.printable import printable


def echo_json(value: object) -> None:
    """Print a value as JSON."""
    import json

    click.echo(json.dumps(value, indent=2))


def echo_all(shown: list[dict[str, object]], *, as_json: bool) -> None:
    """Print the facts of several things, as JSON or with an empty line between them."""
    if as_json:
        echo_json(shown)
        return
    for number, facts in enumerate(shown):
        if number:
            click.echo()
        _echo(facts)


def _echo(facts: dict[str, object], indent: str = "") -> None:
    """Print facts, a line each; a dictionary in them as a block, a list as several lines."""
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
