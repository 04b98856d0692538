"""Runs a program in an interpreter as `python3 FILE` does, in a single cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from microvm.cli.python.standard_input import StandardInput

# This text is executed in the guest, so it is valid for Python 3.8. `source` is the program as
# bytes, `name` is the name of its file, `arguments` are its arguments, `main` are the global
# variables of the cells, and the prompt of each question for standard input begins with `secret`.
# The traceback begins with the program's own first frame. At the end of the program, `finally`
# waits for threads, as Python does.
_LAUNCHER = """
import builtins, io, linecache, sys, threading
sys.argv[:] = arguments
ask, cells_input = builtins.input, sys.stdin
class Input(io.RawIOBase):
    def readable(self):
        return True
    def readinto(self, buffer):
        try:
            data = ask("%s %d" % (secret, len(buffer))).encode("latin-1")
        except EOFError:
            return 0
        buffer[:len(data)] = data
        return len(data)
def input(prompt="", /):
    print(prompt, end="", flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError("EOF when reading a line")
    return line[:-1] if line[-1] == "\\n" else line
sys.stdin = io.TextIOWrapper(io.BufferedReader(Input()), "utf-8", "surrogateescape")
if not is_terminal:
    builtins.input = input
lines = source.decode(errors="replace").splitlines(True)
linecache.cache[name] = len(source), None, lines, name
if is_file:
    main["__file__"] = name
try:
    try:
        exec(compile(source, name, "exec", dont_inherit=True), main)
    finally:
        for thread in threading.enumerate():
            if not thread.daemon and thread is not threading.current_thread():
                thread.join()
        sys.stdin, builtins.input = cells_input, ask
except SystemExit as error:
    if error.code is None or isinstance(error.code, int):
        raise
    print(error.code, file=sys.stderr)
    sys.exit(1)
except BaseException as error:
    error = error.with_traceback(error.__traceback__.tb_next)
    show = sys.excepthook
    if show is sys.__excepthook__:  # before Python 3.13, it reads lines from a file
        from traceback import print_exception as show
    show(type(error), error, error.__traceback__)
    sys.exit(130 if isinstance(error, KeyboardInterrupt) else 1)
"""

LAST_CELL = "__import__('atexit')._run_exitfuncs()"
"""The cell that runs after a program, and calls the functions of `atexit`.

One of these functions closes all figures of matplotlib. Figures are displayed at the end of a cell,
so the functions must not be called in the cell of the program.
"""


@dataclass(frozen=True, slots=True)
class Program:
    """A Python program to run instead of the prompt.

    :ivar name: Name of the program in tracebacks, such as its path or `<string>`.
    :ivar arguments: The content of `sys.argv`.
    :ivar is_file: True if `name` is the value of the variable `__file__`.
    """

    source: bytes
    name: str
    arguments: Sequence[str]
    is_file: bool = False

    @property
    def folder(self) -> Path:
        """Folder of the host in which `python3` would search for the program's modules."""
        return Path(self.name).parent if self.is_file else Path()


def cell_of(program: Program, standard_input: StandardInput) -> str:
    """Return the code of a cell that runs a program with this standard input."""
    given = {
        **{field.name: getattr(program, field.name) for field in fields(program)},
        "secret": standard_input.secret,
        "is_terminal": standard_input.is_terminal,
    }
    return f"exec({_LAUNCHER!r}, {{**{given!r}, 'main': globals()}})"
