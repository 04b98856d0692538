"""The verbs about machines that have names: `ps`, `inspect`, `logs`, `stop` and `wait`."""

from __future__ import annotations

import click


@click.command()
@click.option("--all", "everything", is_flag=True, help="Stop all of them.")
@click.argument("names", nargs=-1, metavar="[NAME]…")
def stop(names: tuple[str, ...], everything: bool) -> None:
    """End machines that have names.

    Whatever runs in them is killed, and nothing is left of them. Their names are printed as they
    are gone.
    """
    from microvm.supervisor import fleet

    if everything == bool(names):
        raise click.UsageError("name the machines to stop, or --all")
    for name in fleet.stop(names or None):
        click.echo(name)
