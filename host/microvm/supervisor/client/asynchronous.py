"""The client's connection to a supervisor for asyncio: no thread waits for it."""

from __future__ import annotations

import asyncio
import os
import socket
from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from microvm.guest.deadline import Deadline, Timer
from microvm.guest.timeouts import TIMEOUTS, Timeouts
from microvm.supervisor import wire

_PIECE = 1 << 16


class AsyncConnection:
    """Lines of JSON from a supervisor and to it; it is asked now and then whether it is there.

    :ivar descriptors: what has come with the lines; whoever takes one from here has to close it.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        on_line: Callable[[dict[str, Any]], None],
        on_end: Callable[[], None],
        on_silence: Callable[[], None],
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        """Take over a connection.

        :param on_line: called with each line but those about pings.
        :param on_end: called once, when no more comes, or what comes is no line.
        :param on_silence: called when a ping is not answered.
        """
        connection.setblocking(False)
        self.descriptors: list[int] = []
        self._connection = connection
        self._on_line = on_line
        self._on_end = on_end
        self._on_silence = on_silence
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._unsent = bytearray()
        self._next_ping = Timer()
        self._pong_due = Deadline()
        self._loop.add_reader(connection, self._receive)
        self._next_ping.start(timeouts.ping_interval, self._ping)

    def say(self, message: dict[str, Any]) -> None:
        """Send a line; nothing when the connection has ended."""
        if self._connection.fileno() >= 0:
            self._unsent += wire.encode(message)
            self._send()

    def take_back(self) -> None:
        """Take back what was asked for: the supervisor ends it, and then the conversation."""
        if self._connection.fileno() >= 0:
            self._next_ping.cancel()
            with suppress(OSError):  # it has gone
                self._connection.shutdown(socket.SHUT_WR)
            self._pong_due.start(self._timeouts.kill + self._timeouts.ping, self._on_silence)

    def close(self) -> None:
        """End it, and close the descriptors that nobody has taken; idempotent."""
        if self._connection.fileno() >= 0:
            self._next_ping.cancel()
            self._pong_due.cancel()
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
        except OSError:  # it has gone: what it still had to say is read
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
        except OSError:  # it was reset
            data = b""
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            if self._connection.fileno() < 0:
                return  # that was all that anybody wanted to know
            if not self._take(line):
                self._end()
                return
        if not data or len(self._received) > wire.LIMIT:
            self._end()

    def _receive_some(self) -> bytes:
        room = socket.CMSG_SPACE(wire.DESCRIPTORS * array("i").itemsize)
        data, attached, _, _ = self._connection.recvmsg(_PIECE, room, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in attached:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                whole = len(content) - len(content) % array("i").itemsize
                self.descriptors += array("i", content[:whole])
        return data

    def _take(self, line: bytearray) -> bool:
        """Handle a line; False if it is none."""
        try:
            message = wire.decode(bytes(line))
        except ValueError:
            return False
        if "pong" in message:
            self._pong_due.cancel()
            self._next_ping.start(self._timeouts.ping_interval, self._ping)
        else:
            self._on_line(message)
        return True

    def _end(self) -> None:
        if self._connection.fileno() >= 0:
            self._loop.remove_reader(self._connection)
            self._next_ping.cancel()
            self._pong_due.cancel()
            self._on_end()

    def _ping(self) -> None:
        self.say({"ping": 1})
        self._pong_due.start(self._timeouts.ping, self._on_silence)
