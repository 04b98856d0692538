"""The result of `microvm run` as JSON: `--json`, with the output in it, and `--json-file`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from microvm.guest.process import Process

MAX_OUTPUT = 16 << 20
"""The bytes that a command may write where its output is kept, and nothing else is said."""


class Result:
    """The result of a command, which is written for those who ask for it.

    :param file: where to.
    :param keeps: whether the output is in it, which is written to standard output then.
    :ivar argv: its command line, as soon as that is known.
    :ivar kept: both streams of its output, where they are kept.
    :ivar process: its process, as soon as it is started.
    :ivar returncode: that of a command that has ended by itself.
    :ivar failed: why a file could not be collected.
    :ivar status: our own exit status, in the end.
    """

    def __init__(self, file: TextIO | None = None, *, keeps: bool = False) -> None:
        self.argv: Sequence[str] = ()
        self.kept = (bytearray(), bytearray()) if keeps else None
        self.process: Process | None = None
        self.returncode: int | None = None
        self.failed: Exception | None = None
        self.status: int | None = None
        self._file = sys.stdout if keeps else file
        self._seconds = 0.0

    @property
    def is_asked_for(self) -> bool:
        """Whether the result is written for a program, rather than for a user at a terminal."""
        return self._file is not None

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure the block: the command, with what is copied before it and after."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self._seconds = time.monotonic() - begun

    @contextmanager
    def written(self) -> Iterator[None]:
        """Write the result at the end of the block, whichever way that is left."""
        try:
            yield
        except Exception as error:
            self._write(error)
            raise
        self._write(self.failed)

    def _write(self, error: Exception | None) -> None:
        if self._file is None:
            return
        from microvm.jobs.ending import facts, status

        # A signal has ended us where our status is another than what the command's end makes it.
        if self.status is not None and self.status != status(self.returncode, error):
            self.returncode = None
        shown = facts(
            self.argv,
            returncode=self.returncode,
            error=error,
            output=self.kept and (bytes(self.kept[0]), bytes(self.kept[1])),
            seconds=self._seconds,
            memory=getattr(self.process, "memory", None),
        )
        if self.status is not None:
            shown["status"] = self.status
        print(json.dumps(shown), file=self._file, flush=True)
