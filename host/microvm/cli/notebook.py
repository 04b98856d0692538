"""The IPython magic `%%microvm`, which runs the cells of a notebook in machines.

A machine keeps its files and background processes from cell to cell. It runs until the notebook's
kernel exits or `%microvm stop` is run. See docs/notebooks.md.
"""

from __future__ import annotations

import atexit
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from microvm.cli import names, parameters, snapshot_parameters, standard_streams
from microvm.cli.cell_events import CellLimits
from microvm.cli.notebook_cell import STDERR, STDOUT, Write, run_cell
from microvm.cli.notebook_python import PythonCell
from microvm.errors import ImageError, InterpreterDied, MachineError, MicroVMError
from microvm.images import Image, readymade
from microvm.images import load as load_image
from microvm.option import ParsedOptions, complete_options, options_of
from microvm.options import ExecOptions, ImageOptions, PoolOptions
from microvm.sync import AttachedVM, Interpreter, MicroVM

if TYPE_CHECKING:
    from microvm.machine.snapshot import Snapshot

NAME = "microvm"
KINDS = ("line", "cell")

Start = tuple[str, ...]

_SH = ("sh",)
_PYTHON = re.compile(r"python[0-9.]*")

# The options of commands that also apply to cells of an interpreter.
_LIMITS = ("timeout", "grace")

# This variable lets Python in the machine write its output immediately, so that a cell shows it.
_UNBUFFERED = {b"PYTHONUNBUFFERED": b"1"}

HELP = """Run a cell in a virtual machine.

The cell is run by Python if the image is a Python image, else by sh. If CMD is given, CMD is run
instead, and reads the cell from its standard input. `%microvm CMD` runs a command without a cell.

There is one machine for each image or snapshot. It keeps its files and background processes from
cell to cell. Python also keeps its variables, and shows the value of a cell's last expression.
All other cells are run by new processes. `%microvm` lists the machines, and `%microvm stop` stops
all of them. `%microvm OPTIONS stop` stops the machine with these options, and `%microvm OPTIONS
restart` restarts it. The options of a machine are those of the cell that started it.

Output is shown while the cell runs. An exit status other than 0 raises an error. Interrupting the
kernel interrupts the command.
"""


@click.command(
    f"%%{NAME}",
    help=HELP,
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
)
@parameters.options(ImageOptions, "run")
@snapshot_parameters.from_snapshot
@parameters.option(
    "--name NAME",
    "Run the cell in a machine that `microvm start NAME` has started. The notebook does not "
    "stop it.",
)
@click.option("--rm", is_flag=True, help="Run the cell in a new machine, and delete it afterwards.")
@parameters.option(
    "--machine NAME",
    "Store the machine in this variable, as a microvm.sync.MicroVM, for example to copy files "
    "or save snapshots. A Python image has a microvm.sync.Interpreter instead, with the machine "
    "as its attribute `vm`.",
)
@parameters.option("--out NAME", "Store the standard output in this variable.")
@parameters.option("--err NAME", "Store the standard error in this variable.")
@click.option(
    "--no-raise-error",
    "quiet",
    is_flag=True,
    help="Do not raise an error for an exit status other than 0. The variable `_exit_code` "
    "contains the status, or -N for signal N.",
)
@click.option(
    "--trust-html",
    is_flag=True,
    help="Show also HTML and JavaScript that the cell displays. They can control the notebook.",
)
@parameters.options(PoolOptions, "run")
@parameters.options(ExecOptions, "run")
@click.argument("words", nargs=-1, metavar="[--] [CMD [ARG]...]")
def _line() -> None:
    """Declare the options of `%%microvm`. click only parses them, and never calls this function."""


# Remove the option `-t`, because a cell has no terminal.
_line.params = [parameter for parameter in _line.params if parameter.name != "tty"]


def load(shell: Any) -> None:
    """Register the magic in IPython. `%load_ext microvm` calls this function."""
    notebook = Notebook(shell)
    with _line.make_context(_line.name, [], resilient_parsing=True) as context:
        Notebook.microvm.__doc__ = _line.get_help(context)
    for kind in KINDS:
        shell.register_magic_function(notebook.microvm, kind, NAME)


def unload(shell: Any) -> None:
    """Remove the magic, and stop its machines. `%unload_ext microvm` calls this function."""
    for kind in KINDS:
        magic = shell.magics_manager.magics[kind].pop(NAME, None)
        if isinstance(owner := getattr(magic, "__self__", None), Notebook):
            owner.close()


@dataclass(frozen=True, slots=True)
class _CellMachine:
    """A machine that runs cells of a notebook, with the command that interprets the cells.

    :ivar interpreter: Command that gets the text of a cell as its standard input, if the cell's
        first line contains no command.
    :ivar options: Options that the machine was started with; empty for a named machine.
    :ivar python: The Python that runs such cells instead of `interpreter`, or None.
    """

    vm: MicroVM | AttachedVM
    interpreter: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    python: Interpreter | None = None

    def stop(self) -> None:
        """Stop the machine."""
        if self.python is None:
            self.vm.stop()
        else:
            self.python.close()


class Notebook:
    """The magic `%%microvm` of a notebook, with one machine for each image or snapshot it uses."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._machines: dict[Start, _CellMachine] = {}
        atexit.register(self.close)

    def close(self) -> None:
        """Stop all machines of the notebook. A second call has no effect."""
        atexit.unregister(self.close)
        self._end(*self._machines)

    def microvm(self, line: str, cell: str | None = None) -> None:
        """Run the magic for a cell, or a line if `cell` is None. `load` sets this method's help."""
        with _shown_briefly():
            try:
                context = _line.make_context(_line.name, shlex.split(line))
            except click.exceptions.Exit:
                return  # the line contains --help, and click has already printed the help
            except ValueError as error:
                raise click.UsageError(f"{line}: {error}") from None
            start = _start_of(context)
            match cell, context.params["words"]:
                case None, ():
                    for each, machine in self._machines.items():
                        print(f"{shlex.join(each) or 'the default'}: {machine.vm!r}")
                case None, ("stop",):
                    self._end(*([start] if start else self._machines))
                case None, ("restart",):
                    self._end(start)
                    self._machine(context, start)
                case _, command:
                    self._run(context, start, command, cell)

    def _end(self, *starts: Start) -> None:
        for start in starts:
            if machine := self._machines.pop(start, None):
                machine.stop()

    def _machine(self, context: click.Context, start: Start) -> _CellMachine:
        """Return the machine for `start`, an image or snapshot; start one if none is running."""
        options = _machine_options(context.params)
        if start not in self._machines:
            self._machines[start] = _start(context.params, options)
        machine = self._machines[start]
        for name in _given_options(context, PoolOptions):
            if options[name] != machine.options[name]:
                again = " ".join((f"%{NAME}", *start, f"--{name} … restart"))
                raise click.UsageError(
                    f"the machine was started with another --{name}: "
                    f"use `{again}` to restart it, or --rm to run this cell in a new machine"
                )
        return machine

    @contextmanager
    def _used(self, context: click.Context, start: Start) -> Iterator[_CellMachine]:
        """Context manager that yields a cell's machine: a named one, a new one or a shared one.

        With `--rm`, the machine is stopped after the cell. With `--name`, this process only
        disconnects from the machine.
        """
        params = context.params
        if params["name"] is not None:
            machine = _attach(params["name"])
            try:
                yield machine
            finally:
                cast(AttachedVM, machine.vm).detach()
        elif params["rm"]:
            machine = _start(params, _machine_options(params))
            try:
                yield machine
            finally:
                machine.stop()
        else:
            try:
                yield self._machine(context, start)
            except (MachineError, InterpreterDied) as error:
                self._end(start)
                error.hint = ""  # the next cell starts Python again, so the user need not do it
                failed = "Python has died" if isinstance(error, InterpreterDied) else "it failed"
                standard_streams.notify(
                    f"the machine is stopped, because {failed}, and its files are lost; the next "
                    "cell starts a new one"
                )
                raise

    def _run(
        self, context: click.Context, start: Start, command: tuple[str, ...], cell: str | None
    ) -> None:
        params, variables = context.params, self._shell.user_ns
        options = parameters.given_options(ExecOptions, params)
        options["env"] = cast(Any, {**_UNBUFFERED, **cast(Any, options.get("env") or {})})
        stored_in = {STDOUT: params["out"], STDERR: params["err"]}
        stored = {name: "" for name in stored_in.values() if name}

        def write(number: int, text: str) -> None:
            if name := stored_in[number]:
                stored[name] += text
            else:
                print(text, end="", file=sys.stdout if number == STDOUT else sys.stderr, flush=True)

        with self._used(context, start) as machine:
            if params["machine"]:
                # Store the machine in the variable that the user has named. The connection to a
                # named machine is closed after the cell, so open another connection for the
                # variable.
                name = params["name"]
                own = machine.python or machine.vm
                variables[params["machine"]] = MicroVM.attach(name) if name else own
            argv = command or machine.interpreter
            error: Exception | None
            try:
                if machine.python is None or command or cell is None:
                    status = run_cell(machine.vm, argv, options, cell, write)
                    error = CalledProcessError(status, shlex.join(argv)) if status else None
                else:
                    status, error = _python_cell(context, cell, write).run(machine.python)
            finally:
                variables.update(stored)
        variables["_exit_code"] = status
        if error is not None and not params["quiet"]:
            raise error


def _given_options(context: click.Context, kind: Any) -> list[str]:
    """Return the names of the options of the class `kind` that the user has typed."""
    line = ParameterSource.COMMANDLINE
    return [name for name in options_of(kind) if context.get_parameter_source(name) is line]


def _start_of(context: click.Context) -> Start:
    """Return the options that name the image or snapshot to start; empty for the default image."""
    image, snapshot = context.params["image"], context.params["snapshot"]
    if context.params["name"] is not None:
        own = {"snapshot": "from", "rm": "rm"}
        given = [*_given_options(context, ImageOptions), *_given_options(context, PoolOptions)]
        given += [own[name] for name in own if context.params[name]]
        if given:
            raise click.UsageError(f"--name is a running machine: leave out --{given[0]}")
        if context.params["words"] in (("stop",), ("restart",)):
            raise click.UsageError("use `microvm stop NAME` to stop a named machine")
        return ()
    if snapshot:
        return ("--from", snapshot)
    return ("--image", image) if image else ()


def _machine_options(params: Mapping[str, Any]) -> ParsedOptions:
    return complete_options(PoolOptions, parameters.given_options(PoolOptions, params))


def _start(params: Mapping[str, Any], options: ParsedOptions) -> _CellMachine:
    image, snapshot = params["image"], params["snapshot"]
    start: Snapshot | Image
    if snapshot is None:
        booted = start = names.find_image(image, options["arch"])
    else:
        start = snapshot_parameters.find(snapshot, image)
        booted = start._find_image()
    notices: list[str] = []
    options = options.replace(notify=notices.append)
    interpreter = _interpreter(booted)
    python = _start_python(start, options) if _PYTHON.fullmatch(interpreter[0]) else None
    if python is None:
        vm = MicroVM._from_options(start, options)
        vm.start()
    else:
        vm = cast(MicroVM, python.vm)
        options = options.replace(memory=vm.memory)
    for notice in notices:
        standard_streams.notify(notice)
    return _CellMachine(vm, interpreter, options, python)


def _start_python(start: Snapshot | Image, options: ParsedOptions) -> Interpreter | None:
    """Start an interpreter from an image or a snapshot; None if the snapshot contains none."""
    given = cast(PoolOptions, {name: options[name] for name in options.given})
    if isinstance(start, Image):
        python = Interpreter(image=start, **given)
    else:
        python = Interpreter(start, **given)
    try:
        python.start()
    except InterpreterDied:
        python.close()
        if isinstance(start, Image):
            raise
        return None
    except BaseException:
        python.close()
        raise
    return python


def _python_cell(context: click.Context, code: str, write: Write) -> PythonCell:
    """Return a cell for a running interpreter, after checking the options of the first line."""
    params = context.params
    if useless := [name for name in _given_options(context, ExecOptions) if name not in _LIMITS]:
        name = options_of(ExecOptions)[useless[0]].setting.replace("_", "-")
        raise click.UsageError(
            f"--{name} has no effect on a Python that runs already: to run this cell by a new "
            "process, write `python3` after the options"
        )
    given = {name: params[name] for name in _LIMITS if params[name] is not None}
    return PythonCell(code, CellLimits(**given), write, trusts_html=params["trust_html"])


def _attach(name: str) -> _CellMachine:
    vm = MicroVM.attach(name)
    try:
        return _CellMachine(vm, _interpreter(load_image(vm.facts["image"])))
    except ImageError:  # use `sh`, because the image was removed after the machine was started
        return _CellMachine(vm, _SH)


def _interpreter(image: Image) -> tuple[str, ...]:
    """Return the command that runs cells: the image's own command, such as python3, or else sh."""
    cmd = image.manifest.config.cmd
    return cmd if len(cmd) == 1 and readymade.having(cmd[0]) else _SH


@contextmanager
def _shown_briefly() -> Iterator[None]:
    """Context manager: IPython shows errors of its block without their useless traceback."""
    try:
        yield
    except click.ClickException as error:
        from IPython.core.error import UsageError

        raise UsageError(error.format_message()) from None
    except (MicroVMError, CalledProcessError, KeyboardInterrupt) as error:
        name, text = type(error).__name__, str(error)
        lines = [f"{name}: {text}" if text else name, *getattr(error, "detail", "").splitlines()]
        vars(error)["_render_traceback_"] = lambda: lines
        raise
