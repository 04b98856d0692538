"""The lines that a guest or QEMU writes, for the log: bounded, and safe to print."""

from __future__ import annotations

import re

from microvm.log import DEBUG, Area, Limit

#: How many bytes of a line are logged.
LINE_SIZE = 512

# ECMA-48: control sequences (CSI), operating system commands (OSC), and escapes of two bytes.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


def sanitised(data: bytes) -> str:
    """Return hostile bytes as text that is safe to print: no escapes, no control characters."""
    text = _ESCAPE.sub("", data.decode(errors="replace"))
    return "".join(char for char in text if char.isprintable() or char in "\n\t")


class LoggedLines:
    """A stream of text, each line of which is logged at `debug`, up to a limit.

    :param head: what stands before each line.
    :param whose: whose lines they are, as the log says where no more are shown.
    """

    def __init__(self, area: Area, head: str, whose: str) -> None:
        self._area = area
        self._head = head
        self._limit = Limit(area, whose)
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        if self._limit.is_reached or not self._area.listens(DEBUG):
            return
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:LINE_SIZE]
        for line in lines:
            if not self._limit.allows():
                break
            self._area.debug("%s: %s", self._head, sanitised(line[:LINE_SIZE]))

    def close(self) -> None:
        """Log a last line that has no end."""
        if self._rest:
            self.feed(b"\n")
