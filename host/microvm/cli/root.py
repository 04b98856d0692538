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

_COMMANDS = {
    "bench": "microvm.cli.verbs.bench",
    "cache": "microvm.cli.verbs.cache",
    "checkpoint": "microvm.cli.verbs.checkpoint",
    "completion": "microvm.cli.verbs.completion",
    "config": "microvm.cli.verbs.config",
    "confinement": "microvm.cli.verbs.confinement",
    "cp": "microvm.cli.verbs.cp",
    "doctor": "microvm.cli.verbs.doctor",
    "exec": "microvm.cli.verbs.exec:execute",
    "help": "microvm.cli.verbs.help",
    "image": "microvm.cli.verbs.image",
    "inspect": "microvm.cli.verbs.machines",
    "kernel": "microvm.cli.verbs.kernel",
    "logs": "microvm.cli.verbs.machines",
    "map": "microvm.cli.verbs.map",
    "ps": "microvm.cli.verbs.machines",
    "run": "microvm.cli.verbs.run",
    "shell": "microvm.cli.verbs.exec",
    "snapshot": "microvm.cli.verbs.snapshot",
    "start": "microvm.cli.verbs.start",
    "stop": "microvm.cli.verbs.machines",
    "template": "microvm.cli.verbs.template",
    "wait": "microvm.cli.verbs.machines",
}


class _LazyGroup(VerbGroup):
    """A group that imports a command's module when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name or cmd_name)
        return command


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
