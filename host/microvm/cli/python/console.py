"""The standard streams of the user as the console of a Python interpreter in a machine."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

from microvm.cli import signals, standard_streams
from microvm.cli.cell_events import CellLimits, CellOutput, CellRunner, Event, Question
from microvm.cli.python.limits import ENDLESS, ProgramLimits
from microvm.cli.python.pictures import Pictures
from microvm.cli.python.standard_input import StandardInput
from microvm.concurrency.loop import BackgroundLoop
from microvm.errors import InterpreterDied
from microvm.interpreter.cell import Cell, Display
from microvm.interpreter.interpreter import Interpreter
from microvm.wire.interpreter import Stream

_TAIL_SIZE = 1 << 12


class PythonConsole:
    """Runs cells of an interpreter with the standard streams of this process.

    The output of a cell is printed unchanged, as `microvm run` prints the output of a command.

    :param pictures: Folder in which the pictures of the cells are saved, or None.
    :param limits: Limits of all cells together. The caller raises the error of an exceeded one.
    :ivar limits: The limits, and how much of them the cells have used.
    :ivar errors: The last bytes that the cells have written to standard error.
    """

    def __init__(
        self,
        loop: BackgroundLoop,
        interpreter: Interpreter,
        pictures: Path | None = None,
        limits: ProgramLimits | None = None,
    ) -> None:
        self._runner = CellRunner(loop, interpreter)
        self._pictures = Pictures(pictures)
        self.limits = limits or ProgramLimits()
        self.standard_input = StandardInput()
        self.errors = b""

    def run(self, code: str) -> Cell:
        """Run a cell, and print its output while it is written. Return the cell's result."""
        limits = self.limits.of_cell()
        # At the timeout, this process may wait for the user's input, which the cell has asked for.
        with (
            nullcontext()
            if limits.timeout is None
            else signals.alarm(limits.timeout, self._runner.give_up_question)
        ):
            try:
                cell = self._runner.run(code, self._handle, limits)
            except InterpreterDied:
                self.limits.timed_out = self.limits.left == 0
                raise
        self.limits.timed_out = cell.timed_out
        if cell.dropped:
            standard_streams.notify(f"displays exceeded their limit: {cell.dropped} bytes dropped")
        return cell

    def evaluate(self, code: str, *, timeout: float, max_output: int) -> str:
        """Run a cell with limits, print its output, and return the text that it displays."""
        shown: list[str] = []

        def handle(event: Event) -> None:
            if isinstance(event, Display):
                shown.append(event.text or "")
            else:
                self._handle(event)

        self._runner.run(code, handle, CellLimits(timeout, ENDLESS, max_output))
        return "".join(shown)

    def _handle(self, event: Event) -> None:
        match event:
            case CellOutput(stream, data):
                if stream is Stream.STDERR:
                    self.errors = (self.errors + data)[-_TAIL_SIZE:]
                self._write(sys.stdout if stream is Stream.STDOUT else sys.stderr, data)
            case Display():
                if event.text and not event.is_result:  # `Cell.result` is the text of a result
                    self._write(sys.stdout, f"{event.text}\n".encode())
                self._pictures.take(event)
            case Question(prompt):
                reads = self.standard_input.is_meant(prompt)
                self._runner.answer(event, self.standard_input.read if reads else None)

    def _write(self, stream: TextIO, data: bytes) -> None:
        """Write output of the cell. Kill the interpreter if it exceeds the limit."""
        is_killed = self.limits.exceeded
        write(stream, self.limits.count(data))
        if self.limits.exceeded and not is_killed:
            self._runner.kill()


def write(stream: TextIO, data: bytes) -> None:
    """Write bytes to a standard stream immediately."""
    stream.flush()
    stream.buffer.write(data)
    stream.buffer.flush()
