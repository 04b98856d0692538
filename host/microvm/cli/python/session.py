"""Implements `microvm python`: starts an interpreter, and gives it a program or the prompt."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

from microvm.cli import failures, names, signals, snapshot_parameters, standard_streams
from microvm.cli.copies import Copies
from microvm.cli.python import missing_module, program, prompt
from microvm.cli.python.console import PythonConsole
from microvm.cli.python.limits import ProgramLimits
from microvm.cli.python.program import Program
from microvm.concurrency.loop import BackgroundLoop
from microvm.errors import ExecKilled, InterpreterDied
from microvm.interpreter.cell import Cell
from microvm.interpreter.interpreter import Interpreter
from microvm.options import ExecOptions, MachineOptions
from microvm.printable import printable
from microvm.start.snapshots import check_room

_IMAGE = "python"
_VERSION = "display(__import__('sys').version.split()[0])"
_VERSION_TIMEOUT = 10.0
_VERSION_SIZE = 1024

_CHECKPOINT = "`Interpreter.checkpoint` saves snapshots that contain an interpreter"

_KILLED = 128 + SIGKILL  # exit status if Python was killed, also because memory was exhausted


@dataclass(frozen=True, slots=True)
class InterpreterOptions:
    """The options that say how an interpreter starts.

    :ivar snapshot: Name of the snapshot that contains the interpreter, or None.
    :ivar packages: Python packages to add to the image.
    :ivar imports: Names of modules to import before the template is saved.
    :ivar limits: User, memory limit and process limit of the interpreter, as far as they are given.
        With any of them, Python is started in the machine instead of being cloned with it.
    """

    machine: MachineOptions
    image: str | None
    snapshot: str | None
    packages: Sequence[str]
    imports: Sequence[str]
    limits: ExecOptions

    def interpreter(self) -> Interpreter:
        """Return an interpreter that has not been started."""
        machine: MachineOptions = {**self.machine, "notify": standard_streams.notify}
        if self.snapshot is not None:
            return Interpreter(snapshot_parameters.find(self.snapshot, self.image), **machine)
        image = names.find_image(self.image or _IMAGE, machine.get("arch"))
        if self.limits:
            return Interpreter._limited(image, self.packages, self.imports, machine, self.limits)
        return Interpreter(image=image, packages=self.packages, imports=self.imports, **machine)


def run(
    given: Program | None,
    start: InterpreterOptions,
    *,
    copies: Copies,
    limits: ProgramLimits,
    save: str | None,
    displays: Path | None,
) -> int:
    """Run a program, or the prompt if `given` is None. Return the exit status of this process.

    :param limits: Limits of the program. The prompt has none.
    :param save: Name of the snapshot to save if the status is 0, or None.
    :param displays: Folder in which the pictures of the program are saved, or None.
    """
    if save is not None:
        check_room()
    interpreter = start.interpreter()
    how: ExecOptions = {**start.limits}
    if limits.timeout is not None:
        how["timeout"] = limits.timeout
    loop = BackgroundLoop(interpreter.close, str, "interpreter")
    with signals.exit_on_signal():
        try:
            loop.run(interpreter.start())
            loop.run(copies.put(interpreter.vm, how))
            console = PythonConsole(loop, interpreter, displays, limits)
            is_saved = save is not None
            try:
                if given:
                    with _limited(limits, printable(given.name)):
                        status = _run(console, given, is_saved=is_saved)
                else:
                    status = _prompt(console)
            except (InterpreterDied, ExecKilled):
                loop.run(copies.get(interpreter.vm, how))
                raise
            failed = loop.run(copies.get(interpreter.vm, how))
            status = status or (failed.exit_status if failed else 0)
            if save is not None and status == 0:
                loop.run(interpreter.checkpoint(save))
                return status
        except InterpreterDied as error:
            status = _status_of(error, _CHECKPOINT if start.snapshot else "")
        except ExecKilled as error:
            failures.show(error)
            status = error.exit_status
        finally:
            loop.close()
    if save is not None:
        why = f"the status is {status}" if status else "Python has exited"
        standard_streams.print_error(f"no snapshot {save} was saved: {why}")
    return status


@contextmanager
def _limited(limits: ProgramLimits, program: str) -> Iterator[None]:
    """Context manager: limit the cells of its block.

    :raises ExecKilled: If a limit was exceeded, also if the interpreter was killed because of it.
    """
    limits.begin()
    try:
        yield
    except InterpreterDied:
        limits.check(program)
        raise
    limits.check(program)


def _run(console: PythonConsole, given: Program, *, is_saved: bool) -> int:
    """Run a program, and return its exit status.

    :param is_saved: True if the interpreter is saved unless the program fails. A saved interpreter
        continues later, so the functions of `atexit` are not called.
    """
    cell = console.run(program.cell_of(given, console.standard_input))
    status = cell.exit_status
    if status is None:
        status = 0 if cell.ok else 1
    console.limits.check(printable(given.name))
    if status or not is_saved:
        console.run(program.LAST_CELL)
    if cell.exit_status is None:
        prompt.show(cell)
    if status and (hint := missing_module.hint(console.errors, given.folder)):
        standard_streams.notify(hint)
    return status


def _prompt(console: PythonConsole) -> int:
    version = console.evaluate(_VERSION, timeout=_VERSION_TIMEOUT, max_output=_VERSION_SIZE)
    standard_streams.notify(f"Python {version.strip()} in a new machine; press Ctrl-D to exit")
    with prompt.without_ctrl_c(), prompt.editing(console, prompt.history_file()):
        for code in prompt.cells():
            cell = console.run(code)
            if cell.exit_status is not None:
                return _exit(cell, cell.exit_status)
            prompt.show(cell)
    return 0


def _exit(cell: Cell, status: int) -> int:
    """Return the exit status of `exit()` at the prompt. Print the text of `exit("text")`."""
    if status == 1 and cell.error is not None and cell.error.message != "1":
        sys.stderr.write(f"{cell.error.message}\n")
    return status


def _status_of(error: InterpreterDied, hint: str) -> int:
    """Return the exit status of this process after the death of the interpreter.

    :param hint: Hint for an interpreter that does not answer.
    :raises InterpreterDied: If the interpreter does not answer, or breaks its protocol.
    """
    match error.cause:
        case "exited":
            return error.status
        case "killed":
            return _KILLED
        case "signal":
            standard_streams.print_error(error.message)
            return 128 + error.status
        case "memory":
            standard_streams.print_error(error.message)
            return _KILLED
    error.hint = hint
    raise error
