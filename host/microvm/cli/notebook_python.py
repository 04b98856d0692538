"""Runs a cell of a notebook in an interpreter, and shows its value, its pictures and its error."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from microvm.cli.cell_events import CellLimits, CellOutput, CellRunner, Event, Question
from microvm.cli.notebook_cell import PAUSE, OutputDecoder, Write
from microvm.errors import ExecTimeout, InterpreterError
from microvm.interpreter.cell import Cell, Display
from microvm.sync import Interpreter
from microvm.wire.interpreter import Stream

# The types of pictures that a page of a notebook shows without executing code in them, except SVG.
_PICTURES = ("image/png", "image/jpeg")
_SVG = "image/svg+xml"

_NAME = "the cell"


@dataclass(frozen=True, slots=True)
class PythonCell:
    """A cell of Python code, and how to run and show it.

    :ivar write: Function that shows output.
    :ivar trusts_html: True to show all representations of a display, which can contain JavaScript.
    """

    code: str
    limits: CellLimits
    write: Write
    trusts_html: bool = False

    def run(self, python: Interpreter) -> tuple[int, InterpreterError | None]:
        """Run the cell, and show its output, its displays, its value and its traceback.

        Return the exit status that Python would have, and the error of the cell or None.

        :raises ExecTimeout: If the cell exceeded its time limit.
        :raises KeyboardInterrupt: If the user has interrupted the cell.
        """
        runner = CellRunner(python._loop, python._original, pause=PAUSE)
        text = OutputDecoder(self.write)
        values: list[Display] = []

        def handle(event: Event) -> None:
            match event:
                case CellOutput(stream, data):
                    text.add(stream, data)
                case Display(is_result=True):
                    values.append(event)
                case Display():
                    self._show(event.data)
                case Question():
                    runner.answer(event)

        cell = runner.run(self.code, handle, self.limits)
        text.end()
        self._show_value(cell, values)
        status = int(cell.error is not None) if cell.exit_status is None else cell.exit_status
        if cell.error is not None and status:
            self.write(Stream.STDERR, cell.error.traceback)
        if runner.interrupted:
            raise KeyboardInterrupt
        if cell.timed_out:
            raise ExecTimeout(_NAME, self.limits.timeout or 0)
        return status, InterpreterError(str(cell.error)) if status else None

    def _show_value(self, cell: Cell, values: list[Display]) -> None:
        if cell.result is not None:
            data = values[-1].data if values else {}
            self._show({"text/plain": cell.result.encode(), **data})

    def _show(self, data: Mapping[str, bytes]) -> None:
        from IPython.display import publish_display_data

        if shown := safe(data, trusts_html=self.trusts_html):
            publish_display_data(shown)  # type: ignore[no-untyped-call]


def safe(data: Mapping[str, bytes], *, trusts_html: bool = False) -> dict[str, str]:
    """Return the representations of a display that a page can show, as Jupyter expects them.

    HTML and JavaScript of a display could control the notebook, so they are left out by default. An
    SVG becomes an image in HTML of our own, because a page can execute scripts in an embedded SVG.
    """
    shown = {kind: base64.b64encode(data[kind]).decode() for kind in _PICTURES if kind in data}
    if not shown and _SVG in data:
        svg = base64.b64encode(data[_SVG]).decode()
        shown["text/html"] = f'<img src="data:{_SVG};base64,{svg}">'
    for kind, content in data.items():
        is_text = kind == "text/plain" or (trusts_html and not kind.startswith("image/"))
        if is_text:
            shown[kind] = content.decode(errors="replace")
    return shown
