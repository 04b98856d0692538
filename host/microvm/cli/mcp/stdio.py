"""Serves one client over the standard streams of this process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, cast

from mcp.server.stdio import stdio_server

from microvm.cli.mcp.allowance import Allowances
from microvm.cli.mcp.limits import MAX_MESSAGE, ServerLimits
from microvm.cli.mcp.server import make_server
from microvm.cli.mcp.session import ClientSession
from microvm.errors import UsageError
from microvm.guest import stdio


async def serve(limits: ServerLimits) -> None:
    """Serve the client until it closes its side of the standard streams.

    :raises UsageError: If the client sends a message that is too long.
    """
    async with ClientSession(limits, Allowances(limits)) as session:
        server = make_server(session)
        with _private_output() as output:
            lines = _Input()
            streams = stdio_server(cast(Any, lines), cast(Any, _Output(output)))
            async with streams as (read, write):
                await server.run(read, write, server.create_initialization_options())
    if lines.error is not None:
        raise lines.error


@contextmanager
def _private_output() -> Iterator[int]:
    """Context manager: yield a descriptor of standard output, which itself leads to standard error.

    So nothing but messages of the protocol can reach the client.
    """
    private = os.dup(1)
    os.dup2(2, 1)
    try:
        yield private
    finally:
        os.dup2(private, 1)
        os.close(private)


class _Input:
    """The lines of standard input.

    The SDK reads standard input in a thread by default, which cannot be cancelled.

    :ivar error: The error that ended the input, or None. The SDK would wrap it in a group.
    """

    def __init__(self) -> None:
        self.error: UsageError | None = None

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            async for line in stdio.read_lines(0, MAX_MESSAGE):
                yield line.decode(errors="replace")
        except UsageError as error:
            self.error = error


class _Output:
    """A file to which the SDK writes its messages. The waiting writes can be cancelled."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def write(self, text: str) -> None:
        await stdio.write(self._descriptor, text.encode())

    async def flush(self) -> None:
        pass
