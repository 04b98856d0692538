"""The prompt of `microvm python`, like that of `python3`: with history, completion and editing."""

from __future__ import annotations

import ast
import codeop
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from microvm.cli.python.completion import complete
from microvm.cli.python.console import PythonConsole
from microvm.cli.signals import handler_of_ctrl_c
from microvm.interpreter.cell import Cell

readline: ModuleType | None
try:
    import readline
except ModuleNotFoundError:  # Python was built without it, so lines cannot be edited
    readline = None

_FIRST, _NEXT = ">>> ", "... "
_INDENT = "    "
_HISTORY_LENGTH = 1000


def history_file() -> Path:
    """Return the path of the file with the history of the prompt. Its folder may be missing."""
    import platformdirs

    return Path(platformdirs.user_state_dir("microvm")) / "python-history"


def cells() -> Iterator[str]:
    """Ask the user for code, and yield each cell when it is complete, until the end of file.

    Ctrl-C discards the lines of the current cell.
    """
    is_complete = _completeness()
    lines: list[str] = []
    while True:
        try:
            with handler_of_ctrl_c(signal.default_int_handler):
                line = input(_NEXT if lines else _FIRST)
        except KeyboardInterrupt:
            print("\nKeyboardInterrupt", file=sys.stderr)
            lines.clear()
            continue
        except EOFError:
            print()
            return
        line = line.encode(errors="replace").decode()  # replaces invalid UTF-8
        if readline and line.strip():
            with suppress(ValueError):  # the line contains NUL
                readline.add_history(line)
        lines.append(line)
        code = "\n".join(lines)
        if is_complete(code):
            lines.clear()
            if code.strip():
                yield code


def show(cell: Cell) -> None:
    """Print the value of a cell, or its traceback."""
    if cell.result is not None:
        sys.stdout.buffer.write(f"{cell.result}\n".encode())
        sys.stdout.flush()
    if cell.error is not None:
        sys.stderr.buffer.write(cell.error.traceback.encode(errors="replace"))
        sys.stderr.flush()


@contextmanager
def editing(console: PythonConsole, history: Path) -> Iterator[None]:
    """Context manager: let the user edit lines, complete names, and recall lines of the history."""
    if readline is None:
        yield
        return
    readline.set_auto_history(False)  # answers to `input()` of a cell are not part of the history
    readline.set_history_length(_HISTORY_LENGTH)
    readline.set_completer(_completer(console))
    readline.parse_and_bind("tab: complete")
    with suppress(OSError):
        readline.read_history_file(history)
    try:
        yield
    finally:
        readline.set_completer(None)
        with suppress(OSError):
            history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            history.touch(mode=0o600)
            readline.write_history_file(history)


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Context manager: ignore Ctrl-C, except while the user types a line, and while a cell runs."""
    with handler_of_ctrl_c(lambda *_: None):
        yield


def _completeness() -> Callable[[str], bool]:
    """Return a function that tells whether code is complete, or more lines must follow.

    Code that is invalid here is complete: the Python of the guest, which may be newer, reports it.
    """
    compile_command = codeop.CommandCompiler()
    compile_command.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def is_complete(code: str) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return compile_command(code, symbol="single") is not None
            except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError):
                return True

    return is_complete


def _completer(console: PythonConsole) -> Callable[[str, int], str | None]:
    """Return a function with which readline gets the completions of a word, one by one."""
    found: list[str] = []

    def completion(word: str, number: int) -> str | None:
        nonlocal found
        if readline is None or not readline.get_line_buffer().strip():
            return _INDENT if number == 0 else None
        if number == 0:
            found = complete(console, word)
        return found[number] if number < len(found) else None

    return completion
