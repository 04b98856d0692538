"""The transcript of a test's machine: its last commands and the end of its console."""

from __future__ import annotations

import os
import shlex
import signal
from collections import deque
from collections.abc import Callable, Iterator

from microvm.guest.command import Command
from microvm.printable import printable
from microvm.qemu.logged_lines import sanitised
from microvm.wire import files

MOST_COMMANDS = 20
"""The commands that are shown, the last ones."""

MOST_OUTPUT = 4 << 10
"""The bytes of a command's output that are shown, the last ones."""

_MOST_WORDS = 1000  # characters of a command line


class Transcript:
    """What ran in a machine, and what came of it; bounded, and safe to print.

    :ivar name: whose it is, for people; may be empty.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._entries: deque[_Entry] = deque(maxlen=MOST_COMMANDS)
        self._count = 0
        self.console: Callable[[], str] = str
        """Gives the end of the machine's console."""

    def add(self, command: Command) -> None:
        """Take a command that has just begun, and all that it writes."""
        self._entries.append(_Entry(command))
        self._count += 1

    def clear(self) -> None:
        """Forget the commands so far."""
        self._entries.clear()
        self._count = 0

    def sections(self) -> Iterator[tuple[str, str]]:
        """Yield the sections of a report: a title and a text each."""
        of = f" of {self.name}" if self.name else ""
        if self._entries:
            dropped = self._count - len(self._entries)
            before = [f"({dropped} before these)"] if dropped else []
            yield f"microvm: commands{of}", "\n".join([*before, *map(str, self._entries)])
        if console := self.console().strip():
            yield f"microvm: console{of}", console


class _Entry:
    """A command, what it has written at last, and how it ended."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._output = bytearray()
        self._cut = False
        self._is_transfer = command.program == os.fsencode(files.PROGRAM)
        if not self._is_transfer:
            command.on_output = self._feed

    def _feed(self, data: bytes | memoryview) -> None:
        self._output += data[-MOST_OUTPUT:]
        if len(data) > MOST_OUTPUT or len(self._output) > MOST_OUTPUT:
            self._cut = True
            del self._output[:-MOST_OUTPUT]

    def __str__(self) -> str:
        if self._is_transfer:
            return f"# {self._command.name}: {self._status()}"
        words = printable(shlex.join(map(os.fsdecode, self._command.args)))
        if len(words) > _MOST_WORDS:
            words = f"{words[:_MOST_WORDS]}…"
        cut = "…" if self._cut else ""
        output = cut + sanitised(bytes(self._output)).rstrip("\n")
        return f"$ {words}\n{output}{chr(10) if output else ''}[{self._status()}]"

    def _status(self) -> str:
        command = self._command
        if command.error is not None:
            return str(command.error)
        if self._is_transfer and command.returncode:
            return "given up"  # what of this host's own failed, the test's error says
        match command.returncode:
            case None:
                return "it runs"
            case int(status) if status < 0:
                return f"ended by {_signal(-status)}"
            case status:
                return f"status {status}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
