"""The magic `%%microvm` of IPython, and so of notebooks: cells that run in machines.

A machine lives from cell to cell, with its files and with what its commands have left running, for
as long as the kernel does or until `%microvm stop`: docs/notebooks.md.
"""

from __future__ import annotations

import atexit
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from microvm.cli import names, shared, standard
from microvm.cli.cell import STDERR, STDOUT, run
from microvm.errors import ImageError, MachineError, MicroVMError
from microvm.option import options_of, read_options
from microvm.options import ExecOptions, ImageOptions, PoolOptions
from microvm.sync import AttachedVM, MicroVM
from microvm_image import readymade

if TYPE_CHECKING:
    from microvm.machine.snapshot import Snapshot
    from microvm_image.image import Image

NAME = "microvm"
KINDS = ("line", "cell")

Start = tuple[str, ...]

_SH = ("sh",)

# So that what a cell's Python prints is seen when it is printed, as from the kernel's own.
_UNBUFFERED = {b"PYTHONUNBUFFERED": b"1"}

HELP = """Run a cell in a virtual machine: by sh, or in an image of Python by that.

A CMD is run in their place, and gets the cell on its standard input. `%microvm CMD` runs a command
without a cell.

The machine lives from cell to cell, one for each image or snapshot: files stay, and what was left
running; variables do not, since each cell is a process of its own. `%microvm stop` ends all
machines, `%microvm OPTIONS stop` that of an image, `%microvm OPTIONS restart` starts it anew, and
`%microvm` lists them. A machine has the options of the cell that started it.

Output comes as it is written. A status that is not 0 is an error. Interrupting the kernel
interrupts the command.
"""


@click.command(
    f"%%{NAME}",
    help=HELP,
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
)
@shared.options(ImageOptions, "run")
@shared.from_snapshot
@click.option(
    "--name",
    metavar="NAME",
    help="Run it in a machine that `microvm start NAME` has left running; nothing here ends that.",
)
@click.option("--rm", is_flag=True, help="Run it in a machine of its own, which is gone after.")
@click.option(
    "--machine",
    metavar="NAME",
    help="Keep the machine itself in a variable: a microvm.sync.MicroVM, for files and snapshots.",
)
@click.option("--out", metavar="NAME", help="Keep standard output in a variable of that name.")
@click.option("--err", metavar="NAME", help="Keep standard error in a variable of that name.")
@click.option(
    "--no-raise-error",
    "quiet",
    is_flag=True,
    help="A status that is not 0 is no error; `_exit_code` has it, -N for signal N.",
)
@shared.options(PoolOptions, "run")
@shared.options(ExecOptions, "run")
@click.argument("words", nargs=-1, metavar="[--] [CMD [ARG]...]")
def _line() -> None:
    """Declare what a line of the magic may have; it is only parsed."""


# A cell is no terminal.
_line.params = [parameter for parameter in _line.params if parameter.name != "tty"]


def load(shell: Any) -> None:
    """Give IPython the magic; `%load_ext microvm` calls it."""
    notebook = Notebook(shell)
    with _line.make_context(_line.name, [], resilient_parsing=True) as context:
        Notebook.microvm.__doc__ = _line.get_help(context)
    for kind in KINDS:
        shell.register_magic_function(notebook.microvm, kind, NAME)


def unload(shell: Any) -> None:
    """Take the magic away, and end its machines; `%unload_ext microvm` calls it."""
    for kind in KINDS:
        magic = shell.magics_manager.magics[kind].pop(NAME, None)
        if isinstance(owner := getattr(magic, "__self__", None), Notebook):
            owner.close()


@dataclass(frozen=True, slots=True)
class _Machine:
    """A machine for cells.

    :ivar interpreter: what runs cells that say nothing else.
    :ivar options: what it has been started with; nothing of one that has a name.
    """

    vm: MicroVM | AttachedVM
    interpreter: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


class Notebook:
    """The machines of a notebook, by the options that say what each starts from."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._machines: dict[Start, _Machine] = {}
        atexit.register(self.close)

    def close(self) -> None:
        """End all machines; idempotent."""
        atexit.unregister(self.close)
        self._end(*self._machines)

    def microvm(self, line: str, cell: str | None = None) -> None:
        """Run a cell, or what a line says; `load` gives it its help."""
        with _shown_briefly():
            try:
                context = _line.make_context(_line.name, shlex.split(line))
            except click.exceptions.Exit:
                return  # it was `--help`
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
                machine.vm.stop()

    def _machine(self, context: click.Context, start: Start) -> _Machine:
        """Return the notebook's machine that a line asks for, started if need be."""
        asked = shared.given(PoolOptions, context.params)
        if start not in self._machines:
            self._machines[start] = _start(context.params, asked)
        machine, options = self._machines[start], read_options(PoolOptions, asked)
        for name in _said(context, PoolOptions):
            if options[name] != machine.options[name]:
                again = " ".join((f"%{NAME}", *start, f"--{name} … restart"))
                raise click.UsageError(
                    f"the machine has been started with another --{name}: "
                    f"`{again}` starts it anew, or --rm takes one for this cell alone"
                )
        return machine

    @contextmanager
    def _used(self, context: click.Context, start: Start) -> Iterator[_Machine]:
        """Yield the machine that a line asks for; what is this cell's alone is given back."""
        params = context.params
        if params["name"] is not None:
            machine = _attach(params["name"])
            try:
                yield machine
            finally:
                cast(AttachedVM, machine.vm).detach()
        elif params["rm"]:
            machine = _start(params, shared.given(PoolOptions, params))
            try:
                yield machine
            finally:
                machine.vm.stop()
        else:
            try:
                yield self._machine(context, start)
            except MachineError:
                self._end(start)
                standard.notify("the machine is gone, with all in it; the next cell starts another")
                raise

    def _run(
        self, context: click.Context, start: Start, command: tuple[str, ...], cell: str | None
    ) -> None:
        params, variables = context.params, self._shell.user_ns
        options = shared.given(ExecOptions, params)
        options["env"] = cast(Any, {**_UNBUFFERED, **cast(Any, options.get("env") or {})})
        kept = _Kept(params["out"], params["err"])
        with self._used(context, start) as machine:
            if params["machine"]:
                name = params["name"]  # whose machine is the cell's only as long as that lasts
                variables[params["machine"]] = MicroVM.attach(name) if name else machine.vm
            argv = command or machine.interpreter
            try:
                status = run(machine.vm, argv, options, cell, kept.write)
            finally:
                variables.update(kept.variables)
        variables["_exit_code"] = status
        if status and not params["quiet"]:
            raise CalledProcessError(status, shlex.join(argv))


class _Kept:
    """The output of a cell: shown, or kept for a variable.

    :ivar variables: the text by the variable's name.
    """

    def __init__(self, out: str | None, err: str | None) -> None:
        self._names = {STDOUT: out, STDERR: err}
        self.variables = {name: "" for name in (out, err) if name}

    def write(self, number: int, text: str) -> None:
        """Take some text of a stream."""
        if name := self._names[number]:
            self.variables[name] += text
        else:
            stream = sys.stdout if number == STDOUT else sys.stderr
            stream.write(text)
            stream.flush()


def _said(context: click.Context, kind: Any) -> list[str]:
    """Return which options of a class the line itself has."""
    line = ParameterSource.COMMANDLINE
    return [name for name in options_of(kind) if context.get_parameter_source(name) is line]


def _start_of(context: click.Context) -> Start:
    """Return the options that say what a machine starts from; none for the default image.

    :raises click.UsageError: there is a name, too, which means a machine that has been started.
    """
    image, snapshot = context.params["image"], context.params["snapshot"]
    if context.params["name"] is not None:
        own = {"snapshot": "from", "rm": "rm"}
        said = [*_said(context, ImageOptions), *_said(context, PoolOptions)]
        said += [own[name] for name in own if context.params[name]]
        if said:
            raise click.UsageError(f"--name is a machine that runs already: no --{said[0]} with it")
        if context.params["words"] in (("stop",), ("restart",)):
            raise click.UsageError("machines that have names are ended by `microvm stop NAME`")
        return ()
    if snapshot:
        return ("--from", snapshot)
    return ("--image", image) if image else ()


def _start(params: Mapping[str, Any], options: PoolOptions) -> _Machine:
    image, snapshot = params["image"], params["snapshot"]
    start: Snapshot | Image
    if snapshot is None:
        booted = start = names.image_of(image)
    else:
        start = shared.snapshot_of(snapshot, image)
        booted = start.find_image()
    notices: list[str] = []
    asked: PoolOptions = {**options, "notify": notices.append}
    vm = MicroVM(start, **asked)
    vm.start()
    for notice in notices:
        standard.notify(notice)
    return _Machine(vm, _interpreter(booted), read_options(PoolOptions, options))


def _attach(name: str) -> _Machine:
    vm = MicroVM.attach(name)
    try:
        return _Machine(vm, _interpreter(readymade.load(vm.facts["image"])))
    except ImageError:  # it has been removed, but not from under those who run it
        return _Machine(vm, _SH)


def _interpreter(image: Image) -> tuple[str, ...]:
    """Return what runs cells in an image: its own command, where that is one that runs scripts."""
    cmd = image.manifest.config.cmd
    return cmd if len(cmd) == 1 and readymade.having(cmd[0]) else _SH


@contextmanager
def _shown_briefly() -> Iterator[None]:
    """Have IPython show what is raised in a few lines: none of the frames is of the user's."""
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
