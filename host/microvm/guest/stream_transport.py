"""The asyncio transport of a stream to a server in the guest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from errno import ETIMEDOUT
from functools import partial
from typing import Any, Protocol, cast

from microvm.errors import StreamError
from microvm.guest.deadline import Deadline

LINGER = 1.0
"""Maximum number of seconds that `close` waits for the server to read data or close its side."""

# Default number of unsent bytes. If there are more, the transport pauses the protocol.
_HIGH_WATER = 1 << 16


class Carrier(Protocol):
    """The methods of `Relay` that a transport calls. Each gets the id of the stream."""

    def room(self, id_: int) -> int:
        """Return the number of bytes that can be sent in one message now."""

    def send_data(self, id_: int, data: bytes) -> None:
        """Send data, at most as many bytes as `room` returns."""

    def send_eof(self, id_: int) -> None:
        """Send the end of the host's data."""

    def send_reset(self, id_: int) -> None:
        """Tell the guest to close the stream at once. If the stream is closed, send nothing."""

    def consumed(self, id_: int, amount: int) -> None:
        """Record that `amount` bytes were consumed, so that the guest can send more."""

    def remove(self, id_: int, removed: Callable[[], None]) -> None:
        """Forget a closed stream, and call `removed` later."""


class StreamTransport(asyncio.Transport):
    """A transport that sends and receives the data of one stream.

    While the protocol has paused reading, the guest gets no more credit. So when the guest has used
    its credit, the server has to wait. While the server reads nothing, the transport pauses the
    protocol's writing.
    """

    _start_tls_compatible = True  # lets `loop.start_tls` accept this transport

    def __init__(
        self, carrier: Carrier, id_: int, protocol: asyncio.BaseProtocol, server: int | str
    ) -> None:
        """Create the transport of a stream that is not connected yet."""
        super().__init__({"peername": server})
        self._carrier = carrier
        self._id = id_
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._unread = bytearray()
        self.set_write_buffer_limits()
        self._is_paused = False
        self._protocol_paused = False
        self._host_ends = False  # True if the host writes nothing after `_unsent`
        self._host_ended = False
        self._guest_ends = False  # True if the guest sends nothing after `_unread`
        self._guest_ended = False
        self._begun = False
        self._closing = False
        self._removed = False
        self._reset_due = Deadline()

    def __repr__(self) -> str:
        state = "closed" if self._removed else "closing" if self._closing else "open"
        return f"<StreamTransport to {self.get_extra_info('peername')!r}: {state}>"

    # `Relay` calls these methods when a message of the guest arrives:

    def begin(self) -> None:
        """Notify the protocol that the guest has connected to the server."""
        self._begun = True
        self._protocol.connection_made(self)

    def receive(self, data: bytes | memoryview) -> None:
        """Pass data to the protocol, or store them while reading is paused."""
        if self._closing:
            self._carrier.consumed(self._id, len(data))
            return
        self._unread += data
        self._deliver()

    def receive_eof(self) -> None:
        """Note that the server has sent all its data."""
        self._guest_ends = True
        self._deliver()

    def flush(self) -> None:
        """Send as many buffered bytes as the guest allows.

        If no bytes remain, and the writer has closed the stream, also send the end of the data.
        """
        before = len(self._unsent)
        while self._unsent and (size := self._carrier.room(self._id)):
            self._carrier.send_data(self._id, bytes(self._unsent[:size]))
            del self._unsent[:size]
        if self._closing and len(self._unsent) < before:
            self._reset_due.start(LINGER, self._give_up)
        if self._host_ends and not self._unsent and not self._host_ended:
            self._host_ended = True
            self._carrier.send_eof(self._id)
            self._remove_if_ended()
        if self._protocol_paused and len(self._unsent) <= self._low:
            self._protocol_paused = False
            self._protocol.resume_writing()

    def lose(self, error: Exception | None) -> None:
        """Drop all data, and notify the protocol that the connection is lost."""
        if self._removed:
            return
        self._removed = self._closing = True
        self._unsent.clear()
        self._unread.clear()
        self._reset_due.cancel()
        self._carrier.remove(self._id, partial(self._notify_lost, error))

    def _notify_lost(self, error: Exception | None) -> None:
        if self._begun:
            self._protocol.connection_lost(error)

    # The methods of asyncio.Transport:

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Send the data that were written, and then close the stream.

        The protocol gets no more data. If the server has not read all data and closed its side
        within :data:`LINGER` seconds, the stream is reset. If unsent data are lost, the protocol
        gets a StreamError with ETIMEDOUT.
        """
        if not self._closing:
            self._closing = True
            self._guest_ended = self._guest_ends
            self._carrier.consumed(self._id, len(self._unread))
            self._unread.clear()
            self._host_ends = True
            self._reset_due.start(LINGER, self._give_up)
            self.flush()
            self._remove_if_ended()

    def abort(self) -> None:
        """Close the stream at once. Data that the server has not received are lost."""
        self._carrier.send_reset(self._id)
        self.lose(None)

    def _give_up(self) -> None:
        """Reset a stream that was not closed in time. If unsent data are lost, report an error."""
        lost = StreamError(ETIMEDOUT, self.get_extra_info("peername")) if self._unsent else None
        self._carrier.send_reset(self._id)
        self.lose(lost)

    def is_reading(self) -> bool:
        return not self._is_paused and not self._closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._loop.call_soon(self._deliver)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._host_ends and not self._closing:
            raise RuntimeError("cannot write after write_eof()")
        if data and not self._closing:
            self._unsent += data
            self.flush()
            if len(self._unsent) > self._high and not self._protocol_paused:
                self._protocol_paused = True
                self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._host_ends:
            self._host_ends = True
            self.flush()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self._high, self._low = high, low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def _deliver(self) -> None:
        """Pass stored data, and then the end of the data, to the protocol."""
        if self._is_paused or self._closing:
            self._guest_ended = self._guest_ended or (self._closing and self._guest_ends)
            self._remove_if_ended()
            return
        if self._unread:
            data, self._unread = bytes(self._unread), bytearray()
            _feed(self._protocol, data)
            self._carrier.consumed(self._id, len(data))
        if self._guest_ends and not (self._guest_ended or self._is_paused or self._closing):
            self._guest_ended = True
            if not cast(asyncio.Protocol, self._protocol).eof_received():
                self.close()
            self._remove_if_ended()

    def _remove_if_ended(self) -> None:
        if self._host_ended and self._guest_ended:
            self.lose(None)


def _feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    """Pass data to an `asyncio.Protocol` or an `asyncio.BufferedProtocol`."""
    if not isinstance(protocol, asyncio.BufferedProtocol):
        cast(asyncio.Protocol, protocol).data_received(data)
        return
    while data:
        buffer = memoryview(protocol.get_buffer(len(data)))
        size = min(len(data), len(buffer))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]
