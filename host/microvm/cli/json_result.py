"""Writes the result of `microvm run` as JSON, for `--json` and `--json-file`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from microvm.guest.process import Process
    from microvm.ports import Described

MAX_OUTPUT = 16 << 20  # default maximum number of bytes of output that are stored for `--json`


class JsonResult:
    """The result of the command of `microvm run`, which is written for `--json` or `--json-file`.

    :param file: File to write the JSON to, or None to write nothing.
    :param stores_output: True to include the output of the command, and to write the JSON to
        standard output.
    :ivar output: Standard output and standard error of the command, or None if they are not
        included.
    :ivar returncode: Return code of the command, or None if it has not exited by itself.
    :ivar failed: Error of the first file that could not be copied to the host (`--collect`).
    :ivar status: Exit status of `microvm`, or None before the end.
    :ivar ports: Descriptions of the open ports. The JSON object contains them.
    """

    def __init__(self, file: TextIO | None = None, *, stores_output: bool = False) -> None:
        self.argv: Sequence[str] = ()
        self.output = (bytearray(), bytearray()) if stores_output else None
        self.process: Process | None = None
        self.returncode: int | None = None
        self.failed: Exception | None = None
        self.status: int | None = None
        self.ports: Described = {}
        self._file = sys.stdout if stores_output else file
        self._seconds = 0.0

    @property
    def is_asked_for(self) -> bool:
        """True if the user asked for JSON, so that probably a program reads the output."""
        return self._file is not None

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Context manager: measure the time of its block, which runs the command and the copies."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self._seconds = time.monotonic() - begun

    @contextmanager
    def written(self) -> Iterator[None]:
        """Context manager: write the result as JSON when its block ends, even by an exception."""
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

        # If `microvm` was interrupted by a signal, it exits with another status than the one for
        # the command's return code. In this case, write no return code.
        if self.status is not None and self.status != status(self.returncode, error):
            self.returncode = None
        shown = facts(
            self.argv,
            returncode=self.returncode,
            error=error,
            output=self.output and (bytes(self.output[0]), bytes(self.output[1])),
            seconds=self._seconds,
            memory=getattr(self.process, "memory", None),
        )
        if self.status is not None:
            shown["status"] = self.status
        shown |= self.ports
        print(json.dumps(shown), file=self._file, flush=True)
