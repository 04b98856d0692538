"""A channel carries a session's bytes over a stream socket; it knows neither QEMU nor commands."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TypeAlias, cast

from microvm.errors import GuestDied, MachineError
from microvm.log import TRACE, Area, Limit
from microvm.wire import codec
from microvm.wire.frames import Frames
from microvm.wire.session import Session

_logger = Area("wire")

FRAMES_PER_TURN = 512
"""The frames of a guest that are handled before others in the event loop have their turn."""


class Channel(asyncio.Protocol):
    """A channel is the connection to one guest.

    It reads whenever there is something: what the guest may send is bounded by the session's
    credits, so that a slow reader of output never holds up anything else. A guest that sends more
    than it can handle in a turn of the event loop waits, and the loop's others do not.

    :ivar is_full: whether the guest has yet to read so much that no data should be added.
    """

    def __init__(
        self,
        session: Session,
        on_event: Callable[[codec.Message], None],
        on_lost: Callable[[MachineError], None],
        on_room: Callable[[], None],
    ) -> None:
        """Prepare one; `connect` gives it its port.

        :param on_event: called with each event of the session.
        :param on_lost: called once, when the guest breaks the protocol or the port ends, and not
            after `close`.
        :param on_room: called when it is full no more.
        """
        self.is_full = False
        self._session = session
        self._on_event = on_event
        self._on_lost = on_lost
        self._on_room = on_room
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._turn: asyncio.Handle | None = None  # the next one, where one was not enough
        self._frames = Frames()  # of the guest's, those that are still to be logged
        self._guest_limit = Limit(_logger, "the guest's frames")
        self._host_limit = Limit(_logger, "the host's frames")

    async def connect(self, port: socket.socket) -> None:
        """Take over a port."""
        await self._loop.create_connection(lambda: self, sock=port)

    def write(self, *parts: bytes | memoryview) -> None:
        """Send what the session gave; data waits while `is_full`, the rest is little.

        Once the port is closed it goes nowhere. The parts are joined: the `writelines` of Python
        3.12.0 to 3.12.8, 3.13.0 and 3.13.1 never says that it is full (CVE-2024-12254).
        """
        transport = self._transport
        if (data := b"".join(parts)) and transport and not transport.is_closing():
            if _logger.listens(TRACE) and self._host_limit.allows():
                _logger.frame("host", data)
            transport.write(data)

    def close(self) -> None:
        """Let go of the port, and of those who were told of it; idempotent."""
        if self._turn is not None:
            self._turn.cancel()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
            while not self._log(FRAMES_PER_TURN):
                pass
            if (rest := self._frames.take_rest()) and self._guest_limit.allows():
                _logger.frame("guest", rest)
        self._on_event = self._on_lost = self._on_room = _ignore

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; asyncio calls this."""
        # Of a stream socket it is one, though that of uvloop does not derive from it.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Handle what the guest has sent; asyncio calls this."""
        if _logger.listens(TRACE) and not self._guest_limit.is_reached:
            self._frames.receive_data(data)
        self._session.receive_data(data)
        self._take_turn()

    def _take_turn(self) -> None:
        """Handle what has been read, or a part of it; more is not read before that is done."""
        put_off, self._turn = self._turn, None
        done = self._handle(FRAMES_PER_TURN)
        if self._transport is None:
            return
        if not done:
            self._turn = self._loop.call_soon(self._take_turn)
            if put_off is None:
                self._transport.pause_reading()
        elif put_off is not None:
            self._transport.resume_reading()

    def _handle(self, most: int) -> bool:
        """Log so many frames and tell of so many events; whether there were no more."""
        try:
            logged = self._log(most)
            for _ in range(most):
                if self._transport is None:
                    return True
                event = self._session.next_event()
                if event is None:
                    return logged and not self._session.is_behind
                self._on_event(event)
        except MachineError as error:
            self._lose(error)
        except BaseException:
            # A mistake of ours: who waits for this guest must not wait for ever.
            self._lose(GuestDied("what the guest said could not be handled"))
            raise
        return False

    def _log(self, most: int) -> bool:
        """Log so many of the guest's frames; whether there were no more."""
        for _ in range(most):
            frame = self._frames.next_frame()
            if frame is None:
                return True
            if not self._guest_limit.allows():
                self._frames.take_rest()
                return True
            _logger.frame("guest", frame)
        return False

    def pause_writing(self) -> None:
        """Note that the transport's buffer is full; asyncio calls this."""
        self.is_full = True

    def resume_writing(self) -> None:
        """Let those write on who wait for room; asyncio calls this."""
        self.is_full = False
        self._on_room()

    def eof_received(self) -> None:
        """End the connection: a guest that sends no more need not have read what waits for it."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end of the connection, after all that came before it; asyncio calls this."""
        while self._turn is not None and not self._handle(FRAMES_PER_TURN):
            pass
        reason = f": {exc}" if exc else ""
        self._lose(GuestDied(f"the connection to the guest ended{reason}"))

    def _lose(self, error: MachineError) -> None:
        if self._transport is not None:
            on_lost = self._on_lost
            self.close()
            on_lost(error)


def _ignore(*_: object) -> None:
    pass


ChannelFactory: TypeAlias = Callable[
    [
        Session,
        Callable[[codec.Message], None],
        Callable[[MachineError], None],
        Callable[[], None],
    ],
    Channel,
]
"""The type of what makes a channel, as `Channel` does."""
