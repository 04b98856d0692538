"""Hints for users who type an option or argument of docker, or of another verb of microvm."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import click

from microvm.option import flag, options_of
from microvm.options import ExecOptions, ImageOptions, MachineOptions

_NO_VOLUMES = "the guest cannot access files of the host; "
_NO_NETWORK = "the guest has no network"
_COPIES = {
    "run": "use --copy SRC:DST to copy files in, and --collect SRC:DST to copy files out",
    "": "use `microvm cp SRC NAME:DST` to copy files in, and `microvm cp NAME:SRC DST` to copy "
    "files out",
}
_USE_START = "use `microvm start` to start a machine in the background"
_ROOT = "commands run as root by default, in a kernel of their own"

_VOLUMES = ("-v", "--volume", "--mount", "--tmpfs", "--volumes-from")
_NETWORKS = ("--net", "--network", "--dns")
_OPTIONS = {
    **dict.fromkeys(_NETWORKS, _NO_NETWORK),
    **dict.fromkeys(("-P", "--publish-all", "--expose"), "use -p for each port of the guest"),
    "--platform": "use --arch x86_64 or --arch aarch64",
    "--privileged": _ROOT,
    "--cap-add": _ROOT,
    "--cwd": "use -w or --workdir",
    "--pids-limit": "use --max-processes",
    "--restart": _USE_START,
}
_PORTS = dict.fromkeys(
    ("-p", "--publish", "-R", "-L"), "use `microvm port NAME -p` or `microvm port NAME -R`"
)
_RUNS_NO_COMMAND = "it runs no command; use `microvm shell NAME` to open a shell in the machine"
_FOR_COMMANDS = "it applies to commands; give it to `microvm exec`, or build an image with it"
_USE_TAIL = "use `microvm logs NAME | tail`"
_AS_JSON = "use --json to print all details"
_STOPS_AT_ONCE = "machines always stop immediately"
_HINTS_BY_VERB = {
    "run": {**_OPTIONS, **dict.fromkeys(("-d", "--detach"), _USE_START)},
    "exec": {**_OPTIONS, **_PORTS},
    "shell": {**_OPTIONS, **_PORTS, **dict.fromkeys(("-i", "-t"), "a shell always has both")},
    "start": {
        **_OPTIONS,
        **dict.fromkeys(("-d", "--detach"), "the machine always runs in the background"),
        **dict.fromkeys(("-i", "-t", "--interactive", "--tty", "-a", "--attach"), _RUNS_NO_COMMAND),
        **dict.fromkeys(
            ("-e", "--env", "--env-file", "-w", "--workdir", "-u", "--user"), _FOR_COMMANDS
        ),
    },
    "logs": dict.fromkeys(("--tail", "-n", "--since", "--until"), _USE_TAIL),
    "stop": dict.fromkeys(("-t", "--time", "--timeout", "-f", "--force"), _STOPS_AT_ONCE),
    "cp": dict.fromkeys(
        ("-r", "-R", "-a", "--archive"), "folders are always copied with their content"
    ),
    "ps": dict.fromkeys(("--format", "--filter", "-f"), _AS_JSON),
    "inspect": dict.fromkeys(("--format", "-f"), _AS_JSON),
}
_EXTRA_ARGUMENTS = {
    "config": 'it only shows options; to set one, write a line such as `memory = "1G"` to one of '
    "the files that it lists",
    "ps": "use `microvm inspect {words}` to show one machine",
    "shell": "use `microvm exec {name} -- {words}` to run a command",
    "start": "start the machine, then use `microvm exec {name} -- {words}` to run a command",
}
_VOLUME = re.compile(r"[^:]*/[^:]*:/[^:]*(:[\w,]+)?|[\w.-]+:/[^:]*(:[\w,]+)?")


class HintingCommand(click.Command):
    """A click command whose errors suggest what to type instead of a wrong option or argument."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments of a verb, and add hints to the errors for wrong arguments."""
        verb = self.name or ""
        ctx.allow_extra_args = verb in _EXTRA_ARGUMENTS
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            answers = {**dict.fromkeys(_VOLUMES, _no_volumes(verb)), **_HINTS_BY_VERB.get(verb, {})}
            if instead := answers.get(error.option_name):
                raise click.UsageError(f"There is no {error.option_name}: {instead}", ctx) from None
            if verbs := _verbs_with(error.option_name):
                name = f"`{ctx.command_path}` has no option {error.option_name}"
                message = f"{name}; these verbs have it: {verbs}"
                raise click.UsageError(message, ctx) from None
            raise
        if rest and verb in _EXTRA_ARGUMENTS and not ctx.resilient_parsing:
            words = shlex.join(rest)
            instead = _EXTRA_ARGUMENTS[verb].format(name=ctx.params.get("name"), words=words)
            raise click.UsageError(f"Unexpected arguments {words}: {instead}", ctx)
        return rest


class VerboseOption(click.Option):
    """The option `-v` (verbose), with a hint in its error for users who mean docker's volumes."""

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Return the value of the option `-v`; refuse a volume of docker, such as `/a:/b`."""
        if opts.get(self.name or "") and any(map(_VOLUME.fullmatch, _first_words(ctx, opts))):
            instead = _no_volumes(ctx.command.name or "")
            raise click.UsageError(f"-v means --verbose, there are no volumes: {instead}", ctx)
        return super().handle_parse_result(ctx, opts, args)


def _verbs_with(spelling: str) -> str:
    """Return the verbs of microvm that have an option of this spelling, as text; "" if none."""
    for kind in (MachineOptions, ExecOptions, ImageOptions):
        for option in options_of(kind).values():
            if option.verbs and spelling in (flag(option.setting), f"-{option.short}"):
                return ", ".join(option.verbs)
    return ""


def _no_volumes(verb: str) -> str:
    return _NO_VOLUMES + _COPIES.get(verb, _COPIES[""])


def _first_words(ctx: click.Context, opts: Mapping[str, Any]) -> Iterator[str]:
    for argument in ctx.command.params:
        if isinstance(argument, click.Argument):
            # For an argument that the user has not given, some versions of click store a value that
            # is neither text nor None. So accept only text.
            words = opts.get(argument.name or "")
            first = words[0] if isinstance(words, tuple) and words else words
            if isinstance(first, str):
                yield first
