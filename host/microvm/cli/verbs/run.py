"""`microvm run`: one command, in one machine that is gone afterwards."""

from __future__ import annotations

from typing import Any

import click

from microvm.cli import habits, launch, shared, standard
from microvm.cli.copies import Copies, Copy
from microvm.cli.result import MAX_OUTPUT, Result
from microvm.option import Option
from microvm.options import ExecOptions, ImageOptions, MachineOptions
from microvm.printable import quoted
from microvm.units import format_size, parse_size


class _Run(habits.Command):
    """A command that must be there, unless an image may have one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if ctx.resilient_parsing:
            return rest
        command = ctx.params.get("command")
        named = any(ctx.params.get(each) for each in ("image", "snapshot", "entrypoint"))
        if not command and not named and ctx.params.get("entrypoint") is None:
            argument = next(each for each in self.params if each.name == "command")
            raise click.MissingParameter(ctx=ctx, param=argument)
        return rest


def _copies(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[Copy, ...]:
    """Read what is to be copied, as a callback of click's."""
    del context, parameter
    copies = []
    for text in texts:
        source, colon, target = text.rpartition(":")
        if not colon:
            source, target = text, "."
        if not source or not target:
            raise click.BadParameter(f"{quoted(text)} is not SRC:DST")
        if "-" in (source, target):
            raise click.BadParameter("standard input and output are the command's")
        copies.append(Copy(source, target))
    return tuple(copies)


@click.command(cls=_Run, context_settings={"allow_interspersed_args": False})
@shared.options(ImageOptions, "run")
@shared.from_snapshot
@click.option(
    "--save",
    metavar="NAME",
    callback=shared.snapshot_name,
    help="Keep the machine as it is after CMD, if that exits with 0, as a snapshot of that name.",
)
@click.option(
    "--copy",
    multiple=True,
    metavar="SRC[:DST]",
    callback=_copies,
    shell_complete=shared.files,
    help="Copy a file or folder into the guest before CMD. [default DST: where CMD runs]",
)
@click.option(
    "--collect",
    multiple=True,
    metavar="SRC[:DST]",
    callback=_copies,
    help="Copy a file or folder of the guest to here after CMD, also when that has failed. "
    "[default DST: the current folder]",
)
@click.option(
    "--max-collect",
    metavar="SIZE",
    callback=shared.read(Option("", parse_size, metavar="SIZE")),
    help="Bytes that each --collect may bring. [default: 1G]",
)
@click.option(
    "--entrypoint",
    metavar="CMD",
    help="What to run, with CMD and ARG behind it, in the place of what the image has; '' for "
    "nothing but CMD.",
)
@shared.options(MachineOptions, "run")
@shared.options(ExecOptions, "run")
@shared.standard_input
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the result as JSON, with the output in it, in the place of the output: "
    f"{format_size(MAX_OUTPUT)} at most, if --max-output says nothing else.",
)
@click.option(
    "--json-file",
    type=click.File("w", lazy=False),
    metavar="FILE",
    help="Write the result as JSON to this file, as /dev/fd/3, and pass the output on.",
)
@shared.rm
@click.option(
    "--name",
    metavar="NAME",
    expose_value=False,
    help="Nothing: nobody else comes to this machine. `microvm start NAME` makes one that stays.",
)
@shared.verbose
@click.argument("command", nargs=-1, metavar="[--] CMD [ARG]...")
def run(
    command: tuple[str, ...],
    image: str | None,
    snapshot: str | None,
    save: str | None,
    entrypoint: str | None,
    standard_input: bool | None,
    **options: Any,
) -> None:
    """Run CMD in a fresh virtual machine, thrown away after.

    With --save the machine is kept as it is after CMD, with its files and with what CMD has left
    running; --from starts there, as often as you like.

    Files go in by --copy and come out by --collect, each as often as you like, as `docker cp` does
    it. They are CMD's user's, and relative paths in the guest are relative to where CMD runs: to
    --cwd, the image's working directory, or the user's home. If the user's home is no folder or
    belongs to somebody else, the home is /home/UID, which is created.

    An image may have defaults, as docker's have: a command, which CMD stands in for; an entrypoint,
    which comes before it; variables, a working directory, a user.

    Standard input is passed on unless it is a terminal, which -t or -i passes on. The command's
    output comes as it is written, byte for byte; its exit status becomes ours:

    \b
      N       the command exited with N
      128+N   signal N ended it
      127     there is no such command; 126: it cannot be executed
      137     it took more than --max-memory, or signal 9 ended it
      124     it ran past --timeout
      125     microvm itself failed, a --copy did, or the command went beyond --max-output; or it
              exited with 0, and a --collect failed

    With --json or --json-file these, and what else became of it, are an object of JSON, with the
    names that `microvm map` has: status, signal, reason, seconds, memory, error.

    Ctrl-C goes to the command; a second one within a second ends the machine. With -t the terminal
    is the command's, and Ctrl-C is a key like any other.
    """  # noqa: D301 - click wants the backspace itself
    shared.check_terminal(standard_input, options["tty"])
    copies = Copies(options.pop("copy"), options.pop("collect"), options.pop("max_collect"))
    result = result_of(options)
    status = launch.run(
        command,
        shared.given(MachineOptions, options),
        shared.given(ExecOptions, options),
        image=image,
        snapshot=snapshot,
        save=save,
        entrypoint=entrypoint,
        standard_input=standard_input,
        copies=copies,
        result=result,
    )
    standard.leave(status)


def result_of(options: dict[str, Any]) -> Result:
    """Take what result is asked for out of the values of all options.

    :raises UsageError: two of them exclude each other.
    """
    as_json, file = options.pop("as_json"), options.pop("json_file")
    if as_json and file:
        raise click.UsageError("--json keeps the output, --json-file passes it on: choose one")
    if as_json and options.get("tty"):
        raise click.UsageError("--json keeps the output, -t is to see it: --json-file goes with it")
    if as_json and options.get("max_output") is None:
        options["max_output"] = MAX_OUTPUT
    return Result(file, keeps=as_json)
