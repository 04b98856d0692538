"""`microvm start` and `update`: start named machines, and change how many commands they run."""

from __future__ import annotations

from typing import Any

import click

from microvm.cli import (
    docker_hints,
    names,
    parameters,
    ports,
    signals,
    snapshot_parameters,
    standard_streams,
)
from microvm.constants import MAX_COMMANDS
from microvm.options import ImageOptions, MachineOptions
from microvm.ports import PublishedPort, ReversePort
from microvm.printable import quoted
from microvm.supervisor.client.blocking import connect
from microvm.supervisor.client.start import Start
from microvm.supervisor.names import NAME_RULE
from microvm.supervisor.runtime_directory import is_name


def new_name(context: click.Context, parameter: click.Parameter, name: Any) -> Any:
    """Check the name of a new machine or pool. This is a callback for click."""
    del context, parameter

    if name is not None and not is_name(name):
        raise click.BadParameter(f"{quoted(name)} cannot be the name of a machine: {NAME_RULE}")
    return name


@click.command(cls=docker_hints.HintingCommand)
@parameters.options(ImageOptions, "start")
@snapshot_parameters.from_snapshot
@parameters.duration(
    "--idle-timeout", "Stop the machine when it has not been used for this time, such as 10m."
)
@parameters.duration(
    "--max-age",
    "Stop the machine after this time, such as 8h, even if commands are running in it.",
)
@parameters.options(MachineOptions, "start")
@ports.options
@parameters.option("--name named NAME", "Same as the argument NAME.", callback=new_name)
@parameters.rm
@parameters.verbose
@click.argument("name", required=False, callback=new_name)
def start(
    name: str | None,
    image: str | None,
    snapshot: str | None,
    idle_timeout: float | None,
    max_age: float | None,
    named: str | None,
    publish: tuple[PublishedPort, ...],
    reverse: tuple[ReversePort, ...],
    **options: Any,
) -> None:
    """Start a machine in the background, and print its name.

    The machine runs until `microvm stop NAME`, also after this command has exited and its terminal
    is closed. It needs no daemon. Without NAME, microvm chooses a name. `microvm exec NAME -- CMD`
    runs a command in the machine, `microvm shell NAME` opens a shell, and `microvm ps` lists all
    such machines.
    """
    if name is not None and named is not None:
        raise click.UsageError("NAME and --name are the same: give only one of them")
    name = name or named
    with signals.exit_on_signal(), Start(name) as begun:
        machine = parameters.given_options(MachineOptions, options)
        booted = None
        if snapshot is None:
            booted = str(names.find_image(image, machine.get("arch")).path)
        else:
            snapshot_parameters.find(snapshot, image)
        facts = begun.order(
            image=booted,
            snapshot=snapshot,
            options=dict(machine),
            idle_timeout=idle_timeout,
            max_age=max_age,
            publish=[*map(str, publish)],
            reverse=[*map(str, reverse)],
            notify=standard_streams.notify,
        )
        ports.notify(publish, reverse, facts)
    click.echo(begun.name)


@click.command(cls=docker_hints.HintingCommand)
@parameters.option(
    "--commands N",
    f"Let the machine run at most this number of commands at the same time, up to {MAX_COMMANDS}.",
    required=True,
    type=click.IntRange(1, MAX_COMMANDS),
)
@parameters.verbose
@parameters.machine
def update(name: str, commands: int) -> None:
    """Change how many commands a named machine runs at once.

    Commands that wait start as soon as the machine permits them. Running commands continue, also if
    they are more than N. NAME is the full name of the machine. Its other options are fixed when it
    starts.
    """
    with connect(name) as connection:
        permitted = connection.ask("update", commands=commands)["max_commands"]
    if permitted < commands:
        standard_streams.notify(f"{name} runs {permitted} commands, as one serves its ports")
    click.echo(name)
