"""`microvm run`: run a command in a new machine, then delete the machine."""

from __future__ import annotations

from typing import Any

import click

from microvm.cli import (
    copy_parameters,
    docker_hints,
    parameters,
    ports,
    run_command,
    snapshot_parameters,
    standard_streams,
)
from microvm.cli.copies import Copies
from microvm.cli.json_result import MAX_OUTPUT, JsonResult
from microvm.options import ExecOptions, ImageOptions, MachineOptions, PoolChoice
from microvm.ports import PublishedPort, ReversePort
from microvm.units import format_size


class _RunCommand(docker_hints.HintingCommand):
    """The click command of `microvm run`, which requires CMD unless an image is given.

    The user may leave out CMD only with `--image` or `--from`, because an image or a snapshot can
    have a default command.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if ctx.resilient_parsing:
            return rest
        named = any(ctx.params.get(each) for each in ("command", "image", "snapshot"))
        if not named and ctx.params.get("entrypoint") is None:
            argument = next(each for each in self.params if each.name == "command")
            raise click.MissingParameter(ctx=ctx, param=argument)
        return rest


@click.command(cls=_RunCommand, context_settings={"allow_interspersed_args": False})
@parameters.options(ImageOptions, "run")
@snapshot_parameters.from_snapshot
@parameters.options(PoolChoice, "run")
@parameters.option(
    "--save NAME",
    "If CMD exits with status 0, save the machine as a snapshot of this name.",
    callback=snapshot_parameters.check_name,
)
@copy_parameters.copy("CMD")
@copy_parameters.collect("CMD")
@parameters.option(
    "--entrypoint CMD",
    "Run this command, with CMD and ARG as its arguments, instead of the image's entrypoint "
    "and default command. '' runs CMD without an entrypoint.",
)
@ports.options
@parameters.options(MachineOptions, "run")
@parameters.options(ExecOptions, "run")
@parameters.standard_input
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the result, including the output of CMD, as a JSON object instead of the output. "
    f"--max-output is {format_size(MAX_OUTPUT)} by default then.",
)
@parameters.option(
    "--json-file FILE",
    "Write the result as a JSON object to this file, such as /dev/fd/3, and still print the "
    "output of CMD.",
    type=click.File("w", lazy=False),
)
@parameters.rm
@parameters.option(
    "--name NAME",
    "Accepted for compatibility with docker; has no effect. `microvm start NAME` starts a "
    "machine with a name.",
    expose_value=False,
)
@parameters.verbose
@click.argument("command", nargs=-1, metavar="[--] CMD [ARG]...")
def run(
    command: tuple[str, ...],
    image: str | None,
    snapshot: str | None,
    pool: str | None,
    save: str | None,
    entrypoint: str | None,
    standard_input: bool | None,
    publish: tuple[PublishedPort, ...],
    reverse: tuple[ReversePort, ...],
    **options: Any,
) -> None:
    """Run CMD in a new virtual machine, then delete the machine.

    With --save, the machine is saved as a snapshot after CMD: its files and the processes that CMD
    has left running. --from starts a machine from a snapshot, and can be used any number of times.

    --copy copies files into the guest before CMD, and --collect copies files out of it after CMD.
    Both copy a file or a folder as `docker cp` does. Files copied into the guest belong to the user
    of CMD. A relative path in the guest is relative to the working directory of CMD: --workdir,
    else the image's working directory, else the user's home. A user whose home does not exist or
    belongs to another user gets the home /home/UID, which is created.

    With --pool, CMD gets a machine that is ready already, or is being started, and that no other
    command gets. CMD and all options work as without --pool. A machine is started if the pool has
    none for CMD, or if an option asks for another kind of machine.

    An image may have default options, like an image of docker: a command, which CMD replaces; an
    entrypoint, which gets CMD as its arguments; variables; a working directory; and a user.

    Standard input is passed to CMD, but a terminal only with -t or -i. The output of CMD is printed
    unchanged. The exit status is:

    \b
      N       CMD exited with status N
      122     CMD was killed because it wrote more than --max-output
      124     CMD was killed because it ran longer than --timeout
      125     microvm failed, or a --copy failed; or CMD exited with status 0 and
              a --collect failed
      126     CMD cannot be executed
      127     CMD was not found
      137     CMD exceeded --max-memory, or signal 9 killed it
      128+N   signal N killed CMD

    -p and -R open ports while CMD runs. With -p, programs of this host can use a server in the
    guest. With -R, CMD can use a server that this host reaches. The machine has no other network.

    --json and --json-file write a JSON object with these members, as `microvm map` does: status,
    signal, reason, seconds, memory, error.

    Ctrl-C interrupts CMD, and a second Ctrl-C within a second stops the machine. With -t, CMD gets
    every key, including Ctrl-C.
    """  # noqa: D301 - `\b` tells click to keep the lines
    parameters.check_terminal(standard_input, options["tty"])
    snapshot_parameters.check_alone(snapshot, image)
    copies = Copies(options.pop("copy"), options.pop("collect"), options.pop("max_collect"))
    result = result_of(options)
    machine = parameters.given_options(MachineOptions, options)
    status = run_command.run(
        command,
        ports.with_room(machine, publish, reverse),
        parameters.given_options(ExecOptions, options),
        image=image,
        snapshot=snapshot,
        pool=pool,
        save=save,
        entrypoint=entrypoint,
        standard_input=standard_input,
        copies=copies,
        wanted=(publish, reverse),
        result=result,
    )
    standard_streams.leave(status)


def result_of(options: dict[str, Any]) -> JsonResult:
    """Return a `JsonResult` for the command, as the options `--json` and `--json-file` demand.

    These options are removed from `options`. If the JSON contains the output of the command,
    `max_output` gets a default, because the output is kept in memory.
    """
    as_json, file = options.pop("as_json"), options.pop("json_file")
    if as_json and file:
        raise click.UsageError("--json and --json-file exclude each other: give only one of them")
    if as_json and options.get("tty"):
        raise click.UsageError("--json does not print the output for -t: use --json-file instead")
    if as_json and options.get("max_output") is None:
        options["max_output"] = MAX_OUTPUT
    return JsonResult(file, stores_output=as_json)
