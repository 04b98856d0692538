"""A connection to a daemon, wherever it runs, on which writing never waits for reading."""

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

from .polling import Deadline

READ_SIZE = 1 << 18
"""The bytes that are read at a time, by default."""

_APART = 100
"""The number of pieces of which each is sent when the one before it has been read."""


class Lost(AssertionError):
    """The daemon does not answer, or is gone.

    :ivar what: which of these, in a few words.
    :ivar ended: whether its stream has ended.
    """

    def __init__(self, what: str, detail: object = "", *, ended: bool = False) -> None:
        """Take which of these, and the particulars."""
        super().__init__(f"{what}; {detail}")
        self.what = what
        self.ended = ended


class Target(Protocol):
    """A daemon that lives until it is closed.

    :ivar stream: a blocking socket to it.
    :ivar deadline: seconds for anything that should happen at once.
    :ivar is_init: whether it is PID 1, so that a hello ends every process.
    """

    deadline: float
    is_init: bool
    stream: socket.socket

    def report(self) -> str:
        """Say what has become of it."""

    def close(self) -> None:
        """End it."""


class Connection:
    """The bytes to and from a daemon.

    :ivar answers: the messages that have come.
    :ivar versions: what both speak after each `ready` that is still to come.
    :ivar read_size: how much to read at a time, in bytes.
    """

    def __init__(self, target: Target) -> None:
        """Begin with a daemon that has said nothing."""
        self.answers: list[codec.Message] = []
        self.versions: deque[int] = deque()
        self.read_size = READ_SIZE
        self._target = target
        self._stream = target.stream
        self._decoder = codec.Decoder("guest")

    def take(self) -> list[codec.Message]:
        """Return what has come since the last time."""
        answers, self.answers = self.answers, []
        return answers

    def exchange(
        self,
        pieces: Sequence[bytes],
        enough: Callable[[list[codec.Message]], object],
        *,
        interval: float = 1.0,
    ) -> None:
        """Write these pieces apart, and read meanwhile and after until there are enough answers.

        :param interval: seconds after which to ask again whether there are enough.
        :raises Lost: that did not come in time, or the stream has ended.
        :raises DecodeError: what came is malformed.
        """
        deadline = Deadline(self._target.deadline)
        for number, piece in enumerate(pieces):
            while piece:
                if self._turn(deadline, interval, writing=True):
                    piece = piece[self._send(piece) :]  # noqa: PLW2901
            while number < min(_APART, len(pieces) - 1) and unread(self._stream, theirs=True):
                self._turn(deadline, 0.0002)
        while not enough(self.answers):
            self._turn(deadline, interval)

    def _turn(self, deadline: Deadline, interval: float, *, writing: bool = False) -> bool:
        """Wait, and read what there is; return whether something can be written."""
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
            return self._stream.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except ConnectionError:
            raise self._ended() from None

    def _receive(self) -> None:
        try:
            data = self._stream.recv(self.read_size)
        except ConnectionError:
            data = b""
        if not data:
            raise self._ended()
        self._decoder.receive_data(data)
        while message := self._decoder.next_message():
            self.answers.append(message)
            if self.versions and isinstance(message, codec.Ready):
                self._decoder.version = self.versions.popleft()

    def _ended(self) -> Lost:
        return Lost("the stream has ended", self._target.report(), ended=True)


def unread(stream: socket.socket, *, theirs: bool = False) -> int:
    """Return how many bytes we have yet to read, or the other end."""
    which = termios.TIOCOUTQ if theirs else termios.FIONREAD
    size: int = struct.unpack("i", fcntl.ioctl(stream, which, bytes(4)))[0]
    return size
