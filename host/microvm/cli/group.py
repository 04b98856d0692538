"""The groups of verbs, which know what somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterator

import click

from microvm.printable import quoted

# What people's hands know from docker, podman and ssh, where no verb of ours has that name.
_ELSEWHERE = {
    "attach": "shell",
    "commit": "checkpoint",
    "create": "start",
    "images": "image ls",
    "kill": "stop",
    "list": "ps",
    "load": "image import",
    "ls": "ps",
    "info": "doctor",
    "rmi": "image rm",
    "save": "image export",
    "sh": "shell",
    "ssh": "shell",
    "stats": "ps",
    "top": "ps",
    "version": "--version",
}
_INSTEAD = {
    "login": "`skopeo login` or `docker login` keeps what `microvm image pull` goes by.",
    "rename": "A machine keeps the name that `microvm start NAME` has given it.",
    "restart": "`microvm stop NAME`, then `microvm start NAME`, is a new machine.",
    "rm": "`microvm stop NAME` leaves nothing of a machine; `microvm image rm` removes an image.",
}


class Group(click.Group):
    """A group that answers a verb that it has not with those that may be meant."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments.

        :raises click.UsageError: they are wrong; says so of a verb's option that is before it.
        """
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            option = error.option_name
            if verb := _verb_with(option, self, ctx, words):
                message = f"{option} is behind its verb: `{ctx.command_path} {verb} {option}`"
                raise click.UsageError(message, ctx) from None
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments begin with.

        :raises click.UsageError: there is none; says which come near.
        """
        name = args[0]
        if name == "help":
            from microvm.cli.verbs.help import help as shown

            return name, shown, args[1:]
        if ctx.resilient_parsing or name.startswith("-") or self.get_command(ctx, name):
            return super().resolve_command(ctx, args)
        raise no_such_command(self, ctx, name)


def no_such_command(group: click.Group, ctx: click.Context, name: str) -> click.UsageError:
    """Return the error for a verb that a group has not."""
    if ctx.parent is None and name in _INSTEAD:
        return click.UsageError(f"No such command {quoted(name)}. {_INSTEAD[name]}", ctx)
    meant = [f"`{ctx.command_path} {verb}`" for verb in _meant(group, ctx, name)]
    hint = f" Did you mean {' or '.join(meant)}?" if meant else ""
    return click.UsageError(f"No such command {quoted(name)}.{hint}", ctx)


def _meant(group: click.Group, ctx: click.Context, name: str) -> list[str]:
    from difflib import get_close_matches

    verbs = group.list_commands(ctx)
    if ctx.parent is None and name in _ELSEWHERE:
        return [_ELSEWHERE[name]]
    if close := get_close_matches(name, verbs):
        return close
    return [verb for verb in _below(group, ctx) if verb.rpartition(" ")[2] == name]


def _verb_with(option: str, group: click.Group, ctx: click.Context, words: list[str]) -> str:
    """Return the verb among words, if it has an option; else nothing."""
    for index, name in enumerate(words):
        command = group.get_command(ctx, name)
        if isinstance(command, click.Group):
            verb = _verb_with(option, command, ctx, words[index + 1 :])
            return verb and f"{name} {verb}"
        if command is not None:
            has = any(option in (*each.opts, *each.secondary_opts) for each in command.params)
            return name if has else ""
    return ""


def _below(group: click.Group, ctx: click.Context) -> Iterator[str]:
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if isinstance(command, click.Group):
            yield from (f"{name} {verb}" for verb in command.list_commands(ctx))
