"""`microvm exec` and `microvm shell`: commands in a machine that has a name."""

from __future__ import annotations

from typing import Any

import click

from microvm.cli import habits, shared, standard
from microvm.options import ExecOptions

# The shell of the command's user, as login(1) starts it.
_SHELL = ["sh", "-c", 'exec "${SHELL:-/bin/sh}" -l']


def as_json(options: dict[str, Any]) -> dict[str, Any]:
    """Return `ExecOptions` as JSON has them."""
    from microvm.supervisor.wire import plain

    return {name: plain(value) for name, value in shared.given(ExecOptions, options).items()}


@click.command("exec", cls=habits.Command, context_settings={"allow_interspersed_args": False})
@shared.standard_input
@shared.wait
@shared.options(ExecOptions, "exec")
@shared.verbose
@shared.machine
@click.argument("command", nargs=-1, required=True, metavar="[--] CMD [ARG]...")
def execute(
    name: str, command: tuple[str, ...], standard_input: bool | None, wait: bool, **options: Any
) -> None:
    """Run CMD in a machine that `microvm start` has started.

    NAME may be the beginning of its name, where no other begins so.

    Standard input is passed on unless it is a terminal, which -t or -i passes on. Output, Ctrl-C
    and the exit status are as for `microvm run`; 125 also says that there is no such machine, or
    that another command runs in it. A command whose `microvm exec` ends, however it does, is
    killed; the machine stays, with what the command has started elsewhere.
    """
    from microvm.supervisor.client.execute import execute

    shared.check_terminal(standard_input, options["tty"])
    if command[0].startswith("-") and command[0] != "--":
        message = f"options are before NAME: `microvm exec {command[0]} … {name} …`"
        raise click.UsageError(message)
    argv = command[1:] if command[0] == "--" else command
    if not argv:
        raise click.UsageError("say what to run, as in `microvm exec NAME -- echo hello`")
    given = as_json(options)
    status = execute(name, [*argv], given, standard_input=standard_input, wait=wait)
    standard.leave(status)


@click.command(cls=habits.Command)
@shared.wait
@shared.options(ExecOptions, "shell")
@shared.verbose
@shared.machine
def shell(name: str, wait: bool, **options: Any) -> None:
    """Open a shell in a machine that has a name.

    NAME may be the beginning of its name, where no other begins so.

    It is that of the user, root unless -u says another, as a login. It has a terminal; without one
    of ours, it reads commands from standard input, as with ssh.
    """
    import os

    from microvm.supervisor.client.execute import execute

    given = as_json(options) | ({"tty": True} if os.isatty(0) else {})
    standard.leave(execute(name, _SHELL, given, wait=wait))
