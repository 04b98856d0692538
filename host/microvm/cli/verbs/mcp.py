"""`microvm mcp`: serve machines to clients of the Model Context Protocol (MCP)."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import click

from microvm.cli import docker_hints, names, parameters, standard_streams
from microvm.cli.signals import run_until_signal
from microvm.errors import MicroVMError, how_to_install
from microvm.options import ExecOptions, ImageOptions, MachineOptions

_number = partial(parameters.option, callback=parameters.count(0))


@click.command(cls=docker_hints.HintingCommand)
@parameters.options(ImageOptions, "mcp")
@parameters.option(
    "--allow-image NAME",
    "Allow clients to start machines of this image, too; repeatable.",
    multiple=True,
    shell_complete=parameters.completer("image"),
)
@parameters.options(MachineOptions, "mcp")
@parameters.options(ExecOptions, "mcp")
@parameters.option(
    "--max-result SIZE",
    "Return at most this size of text from a tool. [default: 32K]",
    default="32K",
    callback=parameters.size,
)
@_number(
    "--max-machines N",
    "Run at most this number of machines at the same time. [default: 4]",
    default="4",
)
@_number(
    "--max-snapshots N",
    "Keep at most this number of snapshots at the same time; 0 also forbids forks. [default: 4]",
    default="4",
)
@click.option(
    "--allow-ports", is_flag=True, help="Allow clients to forward ports of this host to machines."
)
@parameters.option(
    "--share DIR",
    "Allow clients to copy files from this folder of the host into machines.",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
)
@parameters.option(
    "--http PORT",
    "Serve many clients at http://127.0.0.1:PORT/mcp, instead of one over standard input and "
    "output. 0 chooses a free port.",
    type=click.IntRange(0, 65535),
)
@parameters.option(
    "--token-file FILE",
    "With --http: read the token that clients must send from this file, which only you can read. "
    "[default: the variable MICROVM_MCP_TOKEN, else a new token, which is printed]",
    type=click.Path(path_type=Path),
    shell_complete=parameters.complete_files,
)
@parameters.duration(
    "--idle-timeout",
    "With --http: end a session that was not used for this time. [default: 30m]",
)
@parameters.verbose
def mcp(
    image: str,
    allow_image: tuple[str, ...],
    timeout: float,
    max_result: int,
    max_machines: int,
    max_snapshots: int,
    allow_ports: bool,
    share: Path | None,
    http: int | None,
    token_file: Path | None,
    idle_timeout: float | None,
    **options: Any,
) -> None:
    """Serve machines to the model of an MCP client.

    MCP is the Model Context Protocol. The client starts this command, and talks to it over standard
    input and output. Its model can then run commands and Python in machines, read and write their
    files, and save and fork them. All machines of a client are deleted when it disconnects. No
    client can exceed the limits that the options set.

    With --http, the command prints the URL and the token for clients, and serves them until it is
    ended by Ctrl-C.
    """
    if http is None and (token_file or idle_timeout):
        raise click.UsageError("--token-file and --idle-timeout need --http")
    machine = parameters.given_options(MachineOptions, options)
    machine["notify"] = standard_streams.notify
    try:
        from microvm.cli.mcp import http as over_http
        from microvm.cli.mcp import safe_log, stdio, token
        from microvm.cli.mcp.limits import ServerLimits
    except ImportError as error:
        raise MicroVMError(
            f"`microvm mcp` needs the extra mcp: {error}", hint=how_to_install("mcp")
        ) from error
    safe_log.escape_messages()
    limits = ServerLimits(
        images=tuple(dict.fromkeys(map(names.expand_image, (image, *allow_image)))),
        machine=machine,
        timeout=timeout,
        max_machines=max_machines,
        max_snapshots=max_snapshots,
        max_result=max_result,
        folder=share,
        ports=allow_ports,
    )
    if http is None:
        work = stdio.serve(limits)
    else:
        secret = token.given(token_file)
        listening = over_http.listen(http)
        click.echo(f"http://{over_http.HOST}:{listening.getsockname()[1]}{over_http.PATH}")
        if secret is None:
            secret = secrets.token_urlsafe(32)
            click.echo(f"Authorization: Bearer {secret}")
        work = over_http.serve(limits, listening, secret, idle_timeout or 1800.0)
    sys.exit(asyncio.run(run_until_signal(_status(work))))


async def _status(work: Coroutine[Any, Any, None]) -> int:
    await work
    return 0
