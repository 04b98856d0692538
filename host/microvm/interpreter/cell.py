"""The result of a cell: a piece of Python code that an interpreter has run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Display:
    """An object that a cell has displayed, such as a figure, in one or more representations.

    :ivar data: The representations, by their MIME types, such as `image/png`. Text is UTF-8. The
        cell chooses type and data, so the data may have another format than the type says.
    :ivar is_result: True if the object is the value of the cell's last expression.
    """

    data: Mapping[str, bytes]
    is_result: bool = False

    @property
    def png(self) -> bytes | None:
        """The representation of the type `image/png`, or None."""
        return self.data.get("image/png")

    @property
    def html(self) -> str | None:
        """The representation of the type `text/html`, or None."""
        return self._text("text/html")

    @property
    def text(self) -> str | None:
        """The representation of the type `text/plain`, or None."""
        return self._text("text/plain")

    def _text(self, mime: str) -> str | None:
        data = self.data.get(mime)
        return None if data is None else data.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class CellError:
    """The exception that ended a cell. All of it comes from the guest.

    :ivar type: Name of the exception's class, such as `ZeroDivisionError`.
    :ivar message: Text of the exception.
    :ivar traceback: The traceback as Python prints it, with the lines of the cell.
    """

    type: str
    message: str
    traceback: str

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


@dataclass(frozen=True, slots=True)
class Cell:
    """The result of a cell, which `Interpreter.run` returns.

    :ivar result: Value of the cell's last expression as `repr` shows it. None if the last statement
        is no expression, or its value is None.
    :ivar stdout: Standard output of the cell, its threads and its child processes. U+FFFD replaces
        bytes that are not UTF-8.
    :ivar stderr: Standard error, in the same form.
    :ivar displays: The objects that the cell has displayed, and the figures that it left open.
    :ivar error: The exception that ended the cell, or None.
    :ivar exit_status: The exit status if SystemExit ended the cell, for example by `exit(2)`;
        otherwise None. The interpreter continues after SystemExit.
    :ivar timed_out: True if the cell exceeded its time limit.
    :ivar killed: True if the processes that the cell had started were killed, because an interrupt
        did not end the cell in time.
    :ivar dropped: Number of bytes of output and displays that exceeded `max_output`.
    :ivar duration: Time from the request until the result arrived, in seconds.
    """

    result: str | None
    stdout: str
    stderr: str
    displays: tuple[Display, ...]
    error: CellError | None
    exit_status: int | None
    timed_out: bool
    killed: bool
    dropped: int
    duration: float

    @property
    def ok(self) -> bool:
        """True if the cell has ended without an exception."""
        return self.error is None
