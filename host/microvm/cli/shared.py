"""Options that several verbs have, and what they stand for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click

from microvm.errors import UsageError
from microvm.options import MAX_PROCESSES
from microvm.printable import printable
from microvm.units import parse_duration, parse_memory, parse_memory_limit

if TYPE_CHECKING:
    from microvm_image import Image


def _environment(
    context: click.Context, parameter: click.Parameter, entries: tuple[str, ...]
) -> dict[str, str]:
    del context, parameter
    for entry in entries:
        if not entry.partition("=")[0] or "=" not in entry:
            raise click.BadParameter(f"{entry!r} is not KEY=VALUE")
    return {key: value for key, _, value in (entry.partition("=") for entry in entries)}


def parsed(
    parse: Callable[[str], Any],
) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Read an option's text by a function of ours; what it refuses is said as click says it."""

    def callback(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        del context, parameter
        try:
            return None if text is None else parse(text)
        except UsageError as error:
            raise click.BadParameter(str(error)) from None

    return callback


def count(least: int) -> Callable[[str], int]:
    """What reads whole numbers from `least` on."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and int(text) >= least):
            raise UsageError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return parse


image = click.option(
    "--image", metavar="NAME|DIR", help="What it boots. [default: built on the first run]"
)
memory = click.option(
    "--memory",
    default="256M",
    callback=parsed(lambda text: parse_memory(text) << 20),
    metavar="SIZE",
    show_default=True,
    help="Memory of the guest, such as 2G.",
)
cpus = click.option(
    "--cpus",
    default="1",
    callback=parsed(count(1)),
    metavar="N",
    show_default=True,
    help="CPUs of the guest.",
)
accel = click.option(
    "--accel",
    type=click.Choice(["auto", "kvm", "tcg"]),
    default="auto",
    show_default=True,
    help="`auto`: KVM where a guest really runs under it, emulation elsewhere.",
)
cold = click.option("--cold", is_flag=True, help="Boot the guest, instead of cloning a saved one.")
env = click.option(
    "-e",
    "--env",
    multiple=True,
    callback=_environment,
    metavar="KEY=VALUE",
    help="Set a variable; the host's environment is not passed on.",
)
cwd = click.option(
    "-w", "--cwd", metavar="DIR", help="Working directory. [default: the user's home]"
)
user = click.option(
    "-u", "--user", metavar="NAME|UID[:GROUP]", help="Run as this user. [default: root]"
)
timeout = click.option(
    "--timeout",
    callback=parsed(parse_duration),
    metavar="TIME",
    help="Kill the command, and all that it has started, this long after its start: 5s, 500ms, 2m.",
)
grace = click.option(
    "--grace",
    callback=parsed(parse_duration),
    metavar="TIME",
    help="At --timeout, send SIGTERM first and kill this much later.",
)
max_processes = click.option(
    "--max-processes",
    default=str(MAX_PROCESSES),
    callback=parsed(count(0)),
    metavar="N",
    show_default=True,
    help="Processes and threads that the command may have at a time; 0: no limit.",
)
max_memory = click.option(
    "--max-memory",
    default="0",
    callback=parsed(parse_memory_limit),
    metavar="SIZE",
    help="Memory that the command may take, such as 64M. [default: what the guest has]",
)


def check_grace(timeout: float | None, grace: float | None) -> None:
    """Refuse what would have no effect."""
    if grace and not timeout:
        raise click.UsageError("--grace is what --timeout gives: set that, too")


def default_image() -> Image:
    """The image of those who name none, built if there is none."""
    from microvm.progress import on_stderr
    from microvm_image import default

    with on_stderr() as report:
        return default(report=report)


def leave(status: int) -> NoReturn:
    """End at once: to take the interpreter apart takes longer than many a command."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def notify(text: str) -> None:
    """Tell the user something."""
    click.echo(f"microvm: {printable(text)}", err=True)
