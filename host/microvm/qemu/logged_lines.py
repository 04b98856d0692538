"""Logs the lines that a guest or QEMU writes, limited in number and safe to print."""

from __future__ import annotations

import re

from microvm.log import DEBUG, Area, Limit

#: Maximum number of bytes of a line that are logged.
LINE_SIZE = 512

# The escape sequences of a terminal, as ECMA-48 defines them: control sequences (CSI), operating
# system commands (OSC), and escapes of two bytes.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


def sanitised(data: bytes) -> str:
    """Return untrusted bytes as text without escape sequences and control characters."""
    text = _ESCAPE.sub("", data.decode(errors="replace"))
    return "".join(char for char in text if char.isprintable() or char in "\n\t")


class LoggedLines:
    """A stream of text whose lines are logged at level `debug`, up to a limit.

    :param head: Text that is logged before each line, such as `console`.
    :param whose: Name of the writer, for the message that further lines are not logged.
    """

    def __init__(self, area: Area, head: str, whose: str) -> None:
        self._area = area
        self._head = head
        self._limit = Limit(area, whose)
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Log the complete lines in the next bytes of the stream, which may end within a line."""
        if self._limit.is_reached or not self._area.listens(DEBUG):
            return
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:LINE_SIZE]
        for line in lines:
            if not self._limit.allows():
                break
            self._area.debug("%s: %s", self._head, sanitised(line[:LINE_SIZE]))

    def close(self) -> None:
        """Log the last line of the stream, if it does not end with a newline."""
        if self._rest:
            self.feed(b"\n")
