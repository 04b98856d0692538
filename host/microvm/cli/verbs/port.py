"""`microvm port`: list and open the ports of a named machine."""

from __future__ import annotations

import re
from typing import Any

import click

from microvm.cli import docker_hints, parameters, ports
from microvm.cli.properties import echo_json
from microvm.errors import MicroVMError
from microvm.ports import PublishedPort, ReversePort, lines
from microvm.supervisor.client.blocking import connect


@click.command(cls=docker_hints.HintingCommand)
@ports.options
@parameters.as_json
@parameters.verbose
@parameters.machine
@click.argument("guest", required=False)
def port(
    name: str,
    guest: str | None,
    publish: tuple[PublishedPort, ...],
    reverse: tuple[ReversePort, ...],
    as_json: bool,
) -> None:
    """List the ports of a named machine, or open further ones.

    Without GUEST, print each port as `docker port` does. `80/tcp -> 127.0.0.1:8080` is a port of
    this host that leads to port 80 of the guest. `8000/tcp <- localhost:8000` is a port of the
    guest that leads to this host. With GUEST, a port or path in the guest, print only the address
    of this host.

    With -p or -R, open these ports and print them. They are closed when the machine stops.
    """
    with connect(name, beginning=True) as connection:
        if publish or reverse:
            known = connection.ask(
                "port", publish=[*map(str, publish)], reverse=[*map(str, reverse)]
            )
        else:
            known = connection.ask("facts")
    shown = {each: known[each] for each in ("published", "reverse")}
    if guest is not None:
        shown = {"published": _published(shown["published"], guest, name), "reverse": []}
    if as_json:
        echo_json(shown)
        return
    for line in lines(shown):
        click.echo(line if guest is None else line.rpartition(" -> ")[2])


def _published(known: list[dict[str, Any]], guest: str, name: str) -> list[dict[str, Any]]:
    """Return the published ports that lead to a port or path in the guest."""
    wanted = re.sub(r"/tcp$", "", guest)
    found = [each for each in known if str(each["guest"]) == wanted]
    if not found:
        raise MicroVMError(f"machine {name} has no published port {guest}")
    return found
