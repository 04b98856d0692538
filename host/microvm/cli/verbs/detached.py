"""`microvm attach` and `microvm kill`: use a detached command in a named machine."""

from __future__ import annotations

import signal
from typing import Any

import click

from microvm.cli import parameters, standard_streams
from microvm.supervisor.client import detached_command


@click.command()
@parameters.standard_input_of_detached
@parameters.verbose
@parameters.machine
@parameters.detached
def attach(name: str, number: int, standard_input: bool | None) -> None:
    """Attach to a command that `microvm exec --detach` has started.

    The recent output of the command is printed, and then its new output until it exits. If the
    command has a terminal and gets your keys, only new output is printed. The exit status is the
    same as for `microvm exec`. Ctrl-C is passed to the command. Ctrl-C twice within a second, or
    Ctrl-P Ctrl-Q if the command has a terminal, detaches from the command, which continues to run.
    NAME is the name of the machine, or the beginning of it if no other name begins so. ID is the
    number that `microvm exec --detach` has printed.
    """
    status = detached_command.attach(name, number, standard_input=standard_input)
    standard_streams.leave(status)


def _signal(context: click.Context, parameter: click.Parameter, text: str) -> int:
    """Convert the number of a signal, or its name with or without SIG, to its number."""
    del context, parameter
    name = text.upper()
    known: dict[str, int] = {each.name: each for each in signal.Signals}
    known |= {str(int(each)): each for each in signal.Signals}
    found: Any = known.get(name, known.get(f"SIG{name}"))
    if found is None:
        raise click.BadParameter(f"no signal is called {text}")
    return int(found)


@click.command()
@parameters.option(
    "-s --signal SIGNAL",
    "Send this signal, such as TERM or 15, to the command's process group. KILL, the default, "
    "kills the command and all processes that it has started.",
    default="KILL",
    callback=_signal,
)
@parameters.verbose
@parameters.machine
@parameters.detached
def kill(name: str, number: int, signal: int) -> None:
    """Kill a command that `microvm exec --detach` has started.

    Nothing happens if the command has exited. NAME is the full name of the machine. ID is the
    number that `microvm exec --detach` has printed. `microvm stop` stops the whole machine.
    """
    detached_command.send_signal(name, number, signal)
