"""The standard streams of the command itself: what they are, and what becomes of a failed write."""

from __future__ import annotations

import io
import select
import signal
import sys
from typing import TYPE_CHECKING, NoReturn, TextIO

from microvm.printable import printable
from microvm.system import interrupt
from microvm.system.streams import open_missing

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

READER_GONE = 128 + signal.SIGPIPE


class _Output(io.FileIO):
    """A standard output that fails once: what comes later has nowhere to go, and is dropped."""

    _failed = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what can be written.

        :raises SystemExit: the reader has gone, which ends us as the signal would.
        :raises OSError: it cannot be written.
        """
        if not self._failed:
            try:
                return super().write(data)
            except BrokenPipeError:
                self._failed = True
                # Past click and rich: each of them has a status of its own for this.
                raise SystemExit(READER_GONE) from None
            except OSError as error:
                self._failed = True
                raise OSError(error.errno, error.strerror, "standard output") from error
        return memoryview(data).nbytes


class _Errors(io.FileIO):
    """A standard error: where nobody can be told, the status tells."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what can be written."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


class Blocking(io.FileIO):
    """A standard stream that blocks, also where whoever shares it has made it not block."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return what there is, as soon as that is anything; empty at the end."""
        while (data := super().read(size)) is None:
            select.select((self,), (), ())
        return data

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what there is room for, as soon as that is anything."""
        while (written := super().write(data)) is None:
            select.select((), (self,), ())
        return written


def open_all() -> None:
    """Open our standard streams, also where they were closed, and have no later file be one."""
    open_missing()
    sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Errors(2, "w", closefd=False), sys.stderr)


def leave(status: int) -> NoReturn:
    """Exit without taking the interpreter apart, which takes longer than many a command."""
    sys.stdout.flush()
    sys.stderr.flush()
    interrupt.leave(status)


def complain(text: str) -> None:
    """Print a line about what has failed to standard error."""
    print(f"microvm: {printable(text)}", file=sys.stderr)


def notify(text: str) -> None:
    """Print a line that a user may want to see to standard error, but for `--quiet`."""
    from microvm.progress import STDERR

    STDERR.notify(text)


def _text(raw: io.FileIO, before: TextIO | None) -> TextIO:
    """Return a text stream with the encoding that Python had chosen; it had None for a closed."""
    encoding, errors = (before.encoding, before.errors) if before else ("utf-8", "replace")
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, encoding, errors, line_buffering=True)
