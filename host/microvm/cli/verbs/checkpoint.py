"""`microvm checkpoint`: save a snapshot of a named machine."""

from __future__ import annotations

import click

from microvm.cli import docker_hints, parameters, snapshot_parameters
from microvm.start.snapshots import check_room
from microvm.supervisor.client.blocking import connect


@click.command(cls=docker_hints.HintingCommand)
@parameters.wait
@parameters.verbose
@parameters.machine
@click.argument(
    "snapshot",
    callback=snapshot_parameters.check_name,
    shell_complete=parameters.completer("snapshot"),
)
def checkpoint(name: str, snapshot: str, wait: bool) -> None:
    """Save a named machine as a snapshot, and let it continue.

    The snapshot contains the memory, the files and the processes of the machine. `microvm run
    --from SNAPSHOT` and `microvm start --from SNAPSHOT` start any number of machines from it. A
    snapshot that has the name SNAPSHOT already is replaced. NAME is the full name of the machine.
    """
    check_room()
    with connect(name) as connection:
        connection.ask("checkpoint", name=snapshot, wait=wait)
