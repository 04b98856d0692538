"""Gives the standard input of this process to a program in the guest, as bytes.

Each time that the program reads standard input, its cell sends a question, as for `input()`. The
prompt of such a question contains a secret, which distinguishes it from a prompt of `input()`, and
the maximum number of bytes. In the answer, each character is one byte.
"""

from __future__ import annotations

import os
import re
import secrets

_STDIN = 0
_MAX_SIZE = 32_000  # maximum size of an answer in bytes, because a character may take two


class StandardInput:
    """The standard input of this process.

    :ivar secret: The beginning of the prompt of a question that reads bytes.
    :ivar is_terminal: True if a user types the input, so that `input()` can be edited.
    """

    def __init__(self) -> None:
        self.secret = secrets.token_hex(16)
        self.is_terminal = os.isatty(_STDIN)
        self._prompt = re.compile(rf"{self.secret} ([0-9]{{1,9}})")

    def is_meant(self, prompt: str) -> bool:
        """Return True if a question with this prompt reads bytes."""
        return self._prompt.fullmatch(prompt) is not None

    def read(self, prompt: str) -> str:
        """Wait for bytes, and return them as the answer to a question with this prompt.

        :raises EOFError: The standard input is at its end.
        """
        match = self._prompt.fullmatch(prompt)
        size = min(int(match[1]), _MAX_SIZE) if match else 0
        try:
            data = os.read(_STDIN, size)
        except OSError as error:  # such as a closed descriptor
            raise EOFError from error
        if not data:
            raise EOFError
        return data.decode("latin-1")
