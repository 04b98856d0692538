"""`microvm template`: the saved guests that machines are cloned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from microvm.cli.facts import echo_json, saved_facts, time_text
from microvm.cli.group import Group
from microvm.cli.series import for_each
from microvm.cli.shared import completes

if TYPE_CHECKING:
    from microvm.start.store import Saved


@click.group(cls=Group)
def template() -> None:
    """List and remove saved guests.

    They make themselves: the first start of an image in a configuration boots and saves a guest,
    of which later starts are clones. Together they take up to MICROVM_TEMPLATES, 4G if that is not
    set; then those that were not used for the longest go.
    """


@template.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, with all that is known.")
def ls(as_json: bool) -> None:
    """List them, the one that was used last first."""
    from microvm.cli.table import echo
    from microvm.start.template import STORE

    templates = STORE.installed()
    if as_json:
        echo_json([saved_facts(each) for each in templates])
        return
    echo([("NAME", "ACCEL", "MEMORY", "CPUS", "SIZE", "USED"), *map(_row, templates)])


@template.command()
@click.argument(
    "names", nargs=-1, required=True, metavar="NAME…", shell_complete=completes("template")
)
def rm(names: tuple[str, ...]) -> None:
    """Remove some of them; machines that run are not disturbed.

    If a NAME cannot be removed, the others are removed all the same, and the exit status is 125.
    """
    from microvm.start.template import STORE

    for _ in for_each(names, STORE.remove):
        pass


@template.command()
@click.option("--all", "everything", is_flag=True, help="Remove all of them.")
def prune(everything: bool) -> None:
    """Remove damaged and surplus ones.

    Those not used for the longest go, until the rest fits into MICROVM_TEMPLATES.
    """
    from microvm.start import template as templates

    for each in templates.prune(0 if everything else templates.limit()):
        click.echo(each.name)


def _row(each: Saved) -> tuple[str, ...]:
    made = each.manifest and each.manifest.origin
    shape = (made.accel, f"{made.memory}M", str(made.cpus)) if made else (each.flaw or "",) * 3
    return each.name, *shape, f"{each.size / 1e6:.1f} MB", time_text(each.used)
