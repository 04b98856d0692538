"""`microvm pool`: named pools, whose ready machines `microvm run --pool` uses."""

from __future__ import annotations

import re
from typing import Any

import click

from microvm.cli import names, parameters, signals, snapshot_parameters, standard_streams
from microvm.cli.group import VerbGroup
from microvm.cli.properties import echo_all, echo_json, echo_table, short_name
from microvm.cli.verbs import machines as machines_verb
from microvm.cli.verbs.start import new_name
from microvm.options import ImageOptions, PoolOptions
from microvm.supervisor import login_session
from microvm.supervisor.client import machines
from microvm.supervisor.client.start import Start
from microvm.system.capacity import usable_cpus
from microvm.units import Duration, parse_duration

_DEFAULT_IDLE = parse_duration("1h")

_NAMES = (
    "name state reason error ready used served missed size max max_memory image snapshot arch "
    "accel memory cpus disk started age idle_timeout memory_used cpu_time supervisor confinement "
    "version"
).split()


def _idle_timeout(text: Duration) -> float:
    is_zero = isinstance(text, str) and re.fullmatch(r"0+(\.0+)?(d|h|m|s|ms)?", text.strip())
    return 0.0 if is_zero else parse_duration(text)


@click.group(cls=VerbGroup)
def pool() -> None:
    """Keep machines ready for `microvm run --pool NAME`.

    A pool is a process that starts machines ahead of time. Each machine runs one command, and is
    then deleted and replaced. A command that finds a ready machine waits neither for QEMU nor for
    a guest.
    """


@pool.command()
@parameters.option(
    "--size N",
    "Keep this number of machines ready. [default: the number of CPUs]",
    callback=parameters.count(1),
)
@parameters.option(
    "--max N",
    "Let at most this number of machines exist, including those in use. The pool keeps more than "
    "--size ready while commands find none. [default: twice --size]",
    callback=parameters.count(1),
)
@parameters.option(
    "--max-memory SIZE",
    "Let the guests of all machines together have at most this much memory.",
    callback=parameters.size,
)
@parameters.duration(
    "--idle-timeout",
    "Stop the ready machines when no command has used the pool for this time; 0 for never. The "
    "pool starts machines again when the next command needs one. [default: 1h]",
    _idle_timeout,
)
@click.option("--linger", is_flag=True, help="Keep the pool after the end of this login session.")
@parameters.options(ImageOptions, "pool start")
@snapshot_parameters.from_snapshot
@parameters.options(PoolOptions, "pool start")
@parameters.verbose
@click.argument("name", callback=new_name)
def start(
    name: str,
    size: int | None,
    max: int | None,  # noqa: A002 - the name of the option
    max_memory: int | None,
    idle_timeout: float | None,
    linger: bool,
    image: str | None,
    snapshot: str | None,
    **options: Any,
) -> None:
    """Start a pool of machines in the background, and print its name.

    The command exits when the first machine is ready. The pool runs until `microvm pool stop NAME`,
    or until the login session ends in which it was started.
    """
    if size is None:
        size = min(usable_cpus(), max or usable_cpus())
    most = 2 * size if max is None else max
    if size > most:
        raise click.UsageError(f"--size {size} is more than --max {most}")
    given = parameters.given_options(PoolOptions, options)
    with signals.exit_on_signal(), Start(name, is_pool=True) as begun:
        origin = None
        if snapshot is None:
            origin = str(names.find_image(image, given.get("arch")).path)
        else:
            snapshot_parameters.find(snapshot, image)
        begun.order(
            image=origin,
            snapshot=snapshot,
            options=dict(given),
            idle_timeout=None,
            max_age=None,
            pool={
                "size": size,
                "max": most,
                "max_memory": max_memory,
                "idle_timeout": _DEFAULT_IDLE if idle_timeout is None else idle_timeout,
                "session": None if linger else login_session.find(),
            },
            notify=standard_streams.notify,
        )
    click.echo(begun.name)


@pool.command()
@parameters.as_json
@parameters.no_trunc
def ls(as_json: bool, full: bool) -> None:
    """List pools, with the memory and CPU time of their ready machines."""
    known, failure = machines.inspect(pools=True)
    listed = [_facts(each) for each in known]
    if as_json:
        echo_json(listed)
    else:
        header = ("NAME", "STATE", "IMAGE", "READY", "USED", "STARTED", "MEMORY", "CPU")
        echo_table([header, *(_row(each, full=full) for each in listed)], full=full)
    if failure is not None:
        raise failure


def _facts(known: dict[str, Any]) -> dict[str, Any]:
    """Convert the properties `known` of a pool to the form that docs/json.md defines."""
    return machines_verb.facts_of(known | (known.get("pool") or {}), _NAMES)


def _row(facts: dict[str, Any], *, full: bool) -> tuple[str, ...]:
    image = facts["image"] or ""
    ready = "" if facts["ready"] is None else f"{facts['ready']}/{facts['size']}"
    return (
        facts["name"],
        facts["state"],
        facts["reason"] or facts["error"] or (image if full else short_name(image)),
        ready,
        "" if facts["used"] is None else str(facts["used"]),
        *machines_verb.usage_cells(facts, full=full),
    )


@pool.command()
@parameters.names("pool")
@parameters.as_json
def inspect(names: tuple[str, ...], as_json: bool) -> None:
    """Show the state and properties of pools."""
    known, failure = machines.inspect(names, pools=True)
    shown = [_facts(each) for each in known]
    if not as_json:
        shown = [machines_verb.texts(each) for each in shown]
    if shown or failure is None:
        echo_all(shown, as_json=as_json)
    if failure is not None:
        raise failure


@pool.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Stop all pools.")
@parameters.verbose
@click.argument("names", nargs=-1, metavar="[NAME]…", shell_complete=parameters.completer("pool"))
def stop(names: tuple[str, ...], everything: bool) -> None:
    """Stop pools, and delete their machines.

    Commands that run in these machines are killed.
    """
    if everything == bool(names):
        raise click.UsageError("give either the names of the pools to stop, or --all")
    for name in machines.stop(names or None, pools=True):
        click.echo(name)
