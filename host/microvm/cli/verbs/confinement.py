"""`microvm confinement`: show the restrictions that protect this host from QEMU."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import click

from microvm.cli import parameters
from microvm.cli.properties import echo_json, echo_table
from microvm.qemu.confinement import LAYERS, LayerResult, missing
from microvm.qemu.confinement_probe import probe


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@parameters.verbose
def confinement(as_json: bool) -> None:
    """Show how QEMU is restricted on this host.

    If a guest takes control of QEMU, these restrictions protect the host. They consist of several
    layers, such as namespaces and Landlock. This command starts a test program with the same
    restrictions as QEMU, and shows which layers work. The result can differ for root, for another
    user, and in a container. For each missing layer, the reason and the remedy are shown.

    The exit status is 0 if machines start with --confinement=require on this host, else 1.
    """
    found = probe()
    wanting = missing(found)
    if as_json:
        layers = [each._asdict() for each in found.values()]
        echo_json({"require": not wanting, "missing": wanting, "layers": layers})
    else:
        _show(found, wanting)
    sys.exit(1 if wanting else 0)


def _show(found: Mapping[str, LayerResult], wanting: list[str]) -> None:
    rows = [
        (layer.name, "yes" if found[layer.name].holds else "no", layer.prevents)
        for layer in LAYERS
        if layer.name in found
    ]
    show = _wrap if sys.stdout.isatty() else echo_table
    show([("LAYER", "HERE", "WHAT IT PREVENTS"), *rows])
    click.echo()
    for each in found.values():
        if each.text:
            click.echo(f"{'' if each.holds else 'no '}{each.layer}: {each.text}")
        if each.help:
            click.echo(f"    {each.help}")
    says = f"starts none here: {'; '.join(wanting)}" if wanting else "starts machines here"
    click.echo(f"--confinement=require {says}")


def _wrap(rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table whose cells are wrapped to fit the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0], box=None, pad_edge=False)
    for row in rows[1:]:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)
