"""The host's channel with a recorder of all messages, which also measures the buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from microvm.guest.command import Command
from microvm.wire import codec
from microvm.wire.channel import Channel
from microvm.wire.session import WINDOW, Session

from .recorder import Recorder

MAX_UNSENT = 1 << 18  # maximum number of bytes that wait to be sent to a guest that does not read

MAX_PARTIAL = codec.HEADER_SIZE + codec.ExecOutput.MAX_BODY


class RecordingChannel(Channel):
    """A channel that reports each frame to a recorder when the host handles it."""

    def __init__(
        self,
        recorder: Recorder,
        commands: Callable[[], list[Command]],
        session: Session,
        on_event: Callable[[codec.Message], None],
        *others: Any,
    ) -> None:
        def note(event: codec.Message) -> None:
            said = recorder.advance(self._loop.time())
            heard = event, said or recorder.breach
            recorder.expect(event == said, "the host handles a message that was not sent", heard)
            on_event(event)

        super().__init__(session, note, *others)
        self._recorder = recorder
        self._commands = commands

    def write(self, *parts: bytes | memoryview) -> None:
        """Record the bytes that the host sends, while the port is open."""
        if self._transport is not None and (data := b"".join(parts)):
            self._recorder.sent(data, self._loop.time())
        super().write(*parts)
        self._measure()

    def close(self) -> None:
        """Record that the host gives up the guest."""
        self._recorder.left_at = self._loop.time()
        super().close()

    def data_received(self, data: bytes) -> None:
        """Record the bytes that the guest sends."""
        self._recorder.received += data
        super().data_received(data)

    def _take_turn(self) -> None:
        """Check that the host has handled all valid frames, and only those."""
        super()._take_turn()
        self._measure()
        if self._turn is not None:
            return  # another turn follows
        recorder, is_open = self._recorder, self._transport is not None
        unheard = recorder.advance(self._loop.time())
        recorder.expect(not unheard or not is_open, "the host ignores a frame", unheard)
        if is_open:
            recorder.expect(not recorder.breach, "the host accepts a breach", recorder.breach)
        else:
            recorder.expect(bool(recorder.breach), "the host refuses a valid frame")

    def _measure(self) -> None:
        """Check that the host's buffers are bounded, whatever the guest sends."""
        if self._transport is None:
            return
        unsent, partial = self._transport.get_write_buffer_size(), self._session._decoder._partial
        self._recorder.expect(unsent <= MAX_UNSENT, "too much waits to be sent", unsent)
        self._recorder.expect(len(partial) <= MAX_PARTIAL, "too much of a frame is held")
        commands = self._commands()
        for held in (
            sum(len(command.stdout) for command in commands),
            sum(len(command.stderr) for command in commands),
        ):
            self._recorder.expect(held <= 2 * WINDOW, "too much output is held", held)
