"""`microvm confinement`: what holds QEMU back on this host."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from microvm.qemu.confinement import Finding


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def confinement(as_json: bool) -> None:
    """Show what holds back a QEMU that a guest has broken into.

    A program is confined here and now, as QEMU is when you start a machine: root, another user and
    a container may have other layers. What is missing comes with the reason and what to do.

    The exit status is 0 where --confinement=require starts machines, and 1 where it does not.
    """
    from microvm.qemu.confinement import missing
    from microvm.qemu.probe import probe

    found = probe()
    wanting = missing(found)
    if as_json:
        from dataclasses import asdict

        from microvm.cli.facts import echo_json

        echo_json([asdict(each) for each in found.values()])
    else:
        _show(found, wanting)
    sys.exit(1 if wanting else 0)


def _show(found: Mapping[str, Finding], wanting: list[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from microvm.qemu.confinement import LAYERS, Finding

    table = Table(box=SIMPLE_HEAD)
    for title in ("layer", "here", "what it holds back"):
        table.add_column(title)
    remedies = []
    for layer in LAYERS:
        here = found.get(layer.name, Finding(layer.name, holds=False, text="not tried"))
        table.add_row(layer.name, f"yes {here.text}" if here.holds else "no", layer.holds_back)
        if not here.holds:
            remedies.append(f"no {layer.name}: {here.text}\n    {layer.remedy(here.text)}")
    console = Console()
    console.print(table)
    for text in remedies:
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    says = f"starts none here: {'; '.join(wanting)}" if wanting else "starts machines here"
    console.print(f"--confinement=require {says}", highlight=False, markup=False, soft_wrap=True)
