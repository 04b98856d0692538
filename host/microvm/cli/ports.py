"""The options `--publish` and `--reverse`, which open ports of a machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from microvm.cli import parameters, standard_streams
from microvm.constants import MAX_COMMANDS
from microvm.errors import UsageError
from microvm.options import MachineOptions
from microvm.ports import Described, PublishedPort, ReversePort, lines

F = TypeVar("F", bound=Callable[..., object])


def _parsed(kind: type[PublishedPort] | type[ReversePort]) -> parameters.Callback:
    def callback(context: click.Context, parameter: click.Parameter, texts: Any) -> Any:
        del context, parameter
        try:
            return tuple(map(kind.parse, texts))
        except UsageError as error:
            raise click.BadParameter(error.message) from None

    return callback


_publish = parameters.option(
    "-p --publish [[HOST:]PORT:]GUEST",
    "Connect clients of PORT on this host to GUEST in the guest, a TCP port or the path of a Unix "
    "socket; repeatable. Only programs of this host can connect, unless HOST is another address "
    "of this host. Without PORT, a free one is chosen.",
    multiple=True,
    callback=_parsed(PublishedPort),
)
_reverse = parameters.option(
    "-R --reverse GUEST:HOST:PORT",
    "Connect clients of the port GUEST in the guest to a server, to which this host connects at "
    "HOST and PORT; repeatable. The guest can reach no other address. GUEST:PATH connects to a "
    "Unix socket of this host.",
    multiple=True,
    callback=_parsed(ReversePort),
)


def options(function: F) -> F:
    """Add the options `--publish` and `--reverse` to the function of a verb such as `run`."""
    return _publish(_reverse(function))


def with_room(
    machine: MachineOptions, publish: Sequence[PublishedPort], reverse: Sequence[ReversePort]
) -> MachineOptions:
    """Return options of a machine that permit one more command if the user wants ports.

    All ports are served by one command in the guest, which counts as a command of the machine.
    """
    if not (publish or reverse):
        return machine
    return {**machine, "commands": min(machine.get("commands", 1) + 1, MAX_COMMANDS)}


def notify(
    publish: Sequence[PublishedPort], reverse: Sequence[ReversePort], opened: Described
) -> None:
    """Print the ports whose numbers microvm has chosen, because the user gave no number."""
    chosen = {
        "published": [
            each
            for wanted, each in zip(publish, opened["published"], strict=True)
            if wanted.port == 0
        ],
        "reverse": [
            each
            for wanted, each in zip(reverse, opened["reverse"], strict=True)
            if wanted.guest == 0
        ],
    }
    for line in lines(chosen):
        standard_streams.notify(line)
