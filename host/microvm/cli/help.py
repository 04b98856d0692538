"""`microvm help`: the same as `--help`, for those who put it first."""

from __future__ import annotations

import click

from microvm.cli.group import no_such_command


@click.command("help")
@click.argument("commands", nargs=-1, metavar="[CMD…]")
@click.pass_context
def help(context: click.Context, commands: tuple[str, ...]) -> None:  # noqa: A001 - the verb's name
    """Show what a command does: `microvm help image build`."""
    shown = context.find_root()
    for name in commands:
        group = shown.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"`{shown.command_path}` has no commands below it", shown)
        command = group.get_command(shown, name)
        if command is None:
            raise no_such_command(group, shown, name)
        settings = command.context_settings
        shown = click.Context(command, info_name=name, parent=shown, **settings)
    click.echo(shown.get_help())
