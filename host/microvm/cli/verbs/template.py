"""`microvm template`: list and remove templates, the saved guests that machines are cloned from."""

from __future__ import annotations

import click

from microvm.cli import parameters
from microvm.cli.failures import for_each
from microvm.cli.group import VerbGroup
from microvm.cli.properties import echo_json, echo_table, saved_properties, time_text
from microvm.start import template as templates
from microvm.start.saved import SavedGuest
from microvm.start.template import STORE


@click.group(cls=VerbGroup)
def template() -> None:
    """List and remove templates.

    A template is a booted guest that is saved on the disk. The first start of an image with a
    memory size and number of CPUs boots a guest and saves it as a template. Later starts are fast
    because they clone the template instead of booting. The variable MICROVM_TEMPLATES limits the
    total size of all templates, by default to 4G. If it is exceeded, the least recently used
    templates are removed.
    """


@template.command()
@parameters.as_json
def ls(as_json: bool) -> None:
    """List the templates, the most recently used first."""
    listed = STORE.installed()
    if as_json:
        echo_json([saved_properties(each) for each in listed])
        return
    echo_table([("NAME", "ACCEL", "MEMORY", "CPUS", "SIZE", "USED"), *map(_row, listed)])


@template.command()
@parameters.names("template")
def rm(names: tuple[str, ...]) -> None:
    """Remove templates.

    Machines that run from a removed template keep running. If a NAME cannot be removed, the others
    are removed nevertheless, and the exit status is 125.
    """
    list(for_each(names, STORE.remove))


@template.command()
@click.option("--all", "everything", is_flag=True, help="Remove all templates.")
def prune(everything: bool) -> None:
    """Remove damaged templates, and old ones if they take too much disk.

    The least recently used templates are removed until the total size is at most MICROVM_TEMPLATES.
    """
    for each in templates.prune(0 if everything else templates.limit()):
        click.echo(each.name)


def _row(each: SavedGuest) -> tuple[str, ...]:
    made = each.manifest and each.manifest.origin
    shape = (made.accel, f"{made.memory}M", str(made.cpus)) if made else (each.flaw or "",) * 3
    return each.name, *shape, f"{each.size / 1e6:.1f} MB", time_text(each.used)
