"""The supervisor's side of a connection: it receives the request of a client, and sends the reply.

A client may be slow or hostile. So there are limits on the size of its lines, and on the time to
send its request and to read each of our lines.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from microvm import __version__
from microvm.errors import MicroVMError, UsageError
from microvm.guest.stdio import until_ready
from microvm.supervisor import wire
from microvm.supervisor.error_json import to_json
from microvm.system import platform

TIMEOUT = 10.0
"""Maximum number of seconds until a client has sent its request, or has read a line."""

_CHUNK = 1 << 16


class ClientConnection:
    """A supervisor's connection to one of its clients.

    :ivar descriptors: the descriptors that arrived with the request. Those that are still in this
        list are closed with the connection.
    :ivar passed: the descriptors that are sent with the reply. They are closed with the connection.
    """

    def __init__(self, connected: socket.socket) -> None:
        """Use an accepted socket, which is in non-blocking mode; `close` closes it."""
        self.descriptors: list[int] = []
        self.passed: list[int] = []
        self._socket = connected
        self._buffer = bytearray()
        self._sending = asyncio.Lock()
        self._deadline = asyncio.Timeout(None)

    def close(self) -> None:
        """Close the connection and its descriptors; idempotent."""
        self._socket.close()
        for each in (self.descriptors, self.passed):
            while each:
                os.close(each.pop())

    def is_ours(self) -> bool:
        """Tell whether the client process belongs to the user of this process or to root."""
        _, user = platform.peer(self._socket)
        return user in (os.geteuid(), 0)

    async def request(self, *, timed: bool = True) -> dict[str, Any]:
        """Receive the request of the client, which is its first line; wait forever if not `timed`.

        :raises UsageError: the line is invalid, or the client's wire has another version.
        :raises EOFError: the client has disconnected.
        """
        self._deadline = asyncio.timeout(TIMEOUT if timed else None)
        async with self._deadline:
            self._buffer += await self._receive_first()
            line = await self._line()
        if line.get("wire") != wire.WIRE:
            raise _wrong_version(line.get("wire"))
        return line

    def hurry(self) -> None:
        """Make `request` raise TimeoutError now, unless the client's request has arrived."""
        if not self._deadline.expired():
            self._deadline.reschedule(0)

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the client's lines after its request until it disconnects, and answer its pings."""
        with suppress(EOFError):
            while True:
                line = await self._line()
                if "ping" in line:
                    await self.send({"pong": line["ping"]})
                else:
                    yield line

    async def _line(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        seen = 0
        while (end := self._buffer.find(b"\n", seen)) < 0:
            seen = len(self._buffer)
            if seen > wire.LIMIT:
                raise UsageError("a line is too long")
            try:
                data = await loop.sock_recv(self._socket, _CHUNK)
            except ConnectionError:
                data = b""
            if not data:
                raise EOFError
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            return wire.decode(line)
        except ValueError as error:
            raise UsageError(f"a line is invalid: {error}") from None

    async def _receive_first(self) -> bytes:
        """Receive the first bytes, and the descriptors that the client passes with them."""
        while True:
            try:
                data, ancillary, flags, _ = self._socket.recvmsg(
                    _CHUNK, socket.CMSG_SPACE(4 * wire.DESCRIPTORS), platform.receiving_flags()
                )
                break
            except BlockingIOError:
                await until_ready(self._socket.fileno())
            except ConnectionError:
                raise EOFError from None
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                count = len(content) // 4
                self.descriptors += struct.unpack(f"{count}i", content[: 4 * count])
        if flags & socket.MSG_CTRUNC:
            raise UsageError("too many descriptors, or the supervisor has too many open files")
        if not data:
            raise EOFError
        return data

    async def send(self, value: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a line to the client. Give up if the client has disconnected or does not read."""
        loop = asyncio.get_running_loop()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(TIMEOUT), self._sending:
                line = wire.encode(value)
                sent = socket.send_fds(self._socket, [line], descriptors) if descriptors else 0
                await loop.sock_sendall(self._socket, line[sent:])

    async def fail(self, error: BaseException) -> None:
        """Send an error to the client, as the reply to its request."""
        status = error.exit_status if isinstance(error, MicroVMError) else MicroVMError.exit_status
        await self.send({"error": to_json(error), "status": status})


def _wrong_version(version: object) -> UsageError:
    return UsageError(
        f"this machine was started by microvm {__version__}, whose wire has version {wire.WIRE}; "
        f"the client's wire has version {version!r}",
        hint="use that microvm, or `microvm stop` the machine and start another",
    )
