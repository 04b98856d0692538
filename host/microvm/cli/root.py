"""The root of the command line: the command `microvm`, with the table of its verbs."""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from microvm._version import __version__
from microvm.cli import standard_streams
from microvm.cli.group import VerbGroup

# The verbs, in groups as `microvm --help` shows them. For each verb, a pair: the name of its module
# in `microvm.cli.verbs`, and its line of help. The function for a verb has the name of the verb,
# unless another name follows the module's name after a colon.
_GROUPS = {
    "Run commands in new machines": {
        "run": ("run", "Run CMD in a new virtual machine, then delete the machine."),
        "python": ("python", "Start Python in a new machine, then delete the machine."),
        "map": ("map", "Run each line of FILE as a command in a new machine."),
        "pool": ("pool", "Keep machines ready for `microvm run --pool NAME`."),
    },
    "Machines that keep running": {
        "start": ("start", "Start a machine in the background, and print its name."),
        "exec": ("exec:exec_", "Run CMD in a machine that `microvm start` has started."),
        "shell": ("exec", "Open a shell in a machine that `microvm start` has started."),
        "attach": ("detached", "Attach to a command that `microvm exec --detach` has started."),
        "kill": ("detached", "Kill a command that `microvm exec --detach` has started."),
        "cp": ("cp", "Copy a file or a folder into or out of a named machine."),
        "ps": ("machines", "List the machines that `microvm start` has started."),
        "inspect": ("machines", "Show the state and properties of named machines."),
        "update": ("start", "Change how many commands a named machine runs at once."),
        "port": ("port", "List the ports of a named machine, or open further ones."),
        "logs": ("machines", "Show a machine's console, or the output of a detached command."),
        "wait": ("machines", "Wait until a named machine stops, or a detached command exits."),
        "stop": ("machines", "Stop named machines, and delete them."),
    },
    "Machines for AI models": {
        "mcp": ("mcp", "Serve machines to the model of an MCP client."),
    },
    "Snapshots and templates": {
        "checkpoint": ("snapshot", "Save a named machine as a snapshot, and let it continue."),
        "snapshot": ("snapshot", "List and remove snapshots."),
        "template": ("template", "Make, list and remove templates."),
    },
    "Images": {
        "image": ("image", "Build, list, tag, remove, export and import images."),
        "kernel": ("kernel", "Build, list and remove small kernels."),
    },
    "This host and microvm": {
        "doctor": ("doctor", "Check this host, and show how to fix faults."),
        "confinement": ("confinement", "Show how QEMU is restricted on this host."),
        "bench": ("bench", "Measure the time and memory that machines need on this host."),
        "cache": ("cache", "Show and clear the cache."),
        "config": ("config", "Show the default of each option, and where it is set."),
        "completion": ("completion", "Print or install a script for tab completion in a shell."),
        "help": ("help", "Show the help of a command, as in `microvm help image build`."),
    },
}
_VERBS = {verb: entry for group in _GROUPS.values() for verb, entry in group.items()}


class _LazyGroup(VerbGroup):
    """The group of all verbs, which imports the module of a verb when that verb is used.

    Importing the modules of all verbs takes long. So the help of the group and the completion of
    verbs use the table `_GROUPS`, and import none of them.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_VERBS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module, _, name = _VERBS[cmd_name][0].partition(":")
        verbs = importlib.import_module(f"microvm.cli.verbs.{module}")
        command: click.Command = getattr(verbs, name or cmd_name)
        return command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, _VERBS))
        for title, verbs in _GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(verb.ljust(width), verbs[verb][1]) for verb in verbs])
        click.Command.format_options(self, ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        verbs = [
            CompletionItem(verb, help=help_text)
            for verb, (_, help_text) in _VERBS.items()
            if verb.startswith(incomplete)
        ]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(
    cls=_LazyGroup,
    epilog="Try: microvm run -- echo hello",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "-V", "--version", prog_name="microvm")
def cli() -> None:
    """Run a command in a virtual machine as easily as on the host."""
    if "MICROVM_LOG" in os.environ:
        from microvm.cli.log import listen

        listen()


def main(error: Exception | None = None) -> NoReturn:
    """Run the command line, or only report `error` if it is given; then exit."""
    standard_streams.open_all()
    try:
        try:
            if error is not None:
                raise error
            if "MICROVM_COMPLETE" in os.environ:
                from microvm.cli.verbs.completion import answer

                answer(cli, "MICROVM_COMPLETE")
            # With `standalone_mode=False`, click raises errors instead of printing them, and `cli`
            # returns the exit status of the verb.
            sys.exit(cli(standalone_mode=False))
        finally:
            # write the buffered output now, so that a failed write is reported below
            sys.stdout.flush()
    except Exception as raised:
        from microvm.cli import failures  # imported here, because only errors need it

        failures.report(raised)
