"""Hints for options and verbs that people know from docker: each says what there is instead."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import click

_NO_VOLUMES = "the guest sees no files of the host; "
_NO_NETWORK = "the guest has no network"
_COPIES = {
    "run": "--copy SRC:DST puts them there, and --collect SRC:DST brings back what comes of them",
    "": "`microvm cp SRC NAME:DST` puts them there, and brings them back",
}
_STAYS = "`microvm start` makes a machine that stays"
_IN_BACKGROUND = "a command goes on in the background as `sh -c 'CMD &'`"
_ROOT = "commands are root's already, in a kernel of their own"

_VOLUMES = ("-v", "--volume", "--mount", "--tmpfs", "--volumes-from")
_NETWORKS = ("-p", "-P", "--publish", "--publish-all", "--expose", "--net", "--network", "--dns")
_OPTIONS = {
    **dict.fromkeys(_NETWORKS, _NO_NETWORK),
    "--privileged": _ROOT,
    "--cap-add": _ROOT,
    "--workdir": "it is -w or --cwd",
    "--pids-limit": "it is --max-processes",
    "--restart": _STAYS,
}
_TALKS = "it runs no command; `microvm shell NAME` opens a shell in the machine"
_TAIL = "`microvm logs NAME | tail` shows the end"
_AS_JSON = "--json has all that is known"
_AT_ONCE = "a machine ends at once"
_OPTIONS_OF = {
    "run": {**_OPTIONS, **dict.fromkeys(("-d", "--detach"), _STAYS)},
    "exec": {**_OPTIONS, **dict.fromkeys(("-d", "--detach"), _IN_BACKGROUND)},
    "shell": {**_OPTIONS, **dict.fromkeys(("-i", "-t"), "a shell has both always")},
    "start": {
        **_OPTIONS,
        **dict.fromkeys(("-d", "--detach"), "it goes on in the background always"),
        **dict.fromkeys(("-i", "-t", "--interactive", "--tty", "-a", "--attach"), _TALKS),
    },
    "logs": dict.fromkeys(("--tail", "-n", "--since", "--until"), _TAIL),
    "stop": dict.fromkeys(("-t", "--time", "--timeout", "-f", "--force"), _AT_ONCE),
    "cp": dict.fromkeys(("-r", "-R", "-a", "--archive"), "a folder is copied whole always"),
    "ps": dict.fromkeys(("--format", "--filter", "-f"), _AS_JSON),
    "inspect": dict.fromkeys(("--format", "-f"), _AS_JSON),
}
_EXTRA = {
    "config": 'it shows what is set; `memory = "1G"` in a file that it names sets an option',
    "ps": "`microvm inspect {words}` shows one machine",
    "shell": "`microvm exec {name} -- {words}` runs a command",
    "start": "`microvm exec {name} -- {words}` runs a command, once the machine is started",
}
_VOLUME = re.compile(r"[^:]*/[^:]*:/[^:]*(:[\w,]+)?|[\w.-]+:/[^:]*(:[\w,]+)?")


class Command(click.Command):
    """A command that answers what is meant for container tools with what there is instead."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments.

        :raises click.UsageError: they are wrong; says what to do instead.
        """
        verb = self.name or ""
        ctx.allow_extra_args = verb in _EXTRA
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            answers = {**dict.fromkeys(_VOLUMES, _no_volumes(verb)), **_OPTIONS_OF.get(verb, {})}
            if instead := answers.get(error.option_name):
                raise click.UsageError(f"There is no {error.option_name}: {instead}", ctx) from None
            raise
        if rest and verb in _EXTRA and not ctx.resilient_parsing:
            words = shlex.join(rest)
            instead = _EXTRA[verb].format(name=ctx.params.get("name"), words=words)
            raise click.UsageError(f"{words} is more than it takes: {instead}", ctx)
        return rest


class Verbose(click.Option):
    """The option `-v`, which whoever means a volume by it is told of."""

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Take the value from what the whole command line says.

        :raises click.UsageError: the first word of an argument, which an option with a value would
            have taken, is a volume.
        """
        if opts.get(self.name or "") and any(map(_VOLUME.fullmatch, _first(ctx, opts))):
            instead = _no_volumes(ctx.command.name or "")
            raise click.UsageError(f"-v is --verbose, there are no volumes: {instead}", ctx)
        return super().handle_parse_result(ctx, opts, args)


def _no_volumes(verb: str) -> str:
    return _NO_VOLUMES + _COPIES.get(verb, _COPIES[""])


def _first(ctx: click.Context, opts: Mapping[str, Any]) -> Iterator[str]:
    for argument in ctx.command.params:
        if isinstance(argument, click.Argument):
            words = opts.get(argument.name or "")  # what stands for none differs: see click.core
            first = words[0] if isinstance(words, tuple) and words else words
            if isinstance(first, str):
                yield first
