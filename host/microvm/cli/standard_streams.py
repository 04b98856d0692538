"""The standard streams of the command `microvm`, and the handling of failed writes to them."""

from __future__ import annotations

import io
import signal
import sys
from select import POLLIN, POLLOUT
from typing import TYPE_CHECKING, NoReturn, TextIO

from microvm.printable import printable
from microvm.system import interrupt
from microvm.system.descriptors import open_missing, wait_ready

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

READER_GONE = 128 + signal.SIGPIPE


class _Output(io.FileIO):
    """Standard output. The first write that fails raises an error; later output is discarded."""

    _failed = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Write bytes to standard output, and return their number.

        :raises SystemExit: Raised if the process that reads the output, such as `head`, has closed
            the pipe. The exit status is the one that SIGPIPE would cause.
        """
        if not self._failed:
            try:
                return super().write(data)
            except BrokenPipeError:
                self._failed = True
                # Raise SystemExit with the status that docs/exit-status.md lists. For a
                # BrokenPipeError, click and rich would exit with another status.
                raise SystemExit(READER_GONE) from None
            except OSError as error:
                self._failed = True
                raise OSError(error.errno, error.strerror, "standard output") from error
        return memoryview(data).nbytes


class _ErrorOutput(io.FileIO):
    """Standard error. Failed writes are ignored, because no stream is left to report them."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write bytes to standard error, and return their number even if the write fails."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


class BlockingStream(io.FileIO):
    """A standard stream whose calls wait, even if another process has set O_NONBLOCK for it."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Wait until the stream has data, and return it. Return b"" at the end of the stream."""
        while (data := super().read(size)) is None:
            wait_ready({self.fileno(): POLLIN})
        return data

    def write(self, data: ReadableBuffer, /) -> int:
        """Wait until data can be written, and return the number of bytes written."""
        while (written := super().write(data)) is None:
            wait_ready({self.fileno(): POLLOUT})
        return written


def open_all() -> None:
    """Open the standard streams of this process, and replace those that the parent has closed.

    Otherwise the next opened file would get the file descriptor of a closed standard stream.
    """
    open_missing()
    sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_ErrorOutput(2, "w", closefd=False), sys.stderr)


def leave(status: int) -> NoReturn:
    """Exit without Python's normal shutdown, which takes longer than many commands."""
    sys.stdout.flush()
    sys.stderr.flush()
    interrupt.leave(status)


def print_error(text: str) -> None:
    """Print an error message to standard error."""
    print(f"microvm: {printable(text)}", file=sys.stderr)


def notify(text: str) -> None:
    """Print a notice to standard error, unless `--quiet` is given."""
    from microvm.progress import STDERR

    STDERR.notify(text)


def _text(raw: io.FileIO, before: TextIO | None) -> TextIO:
    """Return a text stream for `raw`, with the encoding of the stream that it replaces.

    :param before: Stream that is replaced, or None if it was closed; the encoding is then UTF-8.
    """
    encoding, errors = (before.encoding, before.errors) if before else ("utf-8", "replace")
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, encoding, errors, line_buffering=True)
