"""Options and arguments of verbs that name snapshots, and their callbacks for click."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from microvm.cli import names
from microvm.cli.parameters import completer, option
from microvm.errors import SnapshotError
from microvm.machine.snapshot import Snapshot
from microvm.start.snapshots import STORE


def check_name(context: click.Context, parameter: click.Parameter, name: Any) -> Any:
    """Return the name of a snapshot after checking it. This is a callback for click."""
    del context, parameter
    if name is not None:
        try:
            STORE.path(name)
        except SnapshotError as error:
            raise click.BadParameter(str(error)) from None
    return name


def _expand(context: click.Context, parameter: click.Parameter, name: Any) -> Any:
    """Return the full name of the snapshot whose name begins with `name`. A callback for click."""
    return None if name is None else names.expand_snapshot(check_name(context, parameter, name))


_option = partial(
    option, "--from snapshot NAME", callback=_expand, shell_complete=completer("snapshot")
)
from_snapshot = _option(
    "Start from this snapshot, with the memory, CPUs and disk that it was saved with. "
    "`microvm run --save` and `microvm checkpoint` create snapshots.",
)
from_interpreter = _option(
    "Continue the interpreter of this snapshot, with the memory, CPUs and disk that it was saved "
    "with. --save and `Interpreter.checkpoint` create such snapshots.",
)


def find(name: str, image: str | None) -> Snapshot:
    """Return the snapshot that `--from` names, after checking that `--image` is not given."""
    check_alone(name, image)
    return Snapshot.find(name)


def check_alone(name: str | None, image: str | None) -> None:
    """Check that the user has not given both `--from` and `--image`."""
    if name is not None and image is not None:
        raise click.UsageError("the snapshot of --from includes its image: leave out --image")
