"""A connection to a daemon, wherever it runs, whose writes never wait for its reads."""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from microvm.wire import codec

from .polling import PollDeadline
from .trace import DaemonTrace

READ_SIZE = 1 << 18
"""Default maximum number of bytes to read at a time."""

_APART = 100
"""Maximum number of pieces of which each is sent only after the previous one was read."""


class Lost(AssertionError):
    """Error of a daemon that does not answer or has closed its stream.

    :ivar what: description of the failure in a few words.
    :ivar ended: True if the stream has ended.
    """

    def __init__(self, what: str, detail: object = "", *, ended: bool = False) -> None:
        """Create it from the description and its details."""
        super().__init__(f"{what}; {detail}")
        self.what = what
        self.ended = ended


class Target(Protocol):
    """A running daemon that exits when it is closed.

    :ivar stream: blocking socket to the daemon.
    :ivar deadline: maximum number of seconds for each expected event.
    :ivar is_init: True if the daemon is PID 1, so that a hello ends every process.
    """

    deadline: float
    is_init: bool
    stream: socket.socket

    def report(self) -> str:
        """Return how the daemon exited, and what it printed."""

    def close(self) -> None:
        """End the daemon."""


class HostConnection:
    """Messages to and from a daemon.

    :ivar answers: messages that have arrived.
    :ivar versions: protocol versions, one for each `ready` that is still expected.
    :ivar read_size: maximum number of bytes to read at a time.
    """

    def __init__(self, target: Target) -> None:
        """Connect to a daemon that has sent nothing yet."""
        self.answers: list[codec.Message] = []
        self.versions: deque[int] = deque()
        self.read_size = READ_SIZE
        self._target = target
        self._stream = target.stream
        self._decoder = codec.Decoder("guest")
        self._trace = DaemonTrace()

    def take(self) -> list[codec.Message]:
        """Return the messages that have arrived since the last call."""
        answers, self.answers = self.answers, []
        return answers

    def exchange(
        self,
        pieces: Sequence[bytes],
        enough: Callable[[list[codec.Message]], object],
        *,
        interval: float = 1.0,
    ) -> None:
        """Write these pieces one by one, and read until enough answers have arrived.

        :param interval: number of seconds between two checks whether the answers suffice.
        :raises Lost: the answers did not arrive in time, or the stream has ended.
        :raises DecodeError: a message is malformed.
        """
        deadline = PollDeadline(self._target.deadline)
        for number, piece in enumerate(pieces):
            while piece:
                if self._turn(deadline, interval, writing=True):
                    piece = piece[self._send(piece) :]  # noqa: PLW2901
            while number < min(_APART, len(pieces) - 1) and unread(self._stream, theirs=True):
                self._turn(deadline, 0.0002)
        while not enough(self.answers):
            self._turn(deadline, interval)

    def _turn(self, deadline: PollDeadline, interval: float, *, writing: bool = False) -> bool:
        """Wait, and read the available bytes. Return True if something can be written."""
        if deadline.passed():
            came = f"{len(self.answers)} came: {self.answers[-3:]}"
            raise Lost("no answer in time", f"{came}; {self._target.report()}")
        readers, writers = [self._stream], [self._stream] if writing else []
        readable, writable, _ = select.select(readers, writers, [], interval)
        if readable:
            self._receive()
        return bool(writable)

    def _send(self, data: bytes) -> int:
        try:
            size = self._stream.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except ConnectionError:
            raise self._ended() from None
        self._trace.sent(data[:size])
        return size

    def _receive(self) -> None:
        try:
            data = self._stream.recv(self.read_size)
        except ConnectionError:
            data = b""
        if not data:
            raise self._ended()
        self._decoder.receive_data(data)
        while message := self._decoder.next_message():
            self._trace.received(message)
            self.answers.append(message)
            if self.versions and isinstance(message, codec.Ready):
                self._decoder.version = self.versions.popleft()

    def _ended(self) -> Lost:
        return Lost("the stream has ended", self._target.report(), ended=True)


def unread(stream: socket.socket, *, theirs: bool = False) -> int:
    """Return the number of bytes that neither we nor the daemon have read yet."""
    which = termios.TIOCOUTQ if theirs else termios.FIONREAD
    size: int = struct.unpack("i", fcntl.ioctl(stream, which, bytes(4)))[0]
    return size
