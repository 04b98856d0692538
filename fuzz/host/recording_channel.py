"""The host's channel, with a recorder of all that is said, which also measures what is held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from microvm.guest.command import Command
from microvm.wire import codec
from microvm.wire.channel import Channel
from microvm.wire.session import WINDOW, Session

from .recorder import Frame, Recorder

MAX_UNSENT = 1 << 18
"""Bytes that may wait for a guest which does not read."""


class RecordingChannel(Channel):
    """A channel that tells a recorder of each frame at the moment the host has to do with it."""

    def __init__(
        self,
        recorder: Recorder,
        command: Callable[[], Command | None],
        session: Session,
        on_event: Callable[[codec.Message], None],
        *others: Any,
    ) -> None:
        """Make a channel; `command` gives the command in flight, to measure what it holds."""

        def note(event: codec.Message) -> None:
            frame = recorder.advance(self._loop.time())
            if frame is None:
                why = recorder.breach.why if recorder.breach else "it was not there yet"
                recorder.faults.append(f"the host took {type(event).__name__}: {why}")
            elif not _same(event, frame):
                recorder.faults.append(f"the host heard {event} when {frame} was said")
            on_event(event)

        super().__init__(session, note, *others)
        self._recorder = recorder
        self._command = command

    def write(self, *parts: bytes | memoryview) -> None:
        """Record what the host says, as long as it is heard."""
        if self._transport is not None:
            self._recorder.sent(b"".join(parts), self._loop.time())
        super().write(*parts)
        self._measure()

    def data_received(self, data: bytes) -> None:
        """Record what the guest says."""
        self._recorder.received(data)
        super().data_received(data)

    def _take_turn(self) -> None:
        super()._take_turn()
        if self._turn is None:
            self._compare()
        self._measure()

    def _compare(self) -> None:
        """See that the host has handled all that it was told, as far as that was right."""
        recorder, is_open = self._recorder, self._transport is not None
        frame = recorder.advance(self._loop.time())
        if frame is not None and is_open:
            recorder.faults.append(f"the host did not hear {frame}")
        if recorder.breach and is_open:
            recorder.faults.append(f"the host goes on after a breach: {recorder.breach.why}")
        if not recorder.breach and not is_open:
            recorder.faults.append("the host refused what is right")

    def connection_lost(self, exc: Exception | None) -> None:
        """Record the end of the port."""
        self._record_end()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Record the end of the guest's half of it, whatever the host makes of that."""
        self._record_end()
        super().eof_received()

    def _record_end(self) -> None:
        if self._transport is not None and self._recorder.ended_at is None:
            self._recorder.ended_at = self._loop.time()

    def _measure(self) -> None:
        """See that what a guest makes the host hold has a bound."""
        if self._transport is None:
            return
        command = self._command()
        output = [command.stdout, command.stderr] if command else []
        for what, size, limit in (
            ("bytes wait to be sent", self._transport.get_write_buffer_size(), MAX_UNSENT),
            (
                "bytes of one frame are held",
                len(self._session._decoder._partial),
                codec.HEADER_SIZE + codec.ExecOutput.MAX_BODY,
            ),
            *(("bytes of output are held", len(stream), 2 * WINDOW) for stream in output),
        ):
            if size > limit:
                self._recorder.faults.append(f"{size} {what}")


def _same(event: codec.Message, frame: Frame) -> bool:
    """Tell whether what the codec made of a frame is what the schema makes of it."""
    name = type(event).__name__.lower()
    told = {key: getattr(event, key, None) for key in frame.values}
    return (name, getattr(event, "id", 0), told) == (
        frame.kind.replace("_", ""),
        frame.id,
        frame.values,
    )
