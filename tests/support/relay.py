"""The guest's program `relay` as a process, and servers to which it connects."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from microvm.wire import streams

M = TypeVar("M", bound=streams.Message)

WINDOW = 1 << 17
"""Number of bytes that the program allows the host to send at first."""

AT_ONCE = struct.pack("ii", 1, 0)
"""Value of SO_LINGER with which closing a socket sends a reset."""

TIMEOUT = 60.0
"""Maximum number of seconds to wait for a message."""


class RelayProcess:
    """A running `relay`, to which a test sends messages, and whose messages it receives.

    :ivar messages: Messages that were received and not taken yet.
    """

    def __init__(self, path: Path, digest: int = streams.DIGEST, files: int = 1024) -> None:
        """Start the program, with a limit of open files."""
        command = ["prlimit", f"--nofile={files}", str(path), f"{digest:016x}"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        self.messages: list[streams.Message] = []
        self._decoder = streams.Decoder("guest")
        self._last = 0

    def send(self, *messages: streams.Message) -> None:
        """Send messages. This waits while the program reads nothing."""
        self.send_bytes(b"".join(each.encode() for each in messages))

    def send_bytes(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def read(self, timeout: float = TIMEOUT) -> bool:
        """Wait for output, and decode it. Return False at its end, or when the time is over."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            return False
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        self._decoder.receive_data(data)
        while (message := self._decoder.next_message()) is not None:
            self.messages.append(message)
        return bool(data)

    def next(self, kind: type[M], id_: int) -> M:
        """Wait for the next message of a stream, which must have this type, and return it."""
        return self._take(kind, lambda message: message.id == id_)

    def _take(self, kind: type[M], fits: Callable[[streams.Message], bool]) -> M:
        while True:
            for at, message in enumerate(self.messages):
                if fits(message):
                    del self.messages[at]
                    assert isinstance(message, kind), message
                    return message
            assert self.read(), f"no {kind.__name__}: {self.exit()}"

    def connect(self, server: int | Path, credit: int = 1 << 20, id_: int = 0) -> int:
        """Send a `connect`, and return the id of the stream. The default id is the next one."""
        self._last = id_ or self._last + 1
        path, port = (os.fsencode(server), 0) if isinstance(server, Path) else (b"", server)
        self.send(streams.Connect(self._last, credit, port, path))
        return self._last

    def open(self, server: int | Path, credit: int = 1 << 20) -> int:
        """Connect to a server that accepts connections, and return the id of the stream."""
        id_ = self.connect(server, credit)
        assert self.next(streams.Connected, id_).credit == WINDOW
        return id_

    def listen(self, port: int = 0) -> tuple[int, int]:
        """Open a listener, and return its id and its port."""
        self._last += 1
        self.send(streams.Listen(self._last, port))
        return self._last, self.next(streams.Listening, self._last).port

    def accept(self, listener: int, credit: int = 1 << 20) -> int:
        """Send an `accept`, and return the id of the stream."""
        self._last += 1
        self.send(streams.Accept(self._last, credit, listener))
        return self._last

    def data(self, id_: int, size: int) -> bytes:
        """Return the next bytes of a stream, which may be in several messages."""
        data = b""
        while len(data) < size:
            data += self.next(streams.Data, id_).data
        assert len(data) == size
        return data

    def exit(self) -> tuple[int, str]:
        """Close the program's input. Return its exit status and the text of standard error."""
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        with suppress(BrokenPipeError):  # the program may have exited without reading all input
            self.process.stdin.close()
        while self.read():
            pass
        status = self.process.wait(TIMEOUT)
        text = self.process.stderr.read().decode()
        return status, text

    def close(self) -> None:
        """Kill the program if it runs, and close the pipes."""
        self.process.kill()
        with self.process:
            pass


class Pairs:
    """Opens streams of `relay`, either to a server or from clients."""

    def __init__(
        self, relay: RelayProcess, server: socket.socket, family: socket.AddressFamily | None
    ) -> None:
        """Begin with no stream.

        :param server: Server to which streams lead if `family` is None.
        :param family: Address family of clients that connect to a listener of `relay`; None to use
            the server.
        """
        self._relay, self._server, self._family = relay, server, family
        if family is not None:
            self._listener, self._port = relay.listen()

    def __call__(self, credit: int = 1 << 20) -> tuple[int, socket.socket]:
        """Open a stream. Return its id, and its peer's socket."""
        if self._family is None:
            id_ = self._relay.open(port_of(self._server), credit)
            return id_, accept(self._server)
        id_ = self._relay.accept(self._listener, credit)
        peer = client(self._port, self._family)
        assert self._relay.next(streams.Accepted, id_).credit == WINDOW
        return id_, peer


@contextmanager
def listening(family: int = socket.AF_INET, backlog: int = 300) -> Iterator[socket.socket]:
    """Yield a socket that listens at a free port of a loopback address."""
    with socket.socket(family) as server:
        server.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        server.listen(backlog)
        server.settimeout(TIMEOUT)
        yield server


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


def accept(server: socket.socket) -> socket.socket:
    connection, _ = server.accept()
    connection.settimeout(TIMEOUT)
    return connection


def client(port: int, family: int = socket.AF_INET) -> socket.socket:
    """Return a socket that is connected to a port. It may still wait in the listener's queue."""
    address = "127.0.0.1" if family == socket.AF_INET else "::1"
    return socket.create_connection((address, port), TIMEOUT)


def receive_all(connection: socket.socket) -> bytes:
    """Return all bytes up to the end."""
    data = b""
    while chunk := connection.recv(1 << 16):
        data += chunk
    return data
