"""Reporters, which show the progress of a build to the user."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from microvm.printable import printable
from microvm.units import exact_size

if TYPE_CHECKING:
    from rich.progress import Progress

FIRST_LINE = 5.0
"""Number of seconds after which a step gets a line that shows its progress, without a terminal."""
NEXT_LINE = 15.0
"""Number of seconds between two such lines."""


class Reporter(Protocol):
    """An object that shows the progress of a build of an image to the user."""

    def step(self, text: str) -> None:
        """Begin the next step of the build. The text describes the step, without a full stop."""

    def advance(self, done: int, total: int | None) -> None:
        """Report that `done` of the `total` units of the current step, such as bytes, are done.

        If the total is unknown, it is None, and the unit is a byte.
        """

    def line(self, text: str) -> None:
        """Show a line of the output of a command that the build runs."""

    def notice(self, text: str) -> None:
        """Show a message that remains visible after the build."""


class NullReporter:
    """A reporter that shows nothing. It is the default of the library."""

    def step(self, text: str) -> None: ...
    def advance(self, done: int, total: int | None) -> None: ...
    def line(self, text: str) -> None: ...
    def notice(self, text: str) -> None: ...


class NoticeReporter(NullReporter):
    """A reporter that passes notices to a function, and shows nothing else.

    A step that takes long gets a notice about its progress now and then.
    """

    def __init__(self, notify: Callable[[str], object]) -> None:
        self._notify = notify
        self._step = ""
        self._begun = time.monotonic()
        self._next = self._begun + FIRST_LINE

    def step(self, text: str) -> None:
        self._step = text
        self._begun = time.monotonic()
        self._next = self._begun + FIRST_LINE

    def advance(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + NEXT_LINE
        share = f"{100 * done // total} %" if total else exact_size(done)
        self.notice(f"{self._step}: {share} after {now - self._begun:.0f} s")

    def notice(self, text: str) -> None:
        self._notify(text)


class LineReporter(NoticeReporter):
    """A reporter that prints each step, notice and line of output on standard error."""

    def __init__(self) -> None:
        super().__init__(self._print)

    def step(self, text: str) -> None:
        super().step(text)
        self._print(text)

    def line(self, text: str) -> None:
        print(printable(text), file=sys.stderr, flush=True)

    def _print(self, text: str) -> None:
        print(f"microvm: {printable(text)}", file=sys.stderr, flush=True)


class TerminalReporter:
    """A reporter that shows a progress bar, and removes it at the end. Notices remain visible."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def step(self, text: str) -> None:
        progress = self._started()
        for task in progress.task_ids:
            progress.remove_task(task)
        progress.add_task(printable(text), total=None)

    def advance(self, done: int, total: int | None) -> None:
        progress = self._started()
        progress.update(progress.task_ids[-1], completed=done, total=total)

    def line(self, text: str) -> None:
        self._started().console.print(printable(text), markup=False, highlight=False)

    def notice(self, text: str) -> None:
        self.line(f"microvm: {text}")

    def close(self) -> None:
        if self._progress:
            self._progress.stop()

    def _started(self) -> Progress:
        if self._progress is None:
            # Imported here, because importing rich is slow, and most commands build nothing.
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
        return self._progress


class _Stderr:
    """Settings for messages on the standard error of this process, such as `--quiet`."""

    def __init__(self) -> None:
        self.quiet = False

    def notify(self, text: str) -> None:
        """Print a line for the user, unless `--quiet` is given."""
        if not self.quiet:
            LineReporter().notice(text)

    @property
    def moves(self) -> bool:
        """True if standard error is a terminal that supports a progress bar."""
        terminal = os.environ.get("TERM", "")
        return not self.quiet and sys.stderr.isatty() and terminal not in ("", "dumb", "unknown")


STDERR = _Stderr()
"""The settings for messages of this process. The option `--quiet` changes them."""


@contextmanager
def on_stderr() -> Iterator[Reporter]:
    """Context manager that yields a reporter: a progress bar on a terminal, or else plain lines."""
    if not STDERR.moves:
        yield NullReporter() if STDERR.quiet else LineReporter()
        return
    terminal = TerminalReporter()
    try:
        yield terminal
    finally:
        terminal.close()
