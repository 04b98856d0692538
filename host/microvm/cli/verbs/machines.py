"""The verbs about machines that have names: `ps`, `inspect`, `logs`, `stop` and `wait`."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from microvm.cli import habits, shared
from microvm.cli.facts import echo_all, echo_json, time_text
from microvm.printable import printable
from microvm.units import format_size

_complete = shared.completes("machine")
_names = click.argument("names", nargs=-1, required=True, metavar="NAME…", shell_complete=_complete)
_as_json = click.option("--json", "as_json", is_flag=True, help="As JSON, with all that is known.")

_NAMES = (
    "name state reason image snapshot accel cloned memory cpus disk started age idle_timeout "
    "max_age memory_used cpu_time runs waiting supervisor qemu confinement version"
).split()
_SIZES = {"memory", "memory_used", "disk"}
_SECONDS = {"age", "cpu_time", "idle_timeout", "max_age"}
_LONGEST_LINE = 4096  # of a console, until it is shown
_MOST_SHOWN = 60  # characters of what runs


@click.command(cls=habits.Command)
@_as_json
@click.option("-q", "--quiet", is_flag=True, help="Only the names.")
@click.option("-a", "--all", is_flag=True, expose_value=False, help="Nothing: all are listed.")
def ps(as_json: bool, quiet: bool) -> None:
    """List the machines that have names.

    One that is gone, since it or its supervisor died, or its time was over, is shown with the
    reason, for an hour, or until `microvm stop NAME` or a start of that name clears it up.
    """
    from microvm.cli.table import echo
    from microvm.supervisor.client import fleet

    known, failure = fleet.machines()
    listed = [_facts(each) for each in known]
    if as_json:
        echo_json(listed)
    elif quiet:
        for each in listed:
            click.echo(each["name"])
    else:
        echo([("NAME", "STATE", "IMAGE", "AGE", "MEMORY", "CPU", "RUNS"), *map(_row, listed)])
    if failure is not None:
        raise failure


def _facts(known: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a machine, by stable names: docs/json.md."""
    facts = {name: known.get(name) for name in _NAMES}
    if facts["started"] is not None:
        facts["age"] = round(time.time() - facts["started"], 3)
        facts["started"] = time_text(facts["started"])
    return facts


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    runs = facts["reason"] or facts["runs"] or ""
    used, cpu_time, age = facts["memory_used"], facts["cpu_time"], facts["age"]
    return (
        facts["name"],
        facts["state"],
        facts["image"] or "",
        "" if age is None else _seconds(age),
        "" if used is None else format_size(used),
        "" if cpu_time is None else f"{cpu_time:.1f}s",
        runs if len(runs) <= _MOST_SHOWN else f"{runs[: _MOST_SHOWN - 1]}…",
    )


def _seconds(age: float) -> str:
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60)):
        if age >= 2 * seconds:
            return f"{age // seconds:.0f}{unit}"
    return f"{max(age, 0):.0f}s"


@click.command(cls=habits.Command)
@_names
@_as_json
def inspect(names: tuple[str, ...], as_json: bool) -> None:
    """Show what machines that have names are, and what they do.

    NAME may be the beginning of a name, where no other begins so.
    """
    from microvm.supervisor.client import fleet

    known, failure = fleet.machines(names)
    shown = [_facts(each) for each in known]
    if not as_json:
        shown = [{name: _text(name, each[name]) for name in each if each[name]} for each in shown]
    if shown or failure is None:
        echo_all(shown, as_json=as_json)
    if failure is not None:
        raise failure


def _text(name: str, value: Any) -> Any:
    """Return a fact as people read it."""
    if name in _SECONDS:
        return f"{value:.1f} s"
    return format_size(value) if name in _SIZES else value


@click.command(cls=habits.Command)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until it ends.")
@shared.machine
def logs(name: str, follow: bool) -> None:
    """Show the console of a machine that has a name.

    That is what its kernel says, the last mebibyte or two; the output of commands is not in it. On
    a terminal, what would do something to that is shown as text; elsewhere it comes byte for byte.
    NAME may be the beginning of its name, where no other begins so.
    """
    from microvm.supervisor.client import fleet

    safely = sys.stdout.isatty()
    line = b""
    for data in fleet.console(name, follow=follow):
        if safely:
            *whole, line = (line + data).split(b"\n")
            if len(line) > _LONGEST_LINE:
                whole, line = [*whole, line], b""
            for each in whole:
                _echo(each)
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    if line:
        _echo(line)


def _echo(line: bytes) -> None:
    text = line.decode(errors="backslashreplace").expandtabs().rstrip("\r")
    click.echo(printable(text))


@click.command(cls=habits.Command)
@click.option("-a", "--all", "everything", is_flag=True, help="Stop all of them.")
@click.argument("names", nargs=-1, metavar="[NAME]…", shell_complete=_complete)
def stop(names: tuple[str, ...], everything: bool) -> None:
    """End machines that have names.

    Whatever runs in them is killed, and nothing is left of them, nor of those that are gone
    already. Their names are printed as they are gone. NAME is a whole name.
    """
    from microvm.supervisor.client import fleet

    if everything == bool(names):
        raise click.UsageError("name the machines to stop, or say --all")
    for name in fleet.stop(names or None):
        click.echo(name)


@click.command()
@shared.machine
def wait(name: str) -> None:
    """Wait until a machine has ended.

    The exit status is 0 where that was asked for, by `microvm stop` or by its --idle-timeout or
    --max-age; else 125, and standard error says what happened. NAME may be the beginning of its
    name, where no other begins so.
    """
    from microvm.errors import GuestDied
    from microvm.supervisor.client import fleet

    ended = fleet.wait(name)
    if not ended["asked"]:
        raise GuestDied(f"machine {name} is gone: {ended['reason']}")
