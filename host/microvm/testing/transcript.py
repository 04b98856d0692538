"""The transcript of a machine, for the report of a test: its last commands and its console."""

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
"""Maximum number of commands in a transcript. Earlier commands are removed."""

MOST_OUTPUT = 4 << 10
"""Maximum number of bytes of each command's output in a transcript. Earlier bytes are removed."""

_MOST_WORDS = 1000  # maximum number of characters that a transcript shows of a command line


class Transcript:
    """The last commands of a machine, with their output and status, and the console's last output.

    Control characters of the guest are escaped in the report.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._entries: deque[_Entry] = deque(maxlen=MOST_COMMANDS)
        self._count = 0
        self.console: Callable[[], str] = str

    def add(self, command: Command) -> None:
        """Add a command to the transcript when it has just started, and record its output."""
        self._entries.append(_Entry(command))
        self._count += 1

    def clear(self) -> None:
        """Remove all commands from the transcript."""
        self._entries.clear()
        self._count = 0

    def sections(self) -> Iterator[tuple[str, str]]:
        """Yield the sections that the transcript adds to a report: the title and text of each."""
        of = f" of {self.name}" if self.name else ""
        if self._entries:
            dropped = self._count - len(self._entries)
            before = [f"({dropped} before these)"] if dropped else []
            yield f"microvm: commands{of}", "\n".join([*before, *map(str, self._entries)])
        if console := self.console().strip():
            yield f"microvm: console{of}", console


class _Entry:
    """A command in a transcript, with the last bytes of its output and its status."""

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
            return "given up"  # the command has failed, and the error of the test says why
        match command.returncode:
            case None:
                return "running"
            case int(status) if status < 0:
                return f"killed by {_signal(-status)}"
            case status:
                return f"status {status}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
