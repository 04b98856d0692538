"""`microvm python`: start Python in a new machine, as a prompt or for one program."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from microvm.cli import (
    copy_parameters,
    docker_hints,
    parameters,
    snapshot_parameters,
    standard_streams,
)
from microvm.cli.copies import Copies, FileCopy
from microvm.option import flag
from microvm.options import ExecOptions, ImageOptions, MachineOptions
from microvm.printable import printable

if TYPE_CHECKING:
    from microvm.cli.python.program import Program


# Options that have no effect at the prompt, and options that only a new interpreter can have.
_OF_PROGRAMS = ("timeout", "grace", "max_output")
_OF_STARTS = ("user", "max_memory", "max_processes")


def _split(context: click.Context, parameter: click.Parameter, text: str) -> tuple[str, ...]:
    """Split a list of packages or modules at the commas between them. A callback for click.

    The commas in `numpy>=2,<3` and `scipy[a,b]` belong to one package.
    """
    del context, parameter
    return tuple(filter(None, map(str.strip, re.split(r",(?=\s*[\w.])(?![^\[]*\])", text))))


@click.command(cls=docker_hints.HintingCommand, context_settings={"allow_interspersed_args": False})
@click.option("-c", "code", metavar="CODE", help="Run CODE instead of a file.")
@parameters.options(ImageOptions, "python")
@snapshot_parameters.from_interpreter
@parameters.option(
    "--packages LIST",
    "Add these Python packages to the image, such as numpy,pandas. They are downloaded once.",
    default="",
    callback=_split,
)
@parameters.option(
    "--imports LIST",
    "Import these modules before the first start is saved, such as json,numpy. Later starts have "
    "them as variables.",
    default="",
    callback=_split,
)
@parameters.option(
    "--save NAME",
    "If the status is 0, save the interpreter as a snapshot of this name, which --from continues.",
    callback=snapshot_parameters.check_name,
)
@copy_parameters.copy("the code")
@copy_parameters.collect("the code")
@parameters.options(MachineOptions, "python")
@parameters.options(ExecOptions, "python")
@parameters.option(
    "--displays DIR",
    "Save the pictures that the code displays, such as figures of matplotlib, in this folder.",
    type=click.Path(file_okay=False, path_type=Path),
)
@parameters.verbose
@click.argument(
    "program", nargs=-1, metavar="[FILE|-] [ARG]...", shell_complete=parameters.complete_files
)
@click.pass_context
def python(
    context: click.Context,
    /,
    code: str | None,
    program: tuple[str, ...],
    image: str | None,
    snapshot: str | None,
    packages: tuple[str, ...],
    imports: tuple[str, ...],
    save: str | None,
    copy: tuple[FileCopy, ...],
    collect: tuple[FileCopy, ...],
    max_collect: int | None,
    displays: Path | None,
    **options: Any,
) -> None:
    """Start Python in a new machine, then delete the machine.

    Without FILE, Python prompts for code, if standard input is a terminal. The prompt completes
    names with the Tab key, and keeps a history of the lines. Ctrl-D ends it. If standard input is
    no terminal, or FILE is -, the code is read from standard input. Write -- before an ARG that
    begins with - after CODE.

    The first start with an image saves a machine in which Python runs. Later starts clone it. So
    they are faster than `microvm run --image python -- python3`.

    Output is printed unchanged, while it is written. The code reads the standard input of this
    command. Only FILE itself is in the machine: --copy copies the modules and files that it needs,
    and --collect copies the files that it has written out of the machine.
    The exit status is:

    \b
      N       the code called `sys.exit(N)`
      1       the code raised an exception, or called `sys.exit` with a text
      122     the code was killed because it wrote more than --max-output
      124     the code was killed because it ran longer than --timeout
      125     microvm failed; or the code succeeded and a --collect failed
      137     the code exceeded --max-memory, or the guest's memory was exhausted
      128+N   signal N killed Python

    --timeout, --grace and --max-output limit a program: the prompt has no limits of time and
    output. With --user, --max-memory or --max-processes, Python starts in the machine instead of
    being cloned with it, which takes longer, and --save and --from are not possible.

    Ctrl-C raises KeyboardInterrupt in the code. A second Ctrl-C within a second kills the processes
    that the code has started, and the next one kills Python.
    """  # noqa: D301 - `\b` tells click to keep the lines
    from microvm.cli.python import session
    from microvm.cli.python.limits import ProgramLimits

    if snapshot is not None:
        _drop(context, options, _OF_STARTS, "the interpreter of a snapshot runs already")
    elif save is not None:
        _drop(context, options, _OF_STARTS, "--save cannot save an interpreter with that option")
    if snapshot is not None:  # the defaults of these options are for new interpreters
        options["memory"] = _typed(context, "memory")
        snapshot_parameters.check_alone(snapshot, _typed(context, "image"))
        for name, given in (("packages", packages), ("imports", imports)):
            if given:
                raise click.UsageError(f"a snapshot has its {name}: leave out --{name} or --from")
    chosen = _program(code, program)
    if chosen is None:
        _drop(context, options, _OF_PROGRAMS, "it limits programs, and has no effect at the prompt")
    machine = parameters.given_options(MachineOptions, options)
    limits: dict[str, Any] = {**parameters.given_options(ExecOptions, options)}
    status = session.run(
        chosen,
        session.InterpreterOptions(
            machine,
            None if snapshot else image,
            snapshot,
            packages,
            imports,
            cast(ExecOptions, {k: v for k, v in limits.items() if k in _OF_STARTS}),
        ),
        copies=Copies(copy, collect, max_collect),
        limits=ProgramLimits(
            limits.get("timeout"), limits.get("grace") or 0.0, limits.get("max_output")
        ),
        save=save,
        displays=displays,
    )
    standard_streams.leave(status)


def _drop(
    context: click.Context, options: dict[str, Any], names: tuple[str, ...], why: str
) -> None:
    """Remove options that have no effect.

    :param why: The reason, for the error about an option that the user has typed, and for the
        notice about an option that has a preset.
    """
    for name in names:
        if options[name] is None:
            continue
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{flag(name)}: {why}: leave it out")
        standard_streams.notify(f"the preset of {flag(name)} is not used: {why}")
        options[name] = None


def _typed(context: click.Context, name: str) -> Any:
    """Return the value of an option that the user has typed, or None for its default."""
    is_default = context.get_parameter_source(name) is ParameterSource.DEFAULT
    return None if is_default else context.params[name]


def _program(code: str | None, words: tuple[str, ...]) -> Program | None:
    """Return the program that the command line names, or None if the user wants a prompt.

    :param words: The file of the program and its arguments, or only arguments if there is `code`.
    """
    from microvm.cli.python.program import Program

    if code is not None:
        return Program(os.fsencode(code), "<string>", ["-c", *words])
    if words[:1] == ("-",) or not (words or os.isatty(0)):
        return Program(sys.stdin.buffer.read(), "<stdin>", words or [""])
    if not words:
        return None
    try:
        return Program(Path(words[0]).read_bytes(), words[0], words, is_file=True)
    except OSError as error:
        raise click.BadParameter(f"{printable(words[0])}: {error.strerror}") from None
