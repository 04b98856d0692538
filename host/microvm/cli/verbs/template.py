"""`microvm template`: make, list and remove templates, the guests that machines are cloned from."""

from __future__ import annotations

from typing import Any

import click

from microvm.cli import names, parameters, signals
from microvm.cli.failures import for_each
from microvm.cli.group import VerbGroup
from microvm.cli.names import expand_template
from microvm.cli.properties import (
    digest,
    echo_json,
    echo_table,
    saved_properties,
    short_name,
    shown_time,
)
from microvm.cli.template_maker import make_template, run_image
from microvm.options import PoolOptions
from microvm.progress import on_stderr
from microvm.start import template as templates
from microvm.start.saved import SavedGuest
from microvm.start.template import STORE


@click.group(cls=VerbGroup)
def template() -> None:
    """Make, list and remove templates.

    A template is a booted guest that is saved on the disk. Each combination of an image, a memory
    size and a number of CPUs has its own template. `microvm template make`, `image build` and
    `image pull` save a template ahead of time. Otherwise, the first start boots a guest and saves
    it. Later starts are fast because they clone the template instead of booting.

    The variable MICROVM_TEMPLATES limits the total size of all templates, by default to 4G. If it
    is exceeded, the least recently used templates are removed.
    """


@template.command()
@click.argument("image", required=False, shell_complete=parameters.completer("image"))
@parameters.options(PoolOptions, "template make")
@parameters.verbose
def make(image: str | None, **options: Any) -> None:
    """Boot a guest of IMAGE, and save it as a template.

    After that, each start of a machine with the same image and the same options clones the
    template. If this template exists already, nothing is changed. IMAGE is a name, a tag or the
    path of an image's folder, by default the default image of `microvm run`. The image is built
    first if it does not exist.

    If no template can be saved, the exit status is 125. A start then boots a guest instead.
    """
    with signals.exit_on_signal():
        given = parameters.given_options(PoolOptions, options)
        found = names.find_image(image or run_image(), given.get("arch"))
        with on_stderr() as report:
            make_template(found, given, report)


@template.command()
@parameters.as_json
@parameters.no_trunc
def ls(as_json: bool, full: bool) -> None:
    """List the templates, the most recently used first."""
    listed = STORE.installed()
    if as_json:
        echo_json([saved_properties(each) for each in listed])
        return
    header = ("NAME", "DIGEST", "ACCEL", "MEMORY", "CPUS", "SIZE", "USED")
    echo_table([header, *(_row(each, full=full) for each in listed)], full=full)


@template.command()
@parameters.names("template")
def rm(names: tuple[str, ...]) -> None:
    """Remove templates.

    NAME is the name of a template, or the beginning of its digest.

    Machines that run from a removed template keep running. If a NAME cannot be removed, the others
    are removed nevertheless, and the exit status is 125.
    """
    list(for_each(names, lambda name: STORE.remove(expand_template(name))))


@template.command()
@click.option("--all", "everything", is_flag=True, help="Remove all templates.")
def prune(everything: bool) -> None:
    """Remove damaged templates, and old ones if they take too much disk.

    The least recently used templates are removed until the total size is at most MICROVM_TEMPLATES.
    """
    for each in templates.prune(0 if everything else templates.limit()):
        click.echo(each.name)


def _row(each: SavedGuest, *, full: bool) -> tuple[str, ...]:
    made = each.manifest and each.manifest.origin
    shape = (made.accel, f"{made.memory}M", str(made.cpus)) if made else (each.flaw or "",) * 3
    name = each.name if full else short_name(each.name)
    return (
        name,
        digest(each.name),
        *shape,
        f"{each.size / 1e6:.1f} MB",
        shown_time(each.used, full=full),
    )
