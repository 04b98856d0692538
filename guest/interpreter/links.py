"""The connections of the keeper to the host and to the worker. Their methods never block."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import struct

from interpreter.codec import HEADER, MAX_FRAME, size_of
from interpreter.processes import may_descend
from interpreter.tables import MAX_TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FIONREAD = 0x541B
"""The request by which `ioctl` returns the number of bytes that a pipe contains."""


def unread(pipe: int) -> int:
    """Return the number of bytes that a pipe contains."""
    size: int = struct.unpack("i", fcntl.ioctl(pipe, FIONREAD, bytes(4)))[0]
    return size


class HostLink:
    """The connection to a host.

    :ivar unsent: Bytes that did not fit into the socket's buffer.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.fd = connection.fileno()
        self.unsent = b""
        self._received = b""

    def send(self, frame: bytes) -> None:
        """Send a frame, now or later. An error is reported when the socket is read."""
        if not self.unsent:
            self.unsent = frame
            self.flush()
        else:
            self.unsent += frame

    def flush(self) -> None:
        """Send the bytes that are not sent yet, as far as the socket has room."""
        try:
            sent = self.connection.send(self.unsent, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self.unsent)
        self.unsent = self.unsent[sent:]

    def end(self) -> None:
        """Shut down the connection for sending."""
        try:
            self.connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def receive(self) -> Iterator[bytes]:
        """Yield the complete frames that have arrived.

        :raises EOFError: The host has closed the connection.
        :raises MalformedFrame: A header is not valid.
        """
        try:
            data = self.connection.recv(MAX_FRAME)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            raise EOFError
        data = self._received + data
        while len(data) >= HEADER.size:
            size = size_of(data, "host")
            if len(data) < size:
                break
            frame, data = data[:size], data[size:]
            yield frame
        self._received = data

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def accepted_host(listener: socket.socket) -> HostLink | None:
    """Accept a connection. Return None if no client waits, or a cell may have started the client.

    A client of a cell can connect, leave its connection to a child process, and exit.
    """
    try:
        connection, _ = listener.accept()
    except OSError:
        return None
    size = struct.calcsize("3i")
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    if may_descend(struct.unpack("3i", peer)[0], os.getpid()):
        connection.close()
        return None
    return HostLink(connection)


class WorkerLink:
    """The connection to the worker, whose socket keeps the boundaries of frames.

    :ivar queue: Frames that did not fit into the socket's buffer.
    :ivar is_open: False if the keeper no longer reads from the connection.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.fd = connection.fileno()
        self.queue: list[bytes] = []
        self._queued = 0
        self.is_open = True

    def send(self, frame: bytes) -> bool:
        """Send a frame, now or later. Return False if the worker does not read its frames."""
        self.queue.append(frame)
        self._queued += len(frame)
        self.flush()
        return self._queued <= MAX_TEXT + 2 * MAX_FRAME

    def flush(self) -> None:
        """Send the frames in the queue, as far as the socket has room."""
        while self.queue:
            try:
                self.connection.send(self.queue[0], socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                pass  # the keeper will find out that the worker has exited
            self._queued -= len(self.queue.pop(0))

    def receive(self) -> bytes | None:
        """Return the next packet, or None if there is none now.

        :raises EOFError: Nothing more can arrive.
        """
        try:
            # The additional byte lets `decode` refuse a packet that is too long.
            packet = self.connection.recv(MAX_FRAME + 1)
        except BlockingIOError:
            return None
        except OSError:
            packet = b""
        if not packet:
            raise EOFError
        return packet


class InterruptMark:
    """The number of the last interrupted request, in memory that keeper and worker share.

    SIGINT can arrive before the worker has received the request. The worker then finds the number
    of the request here. Only the keeper writes the number, and only the worker reads it.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    def set(self, number: int) -> None:
        """Note that a request is interrupted."""
        self._memory[:8] = number.to_bytes(8, "little")

    def get(self) -> int:
        """Return the number of the last request that was interrupted."""
        return int.from_bytes(self._memory[:8], "little")
