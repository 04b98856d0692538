"""Groups of verbs for click, whose errors suggest the verb that the user may have meant."""

from __future__ import annotations

import click

from microvm.printable import quoted

# The verbs of microvm to suggest for verbs of docker, podman and other programs.
_EQUIVALENTS = {
    "commit": "checkpoint",
    "create": "start",
    "images": "image ls",
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
_FORK = (
    "Use `microvm checkpoint NAME SNAPSHOT` to save the machine, then `microvm start NEW --from "
    "SNAPSHOT` or `microvm run --from SNAPSHOT -- CMD` for each fork of it."
)
_PAUSE = "Use `microvm checkpoint NAME SNAPSHOT` to save the machine, then `microvm stop NAME`."
_HINTS = {
    "branch": _FORK,
    "clone": _FORK,
    "fork": _FORK,
    "login": "Use `skopeo login` or `docker login`; `microvm image pull` uses their credentials.",
    "pause": _PAUSE,
    "rename": "Machines cannot be renamed. Name them with `microvm start NAME`.",
    "restart": "Use `microvm stop NAME`, then `microvm start NAME` to start a new machine.",
    "restore": "Use `microvm start NAME --from SNAPSHOT`, or `microvm run --from SNAPSHOT -- CMD`.",
    "rm": "Use `microvm stop NAME` to delete a machine, or `microvm image rm` to remove an image.",
    "suspend": _PAUSE,
    "unpause": _PAUSE,
    "volume": "There are no volumes. Use --copy and --collect of `microvm run`, or `microvm cp`.",
}


class VerbGroup(click.Group):
    """A click group that suggests similar verbs when the user types an unknown one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the verb, and find the verb."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            option = error.option_name
            if verb := _verb_with(option, self, ctx, words):
                message = f"Write {option} after the verb: `{ctx.command_path} {verb} {option}`"
                raise click.UsageError(message, ctx) from None
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb that the arguments begin with, and the arguments after it."""
        name = args[0]
        if name == "help":
            from microvm.cli.verbs.help import help as shown

            return name, shown, args[1:]
        if ctx.resilient_parsing or name.startswith("-") or self.get_command(ctx, name):
            return super().resolve_command(ctx, args)
        raise no_such_command(self, ctx, name)


def no_such_command(group: click.Group, ctx: click.Context, name: str) -> click.UsageError:
    """Return the error for an unknown verb. It suggests a similar verb if the group has one."""
    if ctx.parent is None and name in _HINTS:
        return click.UsageError(f"No such command {quoted(name)}. {_HINTS[name]}", ctx)
    similar = [f"`{ctx.command_path} {verb}`" for verb in _similar(group, ctx, name)]
    hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
    return click.UsageError(f"No such command {quoted(name)}.{hint}", ctx)


def _similar(group: click.Group, ctx: click.Context, name: str) -> list[str]:
    from difflib import get_close_matches

    verbs = group.list_commands(ctx)
    if ctx.parent is None and name in _EQUIVALENTS:
        return [_EQUIVALENTS[name]]
    if close := get_close_matches(name, verbs):
        return close
    commands = {each: group.get_command(ctx, each) for each in verbs}
    groups = {each: sub for each, sub in commands.items() if isinstance(sub, click.Group)}
    return [f"{each} {name}" for each, sub in groups.items() if name in sub.list_commands(ctx)]


def _verb_with(option: str, group: click.Group, ctx: click.Context, words: list[str]) -> str:
    """Return the first verb in `words`, or "" if there is none or it lacks the option `option`.

    The verb of a subgroup is returned with the name of the subgroup, such as `image build`.
    """
    for index, name in enumerate(words):
        command = group.get_command(ctx, name)
        if isinstance(command, click.Group):
            verb = _verb_with(option, command, ctx, words[index + 1 :])
            return verb and f"{name} {verb}"
        if command is not None:
            has = any(option in (*each.opts, *each.secondary_opts) for each in command.params)
            return name if has else ""
    return ""
