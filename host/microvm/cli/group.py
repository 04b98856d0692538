"""The groups of verbs, which know what somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterator

import click

# What people's hands know from docker and podman, where no verb of ours has that name.
_ELSEWHERE = {
    "attach": "shell",
    "commit": "checkpoint",
    "create": "start",
    "images": "image ls",
    "kill": "stop",
    "list": "ps",
    "load": "image import",
    "ls": "ps",
    "rename": "start",
    "restart": "start",
    "rmi": "image rm",
    "save": "image export",
    "top": "ps",
}


class Group(click.Group):
    """A group that answers a verb that it has not with those that may be meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments begin with.

        :raises click.UsageError: there is none; says which come near.
        """
        name = args[0]
        if ctx.resilient_parsing or name.startswith("-") or self.get_command(ctx, name):
            return super().resolve_command(ctx, args)
        raise no_such_command(self, ctx, name)


def no_such_command(group: click.Group, ctx: click.Context, name: str) -> click.UsageError:
    """Return the error for a verb that a group has not."""
    meant = [f"`{ctx.command_path} {verb}`" for verb in _meant(group, ctx, name)]
    hint = f" Did you mean {' or '.join(meant)}?" if meant else ""
    return click.UsageError(f"No such command {name!r}.{hint}", ctx)


def _meant(group: click.Group, ctx: click.Context, name: str) -> list[str]:
    from difflib import get_close_matches

    verbs = group.list_commands(ctx)
    if ctx.parent is None and _ELSEWHERE.get(name, "").partition(" ")[0] in verbs:
        return [_ELSEWHERE[name]]
    if close := get_close_matches(name, verbs):
        return close
    return [verb for verb in _below(group, ctx) if verb.rpartition(" ")[2] == name]


def _below(group: click.Group, ctx: click.Context) -> Iterator[str]:
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if isinstance(command, click.Group):
            yield from (f"{name} {verb}" for verb in command.list_commands(ctx))
