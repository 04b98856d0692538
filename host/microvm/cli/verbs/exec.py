"""`microvm exec` and `microvm shell`: run a command or a shell in a named machine."""

from __future__ import annotations

import os
from typing import Any

import click

from microvm.cli import docker_hints, parameters, standard_streams
from microvm.options import ExecOptions
from microvm.supervisor.client.detached_command import start
from microvm.supervisor.client.foreground_command import execute
from microvm.supervisor.wire import plain

# The command that starts the user's login shell, as login(1) does.
_SHELL = ["sh", "-c", 'exec "${SHELL:-/bin/sh}" -l']


def as_json(options: dict[str, Any]) -> dict[str, Any]:
    """Return those of the `options` that apply to the command, with values converted for JSON."""
    return {
        name: plain(value) for name, value in parameters.given_options(ExecOptions, options).items()
    }


@click.command(
    "exec", cls=docker_hints.HintingCommand, context_settings={"allow_interspersed_args": False}
)
@parameters.standard_input
@click.option(
    "-d",
    "--detach",
    is_flag=True,
    help="Print the id of the command and exit, while the command continues. `microvm logs`, "
    "`attach`, `wait` and `kill` take NAME and the id.",
)
@parameters.wait
@parameters.options(ExecOptions, "exec")
@parameters.verbose
@parameters.machine
@click.argument("command", nargs=-1, required=True, metavar="[--] CMD [ARG]...")
def exec_(
    name: str,
    command: tuple[str, ...],
    standard_input: bool | None,
    detach: bool,
    wait: bool,
    **options: Any,
) -> None:
    """Run CMD in a machine that `microvm start` has started.

    NAME is the name of the machine, or the beginning of it if no other name begins so.

    Standard input is passed to CMD, but a terminal only with -t or -i. Output, Ctrl-C and the exit
    status are the same as for `microvm run`. The exit status is also 125 if the machine does not
    exist, or if another command is running in it. When `microvm exec` exits or is killed, CMD is
    killed, too, but the machine keeps running. With --detach, CMD outlives `microvm exec`.
    """
    if not detach:
        parameters.check_terminal(standard_input, options["tty"])
    if command[0].startswith("-") and command[0] != "--":
        message = f"write options before NAME: `microvm exec {command[0]} … {name} …`"
        raise click.UsageError(message)
    argv = command[1:] if command[0] == "--" else command
    if not argv:
        raise click.UsageError("give a command to run, as in `microvm exec NAME -- echo hello`")
    given = as_json(options)
    if detach:
        click.echo(start(name, [*argv], given, standard_input=standard_input, wait=wait))
        return
    status = execute(name, [*argv], given, standard_input=standard_input, wait=wait)
    standard_streams.leave(status)


@click.command(cls=docker_hints.HintingCommand)
@parameters.wait
@parameters.options(ExecOptions, "shell")
@parameters.verbose
@parameters.machine
def shell(name: str, wait: bool, **options: Any) -> None:
    """Open a shell in a machine that `microvm start` has started.

    NAME is the name of the machine, or the beginning of it if no other name begins so.

    The shell is the login shell of the user that -u names. It runs in a terminal. If standard input
    is not a terminal, the shell reads commands from standard input instead, as with ssh.
    """
    given = as_json(options) | ({"tty": True} if os.isatty(0) else {})
    standard_streams.leave(execute(name, _SHELL, given, wait=wait))
