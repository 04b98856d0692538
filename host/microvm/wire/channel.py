"""The asyncio protocol that transfers the bytes of a session over a stream socket."""

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
"""Maximum number of frames to handle at once, before other callbacks of the event loop run."""


class Channel(asyncio.Protocol):
    """The connection to one guest, as an asyncio protocol that connects a session with a socket.

    The channel always reads from the socket. The session limits how much output the guest may send,
    so if a command's output is read slowly, other messages are not delayed. If the guest sends more
    frames than can be handled in one iteration of the event loop, reading is paused.

    :ivar is_full: True if the write buffer is full, so that no more standard input should be
        written.
    """

    def __init__(
        self,
        session: Session,
        on_event: Callable[[codec.Message], None],
        on_lost: Callable[[MachineError], None],
        on_room: Callable[[], None],
    ) -> None:
        """Create a channel. It calls functions for messages, a loss, and room in the write buffer.

        :param on_event: Function that is called with each message of the guest that the session
            passes on.
        :param on_lost: Function that is called once with an error, when the guest violates the
            protocol or the connection is closed. It is not called after `close`.
        """
        self.is_full = False
        self._session = session
        self._on_event = on_event
        self._on_lost = on_lost
        self._on_room = on_room
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        # Pending call of `_take_turn`, which handles received frames; None if no frame waits.
        self._turn: asyncio.Handle | None = None
        # Received frames that are not logged yet.
        self._frames = Frames()
        self._guest_limit = Limit(_logger, "the guest's frames")
        self._host_limit = Limit(_logger, "the host's frames")

    async def connect(self, port: socket.socket) -> None:
        """Start to use `port`, a connected socket. The channel closes it."""
        await self._loop.create_connection(lambda: self, sock=port)

    def write(self, *parts: bytes | memoryview) -> None:
        """Write bytes that a method of the session returned.

        Callers must not write standard input of a command while `is_full` is True; other messages
        are small enough. Bytes that are written after `close` are discarded. The parts are joined,
        because `writelines` of Python 3.12.0 to 3.12.8, 3.13.0 and 3.13.1 never calls
        `pause_writing` (CVE-2024-12254).
        """
        transport = self._transport
        if (data := b"".join(parts)) and transport and not transport.is_closing():
            if _logger.listens(TRACE) and self._host_limit.allows():
                _logger.frame("host", data)
            transport.write(data)

    def close(self) -> None:
        """Close the socket, and call no callback any more. Another call has no effect."""
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
        """Store the transport, through which bytes are written. asyncio calls this method."""
        # uvloop's transport is no subclass of `asyncio.Transport`, but has its methods, so cast it.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Handle bytes from the guest. asyncio calls this method."""
        if _logger.listens(TRACE) and not self._guest_limit.is_reached:
            self._frames.receive_data(data)
        self._session.receive_data(data)
        self._take_turn()

    def _take_turn(self) -> None:
        """Handle received frames, but not more than `FRAMES_PER_TURN` at once.

        If frames remain, pause reading from the socket until they are handled.
        """
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
        """Log up to `most` received frames, and pass up to `most` messages on to the caller.

        Return True if no received frame remains.
        """
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
            # This error is a bug of the host. Report the guest as lost, so that callers do not wait
            # forever.
            self._lose(GuestDied("what the guest said could not be handled"))
            raise
        return False

    def _log(self, most: int) -> bool:
        """Log up to `most` received frames. Return True if all received frames are logged."""
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
        """Note that the write buffer is full. asyncio calls this method."""
        self.is_full = True

    def resume_writing(self) -> None:
        """Note that the write buffer has room again, and notify writers."""
        self.is_full = False
        self._on_room()

    def eof_received(self) -> None:
        """Report the connection as lost, since the guest's side was closed.

        Bytes that the host has written, but the guest has not read yet, are discarded.
        """
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle all received frames, then report the connection as lost."""
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
    [Session, Callable[[codec.Message], None], Callable[[MachineError], None], Callable[[], None]],
    Channel,
]
"""Type of a function that creates a channel; it has the parameters of `Channel`."""
