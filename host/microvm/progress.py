"""The progress of a build, as reported to its user."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from microvm.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress


class Reporter(Protocol):
    """A receiver of progress."""

    def step(self, text: str) -> None:
        """Begin the next step of the work; `text` names it, without a full stop."""

    def advance(self, done: int, total: int | None) -> None:
        """Report how far this step is, in its own units; `total` is None where nobody knows."""

    def line(self, text: str) -> None:
        """Show a line that a command of the work has written, as it comes."""

    def notice(self, text: str) -> None:
        """Tell the user something that stays true after the work."""


class NullReporter:
    """A reporter that tells nobody; the default of the library."""

    def step(self, text: str) -> None:
        """Ignore the step."""

    def advance(self, done: int, total: int | None) -> None:
        """Ignore the progress."""

    def line(self, text: str) -> None:
        """Ignore the line."""

    def notice(self, text: str) -> None:
        """Ignore the notice."""


class NoticeReporter(NullReporter):
    """A reporter that passes notices on, and nothing else."""

    def __init__(self, notify: Callable[[str], object]) -> None:
        self._notify = notify

    def notice(self, text: str) -> None:
        """Pass the notice on."""
        self._notify(text)


class LineReporter:
    """A reporter that prints a plain line for each step and notice to stderr."""

    def step(self, text: str) -> None:
        """Print the step."""
        print(f"microvm: {printable(text)}", file=sys.stderr, flush=True)

    def advance(self, done: int, total: int | None) -> None:
        """Ignore the progress: a log has no use for it."""

    def line(self, text: str) -> None:
        """Print the line as it is."""
        print(printable(text), file=sys.stderr, flush=True)

    def notice(self, text: str) -> None:
        """Print the notice."""
        self.step(text)


class TerminalReporter:
    """A reporter with a line that moves while a step lasts and is gone afterwards; notices stay."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def step(self, text: str) -> None:
        """Show the step in place of the last one."""
        progress = self._started()
        for task in progress.task_ids:
            progress.remove_task(task)
        progress.add_task(printable(text), total=None)

    def advance(self, done: int, total: int | None) -> None:
        """Move the bar."""
        progress = self._started()
        progress.update(progress.task_ids[-1], completed=done, total=total)

    def line(self, text: str) -> None:
        """Print the line above the bar."""
        self._started().console.print(printable(text), markup=False, highlight=False)

    def notice(self, text: str) -> None:
        """Print the notice above the bar."""
        self.line(f"microvm: {text}")

    def close(self) -> None:
        """Remove the bar, and give the terminal back."""
        if self._progress:
            self._progress.stop()

    def _started(self) -> Progress:
        if self._progress is None:
            # Only now: a run that builds nothing does not pay for the import.
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
    """Our standard error, and what is said there beside errors."""

    def __init__(self) -> None:
        self.quiet = False

    def notify(self, text: str) -> None:
        """Print a line for the user, unless `--quiet` is given."""
        if not self.quiet:
            LineReporter().notice(text)

    @property
    def moves(self) -> bool:
        """Whether a line may move there: it is a terminal, and one that can do that."""
        terminal = os.environ.get("TERM", "")
        return not self.quiet and sys.stderr.isatty() and terminal not in ("", "dumb", "unknown")


STDERR = _Stderr()
"""The one that this process has; `--quiet` changes it."""


@contextmanager
def on_stderr() -> Iterator[Reporter]:
    """Yield the reporter that suits stderr: moving on a terminal, plain lines elsewhere."""
    if not STDERR.moves:
        yield NullReporter() if STDERR.quiet else LineReporter()
        return
    terminal = TerminalReporter()
    try:
        yield terminal
    finally:
        terminal.close()
