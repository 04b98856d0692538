"""The host's channel, with a witness to all that is said and heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from microvm.errors import MachineError
from microvm.guest.command import Command
from microvm.wire import codec
from microvm.wire.channel import Channel
from microvm.wire.session import WINDOW, Session

from .recorder import Frame, Witness

UNSENT = 1 << 18
"""Bytes that may wait for a guest which does not read."""


class RecordingChannel(Channel):
    """The channel, with a witness to all that is said and heard."""

    def __init__(
        self,
        witness: Witness,
        command: Callable[[], Command | None],
        session: Session,
        on_event: Callable[[codec.Message], None],
        on_lost: Callable[[MachineError], None],
        on_room: Callable[[], None],
    ) -> None:
        """Note in `witness` what goes by; `command` gives what is in flight, to be measured."""
        self._witness = witness
        self._command = command

        def note(event: codec.Message) -> None:
            frame = self._witness.advance(_now())
            if frame is None:
                why = self._witness.lie.why if self._witness.lie else "it was not there yet"
                self._witness.faults.append(f"the host took {type(event).__name__}: {why}")
            elif not _same(event, frame):
                self._witness.faults.append(f"the host heard {event} when {frame} was said")
            on_event(event)

        super().__init__(session, note, on_lost, on_room)

    def write(self, *parts: bytes | memoryview) -> None:
        """Note what the host says, as long as it is heard."""
        if self._transport is not None:
            self._witness.said(b"".join(parts), _now())
        super().write(*parts)
        self._measure()

    def data_received(self, data: bytes) -> None:
        """Note what the guest says."""
        self._witness.heard(data)
        super().data_received(data)

    def _take_turn(self) -> None:
        super()._take_turn()
        if self._turn is None:
            self._compare()
        self._measure()

    def _compare(self) -> None:
        """See that the host has handled all that it was told, as far as that was right."""
        witness = self._witness
        lost = self._transport is None
        frame = witness.advance(_now())
        if frame is not None and not lost:
            witness.faults.append(f"the host did not hear {frame}")
        if lost and not witness.lie:
            witness.faults.append("the host refused what is right")
        if witness.lie and not lost:
            witness.faults.append(f"the host goes on after a lie: {witness.lie.why}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the port."""
        if self._transport is not None:
            self._witness.ended_at = _now()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Note it, too, where only the guest's half has ended."""
        self._witness.ended_at = _now()
        super().eof_received()

    def close(self) -> None:
        """Note when the host gives up."""
        if self._transport is not None:
            self._witness.closed_at = _now()
        super().close()

    def _measure(self) -> None:
        """See that what a guest makes the host hold has a bound."""
        witness = self._witness
        if self._transport is None:
            return
        unsent = self._transport.get_write_buffer_size()
        if unsent > UNSENT:
            witness.faults.append(f"{unsent} bytes wait to be sent")
        held = len(self._session._decoder._partial)
        if held > codec.HEADER_SIZE + codec.ExecOutput.MAX_BODY:
            witness.faults.append(f"{held} bytes of one frame are held")
        command = self._command()
        for stream in (command.stdout, command.stderr) if command else ():
            if (size := len(stream)) > 2 * WINDOW:
                witness.faults.append(f"{size} bytes of output are held")


def _now() -> float:
    return asyncio.get_running_loop().time()


def _same(event: codec.Message, frame: Frame) -> bool:
    """Whether what the codec made of a frame is what the schema makes of it."""
    name = type(event).__name__.lower()
    told = {key: getattr(event, key, None) for key in frame.values}
    id_ = getattr(event, "id", 0)
    return (name, id_, told) == (frame.kind.replace("_", ""), frame.id, frame.values)
