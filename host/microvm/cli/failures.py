"""Prints errors for the user, and exits with the status that docs/exit-status.md lists."""

from __future__ import annotations

import errno
import io
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, TypeVar

import click

from microvm.concurrency.threads import is_out_of_threads, thread_error
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
from microvm.system.capacity import SHORTAGES

T = TypeVar("T")


def report(error: Exception) -> NoReturn:
    """Print an error that a verb has raised, and exit with the exit status for this error."""
    match error:
        case click.ClickException():
            text = io.StringIO()
            error.show(text)
            _print_to_stderr(text.getvalue())
            sys.exit(error.exit_code)
        case click.Abort():  # the user pressed Ctrl-C before the command was started
            sys.exit(128 + signal.SIGINT)
        case MicroVMError():
            shown = error
        case ModuleNotFoundError():
            message = f"the Python module {error.name} is not installed"
            shown = MicroVMError(message, hint=how_to_install("vm"))
        case MemoryError():
            shown = MicroVMError("there is no more memory", hint=SHORTAGES[errno.ENOMEM])
        case OSError():
            name = f"{error.filename}: " if error.filename else ""
            hint = SHORTAGES.get(error.errno or 0, "")
            shown = MicroVMError(f"{name}{error.strerror or error}", hint=hint)
        case RuntimeError() if is_out_of_threads(error):
            # asyncio could not start a thread, for example to shut its executor down. In microvm's
            # own code, a thread that cannot be started raises a MicroVMError instead.
            shown = thread_error()
        case _:
            raise error
    show(shown)
    sys.exit(shown.exit_status)


def show(error: MicroVMError) -> None:
    """Print an error with its details and its hint on standard error."""
    click.echo(f"microvm: {error}", err=True)
    if isinstance(error, UsageError):
        _print_to_stderr(error.detail)
    elif error.detail and (
        # print the `detail` of a ConfinementError, which may be the output of the launcher's
        # compiler
        isinstance(error, ConfinementError)
        or not isinstance(error, QemuError | GuestDied | GuestUnresponsive)
    ):
        source = "the guest's console" if isinstance(error, BootError) else "the output"
        _print_to_stderr(f"--- the end of {source}\n{error.detail}\n---")


def _print_to_stderr(text: str) -> None:
    lines = map(printable, text.expandtabs().splitlines())
    click.echo("".join(f"{line}\n" for line in lines), err=True, nl=False)


def for_each(names: Iterable[str], work: Callable[[str], T]) -> Iterator[T]:
    """Call `work` for each name, and yield the results. An error does not stop the iteration.

    The errors are printed after all results, so that the user does not overlook them.

    :raises MicroVMError: The last error. The other errors are printed before.
    """
    failures = []
    for name in dict.fromkeys(names):
        try:
            result = work(name)
        except MicroVMError as failure:
            failures.append(failure)
        else:
            yield result
    if failures:
        for error in failures[:-1]:
            show(error)
        raise failures[-1]
