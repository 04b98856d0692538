"""The limits of a program that `microvm python` runs: its time and its output."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from microvm.cli.cell_events import CellLimits
from microvm.errors import ExecKilled, ExecTimeout, OutputLimit

# A cell may handle the KeyboardInterrupt after Ctrl-C and continue, so nothing is killed until the
# user presses Ctrl-C again: this grace time in seconds, 11 days, never ends.
ENDLESS = 1e6


@dataclass(slots=True)
class ProgramLimits:
    """The limits of one program, and how much of them it has used.

    :ivar timeout: Maximum number of seconds for all cells of the program, or None.
    :ivar grace: Number of seconds between the interrupt after the timeout and the kill.
    :ivar max_output: Maximum number of bytes that the program writes, or None.
    :ivar exceeded: True if the program has written more than `max_output`.
    :ivar timed_out: True if a cell of the program has run longer than `timeout`.
    """

    timeout: float | None = None
    grace: float = 0.0
    max_output: int | None = None
    exceeded: bool = False
    timed_out: bool = False
    _deadline: float = field(init=False, default=float("inf"))
    _written: int = field(init=False, default=0)

    def begin(self) -> None:
        """Begin to count the time."""
        if self.timeout is not None:
            self._deadline = time.monotonic() + self.timeout

    @property
    def left(self) -> float | None:
        """Number of seconds until the timeout, or None if there is none."""
        return None if self.timeout is None else max(self._deadline - time.monotonic(), 0.0)

    def of_cell(self) -> CellLimits:
        """Return the limits of the next cell of the program."""
        return CellLimits(self.left, ENDLESS, late_grace=self.grace)

    def count(self, data: bytes) -> bytes:
        """Count output, and return the part of it that the limit permits. Set `exceeded`."""
        if self.max_output is None:
            return data
        permitted = data[: self.max_output - self._written]
        self._written += len(permitted)
        self.exceeded = self.exceeded or len(permitted) < len(data)
        return permitted

    def check(self, program: str) -> None:
        """Raise an error with the name of the program if it exceeded a limit.

        :raises ExecKilled: If the program ran too long, or its output was too long.
        """
        failed: ExecKilled | None = None
        if self.exceeded:
            failed = OutputLimit(program, self.max_output or 0)
        elif self.timed_out:
            failed = ExecTimeout(program, self.timeout or 0)
        if failed is not None:
            raise failed
