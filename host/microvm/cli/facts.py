"""The facts that `inspect` prints: as JSON, or a line each."""

from __future__ import annotations

import click

from microvm.printable import printable


def echo_json(value: object) -> None:
    """Print a value as JSON."""
    import json

    click.echo(json.dumps(value, indent=2))


def echo_facts(facts: dict[str, object], indent: str = "") -> None:
    """Print facts, a line each; a dictionary in them as a block, a list as several lines."""
    for name, value in facts.items():
        match value:
            case dict():
                click.echo(f"{indent}{name}:")
                echo_facts(value, f"{indent}  ")
            case tuple() | list():
                click.echo(f"{indent}{name}:" + ("" if value else " none"))
                for each in value:
                    line = each if isinstance(each, str) else " ".join(each)
                    click.echo(f"{indent}  {printable(line)}")
            case _:
                click.echo(f"{indent}{name}: {printable(str(value))}".rstrip())
