"""The command `microvm`."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import click

from microvm._version import __version__
from microvm.errors import BootError, MicroVMError

_COMMANDS = {
    "bench": "microvm.cli.bench",
    "image": "microvm.cli.image",
    "kernel": "microvm.cli.kernel",
    "map": "microvm.cli.map",
    "run": "microvm.cli.run",
    "template": "microvm.cli.template",
}


class _Lazy(click.Group):
    """A group that imports a command's module when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="microvm")
def cli() -> None:
    """Run a command inside a real virtual machine as easily as on your own."""


def main() -> None:
    """Run the command line; ends the process with the status that it documents."""
    _occupy_streams()
    try:
        cli()
    except MicroVMError as error:
        fail(error)
    except ModuleNotFoundError as error:
        hint = "install microvm with its extra `vm` (`bench --plot` also takes `plot`)"
        fail(MicroVMError(f"the Python module {error.name} is not installed", hint=hint))
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        fail(MicroVMError(f"{name}{error.strerror or error}"))


def _occupy_streams() -> None:
    """Open what is closed of 0, 1 and 2: else the next socket of ours would take its place."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    # Python has None for what was closed when it started.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - for good
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - as above


def fail(error: MicroVMError) -> None:
    """Say what went wrong, and end with the error's status."""
    click.echo(f"microvm: {error}", err=True)
    if isinstance(error, BootError) and error.detail:
        click.echo(f"--- the end of the guest's console\n{error.detail}\n---", err=True)
    sys.exit(error.exit_status)
