"""`microvm run`: one command, in one machine that is gone afterwards."""

from __future__ import annotations

from typing import Any

import click

from microvm.cli import copies, habits, result, shared
from microvm.machine import MicroVM
from microvm.options import ExecOptions, ImageOptions, MachineOptions


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


@click.command(cls=_Run, context_settings={"allow_interspersed_args": False})
@shared.options(ImageOptions, "run")
@shared.from_snapshot
@click.option(
    "--save",
    metavar="NAME",
    callback=shared.snapshot_name,
    help="Keep the machine as it is after CMD, if that exits with 0, as a snapshot of that name.",
)
@copies.options
@click.option(
    "--entrypoint",
    metavar="CMD",
    help="What to run, with CMD and ARG behind it, in the place of what the image has; '' for "
    "nothing but CMD.",
)
@shared.options(MachineOptions, "run")
@shared.options(ExecOptions, "run")
@shared.standard_input
@result.options
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
    it. They are CMD's user's, and relative paths in the guest are relative to where CMD runs.

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
    told = result.of(options)
    told.argv = command
    with told.written():
        told.status = _run(
            told, command, image, snapshot, save, entrypoint, standard_input, options
        )
    shared.exit_now(told.status)


def _run(
    told: result.Result,
    command: tuple[str, ...],
    image: str | None,
    snapshot: str | None,
    save: str | None,
    entrypoint: str | None,
    standard_input: bool | None,
    options: dict[str, Any],
) -> int:
    """Run the command, and return our exit status."""
    carried = copies.of(options)
    how = shared.given(ExecOptions, options)
    start = None if snapshot is None else shared.snapshot_of(snapshot, image)
    booted = start.find_image() if start else shared.image_of(image)
    argv = told.argv = booted.manifest.config.argv(command, entrypoint)
    if not argv:
        named = (
            "there is no command"
            if image is snapshot is None
            else f"image {image or booted.name} has no command of its own"
        )
        raise click.UsageError(f"{named}: say what to run, as in `microvm run … -- echo hello`")
    machine = MicroVM(
        start or booted,
        **shared.given(MachineOptions, {**options, "notify": shared.notify}),
    )
    if save is not None:
        from microvm.start.snapshots import check_room

        check_room()
    machine.launch()
    # While QEMU starts, all the rest is imported.
    import asyncio

    from microvm.cli.attach import Attached

    attached = Attached(machine, argv, how, carried, save, standard_input, told)
    return asyncio.run(attached.status())
