"""`microvm help`: show the help of a command, as `--help` does."""

from __future__ import annotations

from collections.abc import Iterable

import click

from microvm.cli.group import no_such_command


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    del parameter
    try:
        shown = _find(context, context.params.get("commands") or ())
    except click.UsageError:
        return []
    group = shown.command
    verbs = group.list_commands(shown) if isinstance(group, click.Group) else []
    return [verb for verb in verbs if verb.startswith(incomplete)]


@click.command("help")
@click.argument("commands", nargs=-1, metavar="[CMD…]", shell_complete=_complete)
@click.pass_context
def help(context: click.Context, commands: tuple[str, ...]) -> None:  # noqa: A001 - the verb's name
    """Show the help of a command, as in `microvm help image build`."""
    click.echo(_find(context, commands).get_help())


def _find(context: click.Context, commands: Iterable[str]) -> click.Context:
    """Return the click context of the command with these words, such as `image build`."""
    shown = context.parent or context
    for name in " ".join(commands).split():
        group = shown.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"`{shown.command_path}` has no subcommands", shown)
        command = group.get_command(shown, name)
        if command is None:
            raise no_such_command(group, shown, name)
        settings = command.context_settings
        shown = click.Context(command, info_name=name, parent=shown, **settings)
    return shown
