"""`microvm snapshot` and `checkpoint`: list, inspect, remove and save snapshots of machines."""

from __future__ import annotations

import click

from microvm.cli import docker_hints, parameters, snapshot_parameters
from microvm.cli.failures import for_each
from microvm.cli.group import VerbGroup
from microvm.cli.names import expand_snapshot
from microvm.cli.properties import (
    echo_each,
    echo_json,
    echo_table,
    saved_properties,
    short_name,
    shown_time,
)
from microvm.cli.standard_streams import notify
from microvm.start import snapshots
from microvm.start.saved import SavedGuest
from microvm.start.snapshots import STORE
from microvm.supervisor.client.blocking import connect

_names = parameters.names("snapshot")


@click.group(cls=VerbGroup)
def snapshot() -> None:
    """List and remove snapshots.

    A snapshot is a saved machine. `microvm run --save NAME` and `microvm checkpoint` create
    snapshots, and `microvm run --from NAME` starts a machine from one. A snapshot is kept until it
    is removed. It can be used only with the version of QEMU and the image that it was created with
    and, under KVM, on a host that offers the same features of the processor.
    """


@snapshot.command()
@parameters.as_json
@parameters.no_trunc
def ls(as_json: bool, full: bool) -> None:
    """List the snapshots, the most recently used first."""
    listed = STORE.installed()
    if as_json:
        echo_json([saved_properties(each) for each in listed])
        return
    header = ("NAME", "IMAGE", "ACCEL", "MEMORY", "CPUS", "SIZE", "USED")
    echo_table([header, *(_row(each, full=full) for each in listed)], full=full)


@snapshot.command()
@_names
@parameters.as_json
def inspect(names: tuple[str, ...], as_json: bool) -> None:
    """Show how snapshots were created, and whether they can be used here.

    NAME is the name of a snapshot, or the beginning of it if no other name begins so.
    """
    installed = {each.name: each for each in STORE.installed()}

    def facts(given: str) -> dict[str, object]:
        name = expand_snapshot(given)
        if STORE.manifest(name) is None or name not in installed:
            raise STORE.missing(name)
        obstacle = snapshots.obstacle(name)
        return {**saved_properties(installed[name]), "usable": not obstacle, "obstacle": obstacle}

    echo_each(names, facts, as_json=as_json)


@snapshot.command()
@_names
def rm(names: tuple[str, ...]) -> None:
    """Remove snapshots.

    Machines that run from a removed snapshot keep running. If a NAME cannot be removed, the others
    are removed nevertheless, and the exit status is 125.
    """
    list(for_each(names, STORE.remove))


@snapshot.command()
@click.option("--unusable", is_flag=True, help="Also remove snapshots that cannot be used here.")
@click.option("--all", "everything", is_flag=True, help="Remove all snapshots.")
@parameters.verbose
def prune(unusable: bool, everything: bool) -> None:
    """Remove damaged snapshots, and those of another version of microvm.

    A snapshot that cannot be used because its image is missing, or because QEMU or the host is
    different, is kept. The reason is printed on standard error.
    """
    for each in snapshots.prune(unusable=unusable, everything=everything):
        click.echo(each.name)
    for each in STORE.installed():
        if obstacle := snapshots.obstacle(each.name):
            notify(f"kept: {obstacle}; --unusable removes it, too")


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
    snapshots.check_room()
    with connect(name) as connection:
        connection.ask("checkpoint", name=snapshot, wait=wait)


def _row(each: SavedGuest, *, full: bool) -> tuple[str, ...]:
    shape: tuple[str, ...] = (each.flaw or "",) * 4
    if each.manifest:
        made = each.manifest.origin
        image = made.image if full else short_name(made.image)
        shape = (image, made.accel, f"{made.memory}M", str(made.cpus))
    return each.name, *shape, f"{each.size / 1e6:.1f} MB", shown_time(each.used, full=full)
