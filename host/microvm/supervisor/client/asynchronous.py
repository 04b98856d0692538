"""The connection of a client to a supervisor, with asyncio, for the Python library."""

from __future__ import annotations

import asyncio
import os
import socket
from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from microvm.guest.deadline import Deadline
from microvm.guest.timeouts import TIMEOUTS, Timeouts
from microvm.supervisor import wire
from microvm.supervisor.client.protocol import ClientProtocol
from microvm.system import platform

_CHUNK = 1 << 16


class AsyncConnection:
    """A client's connection to a supervisor, over which the request has already been sent.

    :ivar descriptors: the descriptors that have arrived. Code that removes one from this list has
        to close it.
    """

    def __init__(
        self,
        connection: socket.socket,
        name: str,
        *,
        on_event: Callable[[str, Any], None],
        on_silence: Callable[[], None],
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        """Use a connected socket; call `on_event` for each event, and `on_silence` if pings fail.

        :param on_event: called with the name and the value of each event, see `protocol`.
        """
        connection.setblocking(False)
        self.descriptors: list[int] = []
        self._connection = connection
        self._protocol = ClientProtocol(name, round(timeouts.ping / timeouts.ping_interval))
        self._on_event = on_event
        self._on_silence = on_silence
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._silence = Deadline()
        self._loop.add_reader(connection, self._receive)
        self._silence.start(timeouts.ping_interval, self._ping)

    def send(self, line: bytes) -> None:
        """Send a line, or nothing if the connection is closed."""
        if self._connection.fileno() >= 0:
            self._unsent += line
            self._send()

    def cancel_request(self) -> None:
        """Cancel the request. The supervisor then disconnects, and `on_event` gets `end`."""
        if self._connection.fileno() >= 0:
            with suppress(OSError):  # ignore the error if the supervisor has exited
                self._connection.shutdown(socket.SHUT_WR)
            self._silence.start(self._timeouts.kill + self._timeouts.ping, self._on_silence)

    def close(self) -> None:
        """Close the connection, and all received descriptors that nobody has taken; idempotent."""
        if self._connection.fileno() >= 0:
            self._silence.cancel()
            self._loop.remove_reader(self._connection)
            self._loop.remove_writer(self._connection)
            self._connection.close()
        while self.descriptors:
            os.close(self.descriptors.pop())

    def _send(self) -> None:
        try:
            del self._unsent[: self._connection.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:  # The supervisor has exited. Go on to read the lines that it sent before.
            self._unsent.clear()
        if self._unsent:
            self._loop.add_writer(self._connection, self._send)
        else:
            self._loop.remove_writer(self._connection)

    def _receive(self) -> None:
        try:
            data = self._receive_some()
        except BlockingIOError:
            return
        except OSError:  # the connection was reset, so no more data will arrive
            data = b""
        for name, value in self._protocol.receive(data):
            if name == "end":
                self._loop.remove_reader(self._connection)
                self._silence.cancel()
            self._on_event(name, value)
            if self._connection.fileno() < 0:
                return  # the function `on_event` has closed this connection

    def _receive_some(self) -> bytes:
        room = socket.CMSG_SPACE(wire.DESCRIPTORS * array("i").itemsize)
        data, attached, _, _ = self._connection.recvmsg(_CHUNK, room, platform.receiving_flags())
        for level, kind, content in attached:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                complete = len(content) - len(content) % array("i").itemsize
                self.descriptors += array("i", content[:complete])
        return data

    def _ping(self) -> None:
        if (ping := self._protocol.ping()) is None:
            self._on_silence()
        else:
            self.send(ping)
            self._silence.start(self._timeouts.ping_interval, self._ping)
