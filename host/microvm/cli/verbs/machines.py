"""The verbs for named machines: `ps`, `inspect`, `logs`, `stop` and `wait`."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from microvm.cli import docker_hints, parameters, standard_streams
from microvm.cli.properties import ago, echo_all, echo_json, echo_table, short_name, time_text
from microvm.errors import GuestDied
from microvm.ports import lines
from microvm.printable import printable
from microvm.supervisor.client import detached_command, machines
from microvm.units import format_size

_NAMES = (
    "name state reason image snapshot accel cloned memory cpus disk started age idle_timeout "
    "max_age memory_used cpu_time max_commands runs running waiting commands published "
    "reverse supervisor qemu confinement version"
).split()
_SIZES = {"memory", "memory_used", "max_memory", "disk"}
_SECONDS = {"age", "cpu_time", "idle_timeout", "max_age"}
# Maximum length of a line of the console, in bytes. A longer line is shown as several lines.
_LONGEST_LINE = 4096


@click.command(cls=docker_hints.HintingCommand)
@parameters.as_json
@parameters.no_trunc
@click.option("-q", "--quiet", is_flag=True, help="Print only the names.")
@click.option(
    "-a",
    "--all",
    is_flag=True,
    expose_value=False,
    help="Accepted for compatibility with docker; has no effect.",
)
def ps(as_json: bool, full: bool, quiet: bool) -> None:
    """List the machines that `microvm start` has started.

    A machine that has failed, or has reached its --idle-timeout or --max-age, is listed with the
    reason for one hour. `microvm stop NAME` and `microvm start NAME` remove it from the list
    earlier.
    """
    known, failure = machines.inspect()
    listed = [_facts(each) for each in known]
    if as_json:
        echo_json(listed)
    elif quiet:
        for each in listed:
            click.echo(each["name"])
    else:
        header = ("NAME", "STATE", "IMAGE", "STARTED", "MEMORY", "CPU", "RUNS")
        echo_table([header, *(_row(each, full=full) for each in listed)], full=full)
    if failure is not None:
        raise failure


def _facts(known: dict[str, Any]) -> dict[str, Any]:
    """Convert the properties `known` of a machine to the form that docs/json.md defines."""
    return facts_of(known, _NAMES)


def facts_of(known: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the properties with these `names`, in the form that docs/json.md defines."""
    facts = {name: known.get(name) for name in names}
    if facts["started"] is not None:
        facts["age"] = round(time.time() - facts["started"], 3)
        facts["started"] = time_text(facts["started"])
    return facts


def _row(facts: dict[str, Any], *, full: bool) -> tuple[str, ...]:
    image = facts["image"] or ""
    return (
        facts["name"],
        facts["state"],
        image if full else short_name(image),
        *usage_cells(facts, full=full),
        (facts["reason"] or facts["runs"] or "") if full else _use(facts),
    )


def usage_cells(facts: dict[str, Any], *, full: bool) -> tuple[str, str, str]:
    """Return cells with the start of a machine or pool, its memory, and its CPU time."""
    used, cpu_time, age = facts["memory_used"], facts["cpu_time"], facts["age"]
    return (
        "" if age is None else facts["started"] if full else ago(age),
        "" if used is None else format_size(used),
        "" if cpu_time is None else f"{cpu_time:.1f}s",
    )


def _use(facts: dict[str, Any]) -> str:
    """Return a cell for the table of machines: why a machine has stopped, or what it runs.

    If several commands run, the text contains the oldest one, and the number of the others.
    """
    text, more = facts["reason"] or facts["runs"] or "", ""
    if len(running := facts["running"] or []) > 1:
        text, more = _running_text(**running[0]), f" and {len(running) - 1} more"
    return text + more


def _running_text(id: int | None, command: str) -> str:  # noqa: A002
    return command if id is None else f"{id}: {command}"


@click.command(cls=docker_hints.HintingCommand)
@parameters.names("machine")
@parameters.as_json
def inspect(names: tuple[str, ...], as_json: bool) -> None:
    """Show the state and properties of named machines.

    NAME is the name of a machine, or the beginning of it if no other name begins so.
    """
    known, failure = machines.inspect(names)
    shown = [_facts(each) for each in known]
    if not as_json:
        shown = [texts(each) for each in shown]
    if shown or failure is None:
        echo_all(shown, as_json=as_json)
    if failure is not None:
        raise failure


def texts(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a machine or pool as texts for users.

    Leave out properties without a value. Also leave out the property `runs` if `running` has a
    value, because both list the same commands.
    """
    shown = [name for name in facts if facts[name] and (name != "runs" or not facts.get("running"))]
    return {name: _text(name, facts[name]) for name in shown}


def _text(name: str, value: Any) -> Any:
    """Return the value of a property as text with its unit, such as `256 MiB`."""
    if name == "running":
        return [_running_text(**each) for each in value]
    if name == "commands":
        return [_command_text(**each) for each in value]
    if name in ("published", "reverse"):
        return lines({name: value})
    if name in _SECONDS:
        return f"{value:.1f} s"
    return format_size(value) if name in _SIZES else value


def _command_text(id: int, command: str, returncode: int | None) -> str:  # noqa: A002
    state = "running" if returncode is None else f"returncode {returncode}"
    return f"{id}: {command} ({state})"


@click.command(cls=docker_hints.HintingCommand)
@click.option(
    "-f",
    "--follow",
    is_flag=True,
    help="Print new output until the machine stops or the command exits.",
)
@parameters.verbose
@parameters.machine
@parameters.detached_or_machine
def logs(name: str, number: int | None, follow: bool) -> None:
    """Show a machine's console, or the output of a detached command.

    With ID, which `microvm exec --detach` has printed, the recent output of this command is
    written: at most the last MiB of its standard output and of its standard error.

    The console contains the messages of the guest's kernel, of which the last 1 to 2 MiB are kept.
    It does not contain the output of commands. On a terminal, control characters are shown as text;
    otherwise the bytes are written unchanged. NAME is the name of the machine, or the beginning of
    it if no other name begins so.
    """
    if number is not None:
        if not detached_command.show(name, number, follow=follow):
            raise SystemExit(standard_streams.READER_GONE)
        return
    safely = sys.stdout.isatty()
    line = b""
    for data in machines.console(name, follow=follow):
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


@click.command(cls=docker_hints.HintingCommand)
@click.option("-a", "--all", "everything", is_flag=True, help="Stop all machines.")
@parameters.verbose
@click.argument(
    "names", nargs=-1, metavar="[NAME]…", shell_complete=parameters.completer("machine")
)
def stop(names: tuple[str, ...], everything: bool) -> None:
    """Stop named machines, and delete them.

    All processes in the machines are killed, and the files of the machines are deleted, also if a
    machine has already failed. The name of each machine is printed when it has stopped. NAME is the
    full name of a machine.
    """
    if everything == bool(names):
        raise click.UsageError("give either the names of the machines to stop, or --all")
    for name in machines.stop(names or None):
        click.echo(name)


@click.command()
@parameters.verbose
@parameters.machine
@parameters.detached_or_machine
def wait(name: str, number: int | None) -> None:
    """Wait until a named machine stops, or a detached command exits.

    With ID, which `microvm exec --detach` has printed, the exit status of this command is printed
    when it has exited.

    Without ID, `microvm wait` exits with 0 if `microvm stop`, --idle-timeout or --max-age has
    stopped the machine. Otherwise it exits with 125, and prints the reason on standard error. NAME
    is the name of the machine, or the beginning of it if no other name begins so.
    """
    if number is not None:
        click.echo(detached_command.wait(name, number))
        return
    ended = machines.wait(name)
    if not ended["asked"]:
        raise GuestDied(f"machine {name} is gone: {ended['reason']}")
