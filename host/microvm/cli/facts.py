"""The facts that `inspect` prints: as JSON, or a line each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from microvm.cli.series import for_each
from microvm.printable import printable

if TYPE_CHECKING:
    from microvm.start.store import Saved


def time_text(seconds: float) -> str:
    """Return a time, in seconds since 1970, as ISO 8601 writes it, in our zone."""
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def saved_facts(saved: Saved) -> dict[str, object]:
    """Return what is known of a template or a snapshot, by stable names: docs/json.md."""
    from microvm.cache import record

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
    origin["memory"] <<= 20  # MiB, as QEMU counts it
    origin["disk"] = origin.pop("scratch")
    return {**facts, **origin, **made}


def echo_json(value: object) -> None:
    """Print a value as JSON."""
    import json

    click.echo(json.dumps(value, indent=2))


def echo_each(
    names: Iterable[str], facts: Callable[[str], dict[str, object]], *, as_json: bool
) -> None:
    """Print the facts of each name, and leave out the names that fail.

    :raises MicroVMError: at least one name failed; see `for_each`.
    """
    shown: list[dict[str, object]] = []
    try:
        shown.extend(for_each(names, facts))
    finally:
        if shown:
            echo_all(shown, as_json=as_json)


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
