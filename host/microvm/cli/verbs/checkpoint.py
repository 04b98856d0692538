"""`microvm checkpoint`: a snapshot of a machine that has a name."""

from __future__ import annotations

import click

from microvm.cli import shared


@click.command()
@shared.wait
@shared.verbose
@shared.machine
@click.argument(
    "snapshot", callback=shared.snapshot_name, shell_complete=shared.completes("snapshot")
)
def checkpoint(name: str, snapshot: str, wait: bool) -> None:
    """Keep a machine as it is, as a snapshot; it goes on.

    With its memory, its files and what runs in it, it is what `microvm run --from SNAPSHOT` and
    `microvm start --from SNAPSHOT` start from, as often as you like; one of that name is replaced.
    NAME is its whole name.
    """
    from microvm.start.snapshots import check_room
    from microvm.supervisor.client.client import connect

    check_room()
    with connect(name) as connection:
        connection.ask("checkpoint", name=snapshot, wait=wait)
