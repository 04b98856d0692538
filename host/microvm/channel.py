"""Carries a session's bytes over a stream socket; it knows neither QEMU nor commands."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Self

from microvm import codec
from microvm.errors import GuestDied, MachineError
from microvm.session import Session


class Channel(asyncio.Protocol):
    """The connection to one guest.

    It reads whenever there is something: what the guest may send is bounded by the session's
    credits, so that a slow reader of output never holds up anything else.
    """

    def __init__(
        self,
        session: Session,
        on_event: Callable[[codec.Message], None],
        on_lost: Callable[[MachineError], None],
        on_room: Callable[[], None],
    ) -> None:
        """Use `connect` to get one."""
        self.is_full = False
        """Whether the guest has yet to read so much that no data should be added."""
        self._session = session
        self._on_event = on_event
        self._on_lost = on_lost
        self._on_room = on_room
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(
        cls,
        port: socket.socket,
        session: Session,
        on_event: Callable[[codec.Message], None],
        on_lost: Callable[[MachineError], None],
        on_room: Callable[[], None] = lambda: None,
    ) -> Self:
        """Take over `port`.

        :param on_event: called with each event of the session.
        :param on_lost: called once, when the guest breaks the protocol or the port ends, and not
            after `close`.
        :param on_room: called when it is full no more.
        """
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(
            lambda: cls(session, on_event, on_lost, on_room), sock=port
        )
        return channel

    def write(self, *parts: bytes | memoryview) -> None:
        """Send what the session gave; data waits while `is_full`, the rest is little.

        The parts are not joined where asyncio need not: from Python 3.12 on.
        """
        # An empty one at the end would keep asyncio busy for ever.
        if (said := [part for part in parts if part]) and self._transport is not None:
            self._transport.writelines(said)

    def close(self) -> None:
        """Let go of the port; idempotent."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - stream sockets give these
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        self._session.receive_data(data)
        try:
            while self._transport and (event := self._session.next_event()) is not None:
                self._on_event(event)
        except MachineError as error:
            self._lose(error)
        except BaseException:
            # A mistake of ours: who waits for this guest must not wait for ever.
            self._lose(GuestDied("what the guest said could not be handled"))
            raise

    def pause_writing(self) -> None:
        """Part of asyncio.Protocol."""
        self.is_full = True

    def resume_writing(self) -> None:
        """Part of asyncio.Protocol."""
        self.is_full = False
        self._on_room()

    def eof_received(self) -> None:
        """Part of asyncio.Protocol: who says no more need not have read what waits for him."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio.Protocol."""
        reason = f": {exc}" if exc else ""
        self._lose(GuestDied(f"the connection to the guest ended{reason}"))

    def _lose(self, error: MachineError) -> None:
        if self._transport is not None:
            self.close()
            self._on_lost(error)
