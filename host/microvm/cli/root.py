"""The command `microvm`: its verbs, the entry point, and the exit status for each error."""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import sys
from collections.abc import Callable

import click

from microvm._version import __version__
from microvm.cli import standard_streams
from microvm.cli.group import VerbGroup
from microvm.errors import (
    BootError,
    ConfinementError,
    GuestDied,
    GuestUnresponsive,
    MicroVMError,
    QemuError,
    UsageError,
    how_to_install,
)
from microvm.printable import printable

# Modules in `microvm.cli.verbs` by the names of their verbs, in the groups that the help shows. A
# colon separates the module from the name of the verb's function, if the function has another name.
_GROUPS = {
    "Run commands in new machines": {"run": "run", "map": "map"},
    "Machines that keep running": {
        "start": "start",
        "exec": "exec:execute",
        "shell": "exec",
        "cp": "cp",
        "ps": "machines",
        "inspect": "machines",
        "logs": "machines",
        "wait": "machines",
        "stop": "machines",
    },
    "Snapshots and templates": {
        "checkpoint": "checkpoint",
        "snapshot": "snapshot",
        "template": "template",
    },
    "Images": {"image": "image", "kernel": "kernel"},
    "This host and microvm": {
        "doctor": "doctor",
        "confinement": "confinement",
        "bench": "bench",
        "cache": "cache",
        "config": "config",
        "completion": "completion",
        "help": "help",
    },
}
_VERBS = {verb: module for group in _GROUPS.values() for verb, module in group.items()}


class _LazyGroup(VerbGroup):
    """A group that imports a verb's module when that verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_VERBS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module, _, name = _VERBS[cmd_name].partition(":")
        verbs = importlib.import_module(f"microvm.cli.verbs.{module}")
        command: click.Command = getattr(verbs, name or cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, _VERBS))
        for title, verbs in _GROUPS.items():
            commands = {verb: self.get_command(ctx, verb) for verb in verbs}
            rows = [
                (verb.ljust(width), command.get_short_help_str(formatter.width - width - 6))
                for verb, command in commands.items()
                if command
            ]
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)


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


def main(work: Callable[[], object] = lambda: cli(standalone_mode=False)) -> None:
    """Run the command line, print an error if it fails, and exit with the documented status.

    :param work: Function to run. Its result is the exit status.
    """
    standard_streams.open_all()
    try:
        try:
            if "MICROVM_COMPLETE" in os.environ:
                from microvm.cli.verbs.completion import answer

                answer(cli, "MICROVM_COMPLETE")
            sys.exit(work())  # type: ignore[arg-type] # click returns the status
        finally:
            sys.stdout.flush()  # now, so that the handlers below report an error of the output
    except click.ClickException as error:
        text = io.StringIO()
        error.show(text)
        _print_to_stderr(text.getvalue())
        sys.exit(error.exit_code)
    except click.Abort:  # Ctrl-C before a command has started
        sys.exit(128 + signal.SIGINT)
    except MicroVMError as error:
        fail(error)
    except ModuleNotFoundError as error:
        message = f"the Python module {error.name} is not installed"
        fail(MicroVMError(message, hint=how_to_install("vm")))
    except MemoryError:
        from microvm.system.capacity import SHORTAGES

        fail(MicroVMError("there is no more memory", hint=SHORTAGES[errno.ENOMEM]))
    except RuntimeError as error:
        # asyncio can also fail to start a thread when it shuts its executor down.
        from microvm.concurrency.threads import is_out_of_threads, thread_error

        if not is_out_of_threads(error):
            raise
        fail(thread_error())
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        from microvm.system.capacity import SHORTAGES

        hint = SHORTAGES.get(error.errno or 0, "")
        fail(MicroVMError(f"{name}{error.strerror or error}", hint=hint))


def _print_to_stderr(text: str) -> None:
    lines = map(printable, text.expandtabs().splitlines())
    click.echo("".join(f"{line}\n" for line in lines), err=True, nl=False)


def fail(error: MicroVMError) -> None:
    """Print an error on standard error, and exit with its status."""
    show(error)
    sys.exit(error.exit_status)


def show(error: MicroVMError) -> None:
    """Print an error and its details on standard error."""
    click.echo(f"microvm: {error}", err=True)
    if isinstance(error, UsageError):
        _print_to_stderr(error.detail)
    elif error.detail and (
        isinstance(error, ConfinementError)  # the details are the compiler's output
        or not isinstance(error, QemuError | GuestDied | GuestUnresponsive)
    ):
        whose = "the guest's console" if isinstance(error, BootError) else "what it said"
        _print_to_stderr(f"--- the end of {whose}\n{error.detail}\n---")
