"""The public class `Reverse` for programs without `async`."""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress
from typing import Self, TypeAlias

from microvm.concurrency.threads import in_thread
from microvm.guest import reverse
from microvm.guest.clients import bridge
from microvm.sync.bound import LoopBound, blocking

ReverseTarget: TypeAlias = (
    tuple[str, int] | str | os.PathLike[str] | Callable[[socket.socket], object]
)
"""The target of a reverse port: the host and port of a server, the path of a server's Unix socket,
or a function. The function is called in a thread of its own for each client, with the client's
connected socket. When the function returns, the socket is closed.
"""


class Reverse(LoopBound):
    """A port of a guest whose clients are connected to one target; see `microvm.Reverse`."""

    _original: reverse.Reverse

    @property
    def port(self) -> int:
        """The number of the port at which the guest listens, on its loopback addresses."""
        return self._original.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    close = blocking(reverse.Reverse.close)


def asynchronous(target: ReverseTarget) -> reverse.ReverseTarget:
    """Return a target for `microvm.MicroVM.reverse`, which runs a blocking function in a thread."""
    if not callable(target):
        return target

    def run(client: socket.socket) -> None:
        with client, suppress(SystemExit):  # SystemExit ends only its thread
            target(client)

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        ours, theirs = socket.socketpair()
        server = await asyncio.open_connection(sock=ours)
        # Return only when the user's function has returned in its thread, because the caller counts
        # unfinished calls of `serve` to limit the number of clients.
        await asyncio.gather(in_thread(run, theirs), bridge(server, (reader, writer)))

    return serve
