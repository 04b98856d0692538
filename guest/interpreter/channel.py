"""The socket by which the worker process exchanges frames with the keeper process."""

from __future__ import annotations

import _thread
import os

from interpreter.codec import HEADER, MAX_FRAME, decode, encode
from interpreter.tables import MESSAGES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TAILS = {
    name: fields[-1][1][1]
    for name, _, _, fields in MESSAGES.values()
    if fields and fields[-1][1][0] == "tail"
}
"""For each message with a tail, the maximum number of bytes of the tail."""


class KeeperExited(Exception):
    """Raised if the keeper has exited."""


class Channel:
    """The worker's side of the socket.

    A frame is sent in one system call, so an interrupt cannot divide it. The lock keeps the pieces
    of a text together if several threads send.

    :ivar fd: The descriptor of the socket.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._lock = _thread.RLock()
        self._frame = bytearray(MAX_FRAME)
        self._main = os.getpid(), _thread.get_ident()

    def is_owner(self) -> bool:
        """Return True in the worker's main thread; False in other threads and forked processes."""
        return self._main == (os.getpid(), _thread.get_ident())

    def receive(self) -> tuple[str, list[Any]]:
        """Wait for a message of the host, and return its name and its values.

        :raises KeeperExited: Nothing more can arrive.
        """
        self.wait()
        return decode(self._received(), "host")

    def wait(self) -> None:
        """Wait for a message of the host.

        If a signal handler raises an exception after the message has arrived, `message` still
        returns the message.

        :raises KeeperExited: Nothing more can arrive.
        """
        self._frame[: HEADER.size] = bytes(HEADER.size)
        if not os.readv(self.fd, (self._frame,)):
            raise KeeperExited

    def message(self) -> tuple[str, list[Any]] | None:
        """Return the message for which `wait` has waited, or None if none has arrived."""
        frame = self._received()
        return decode(frame, "host") if any(frame) else None

    def _received(self) -> bytes:
        return bytes(self._frame[: HEADER.size + HEADER.unpack_from(self._frame)[0]])

    def send(self, name: str, *values: Any) -> None:
        """Send a message."""
        with self._lock:
            os.write(self.fd, encode(name, *values))

    def send_text(self, name: str, values: tuple[Any, ...], text: bytes) -> None:
        """Send a text as messages `piece`, followed by the message `name` with the last bytes."""
        offset = 0
        with self._lock:
            while len(text) - offset > TAILS[name]:
                piece = text[offset : offset + TAILS["piece"]]
                os.write(self.fd, encode("piece", offset, piece))
                offset += len(piece)
            os.write(self.fd, encode(name, *values, offset, text[offset:]))
