"""Replaces `input`, `getpass` and standard input, so that the host provides the input of cells."""

from __future__ import annotations

import io
import sys

from interpreter.channel import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Questions:
    """Sends the questions of cells to the host, one at a time."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._last = 0

    def ask(self, prompt: object = "", secret: bool = False) -> str:
        """Return the host's answer, without a newline.

        :raises EOFError: The host gives no answer.
        """
        if not self._channel.is_owner():
            raise EOFError("input is available only in the main thread of the interpreter")
        sys.stdout.flush()
        self._last += 1
        self._channel.send("ask", self._last, secret, str(prompt))
        while True:
            name, values = self._channel.receive()
            if name == "answer" and values[0] == self._last:
                break
        if not values[1]:
            raise EOFError("the host gives no input")
        line: str = values[2]
        return line

    def input(self, prompt: object = "", /) -> str:
        """Read a line of input, as the built-in function of this name does."""
        return self.ask(prompt)

    def getpass(self, prompt: str = "Password: ", *_: Any, **__: Any) -> str:
        """Read a password, as `getpass.getpass` does."""
        return self.ask(prompt, True)


class Input(io.TextIOBase):
    """The standard input of cells."""

    encoding = "utf-8"

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    def readable(self) -> bool:
        """Return True."""
        return True

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        """Return the next line with its newline; empty if the host gives none."""
        try:
            return self._questions.ask() + "\n"
        except EOFError:
            return ""

    def read(self, size: int | None = -1, /) -> str:
        """Return all lines up to the end of the host's input."""
        return "".join(iter(self.readline, ""))

    def close(self) -> None:
        """Do nothing: `exit()` closes standard input, but the next cell needs it."""
