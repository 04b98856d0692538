"""Collects the output and the displays of one cell, up to a limit."""

from __future__ import annotations

from codecs import getincrementaldecoder

from microvm.interpreter.cell import Display
from microvm.wire import interpreter
from microvm.wire.interpreter import Stream

_STREAMS = (Stream.STDOUT, Stream.STDERR)

# Each representation of a display counts as this many bytes more than it has, so that a guest
# cannot fill the host's memory by empty displays.
_OVERHEAD = 256

_DECODER = getincrementaldecoder("utf-8")


class Collector:
    """The output and the displays of a cell.

    :param limit: Maximum number of bytes that are kept. Further bytes are only counted.
    :ivar dropped: Number of bytes that were not kept.
    :ivar displays: The complete displays.
    """

    def __init__(self, limit: int) -> None:
        self.dropped = 0
        self.displays: list[Display] = []
        self._room = limit
        self._kept = {stream: bytearray() for stream in _STREAMS}
        self._decoders = {stream: _DECODER("replace") for stream in _STREAMS}
        self._shown: dict[str, bytes] | None = None
        self._is_result = False

    def add_output(self, stream: Stream, data: bytes | memoryview) -> str:
        """Keep output up to the limit, and return the kept output as text.

        If the output ends with an incomplete character, the next call returns this character.
        """
        kept = data[: self._room]
        self._count(len(kept), len(data))
        self._kept[stream] += kept
        return self._decoders[stream].decode(kept)

    def add_display(self, message: interpreter.Display, data: bytes, size: int) -> Display | None:
        """Add a representation of an object. Return the display that this completes, or None.

        :param data: The data of the representation, or the part of it that the host has stored.
        :param size: Number of bytes of the data that the guest has sent.
        """
        finished = self.end_display() if message.first else None
        if self._shown is None:
            self._shown, self._is_result = {}, message.of_value
        total = size + len(message.mime) + _OVERHEAD
        fits = size == len(data) and total <= self._room
        self._count(total if fits else 0, total)
        if fits:
            self._shown[message.mime] = data
        return finished

    def end_display(self) -> Display | None:
        """Complete the current display, and return it if any representation of it was kept."""
        shown, self._shown = self._shown, None
        if not shown:
            return None
        display = Display(shown, self._is_result)
        self.displays.append(display)
        return display

    def end_output(self, stream: Stream) -> str:
        """Return U+FFFD if the output ends with an incomplete character, otherwise empty text."""
        return self._decoders[stream].decode(b"", final=True)

    def text(self, stream: Stream) -> str:
        """Return the kept output of a stream, as text."""
        return self._kept[stream].decode(errors="replace")

    def _count(self, kept: int, arrived: int) -> None:
        self._room -= kept
        self.dropped += arrived - kept
