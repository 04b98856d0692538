"""The entry point of the command `microvm`, also as `python -m microvm`; only that imports this.

From here on a Ctrl-C is silence and the end by SIGINT, which shells show as 130: before the command
line is imported, while it works, and after its last event loop.
"""

from __future__ import annotations

import os
import sys

_HERE = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - importing pathlib takes long
if __name__ == "__main__" and not sys.flags.safe_path and sys.path[0] != _HERE:
    # `python -m` looks for each module in the working folder first, and that folder may be a
    # stranger's.
    del sys.path[0]

import gc  # noqa: E402 - imported after the working folder is removed from sys.path
import signal  # noqa: E402

from microvm.system import interrupt  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from microvm.cli.fast_path import SimpleRun

_LOG = "MICROVM_LOG"


class Interrupted(SystemExit):
    """A Ctrl-C; other than KeyboardInterrupt, it prints nothing, and click lets it pass."""


def _interrupt(number: int, _: object) -> None:
    interrupt.note(number)
    raise Interrupted(128 + number)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Exit on a Ctrl-C that came where no exception can pass, as in an import's callback."""
    if isinstance(unraisable.exc_value, Interrupted):
        interrupt.leave(unraisable.exc_value.code)  # type: ignore[arg-type] # it is our number
    sys.__unraisablehook__(unraisable)


if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, or a test's
    signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = _unraisable


def main() -> None:
    """Run the command line; see `microvm.cli.root.main`."""
    _take_absolute_paths_only()
    try:
        verb, *arguments = sys.argv[1:] or [""]
        if verb == "exec" and _is_plain(arguments):
            _do(lambda: _execute(*arguments))
        if verb == "run":
            gc.disable()  # which would look at what is imported, and stays; see `run_command.run`
            from microvm.cli import fast_path

            if said := fast_path.read(arguments):
                _do(lambda: _run(said))
            gc.enable()
        from microvm.cli import root

        root.main()
    except SystemExit as ended:
        interrupt.check(ended.code)
        raise


def _take_absolute_paths_only() -> None:
    """Remove relative folders from PATH, because a stranger may have put programs there."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    absolute = [folder for folder in folders if folder.startswith("/")]
    if absolute != folders:
        os.environ["PATH"] = os.pathsep.join(absolute)


def _is_plain(arguments: list[str]) -> bool:
    """Tell whether all that is said is a machine and a command: that needs no command line."""
    if len(arguments) < 2 or _LOG in os.environ:
        return False
    name, first, *rest = arguments
    return not name.startswith("-") and (bool(rest) if first == "--" else not first.startswith("-"))


def _execute(name: str, *command: str) -> int:
    """Run `microvm exec NAME [--] CMD…`, and return our exit status."""
    from microvm.supervisor.client.foreground_command import execute
    from microvm.system.descriptors import open_missing

    open_missing()
    return execute(name, list(command[1:] if command[0] == "--" else command))


def _run(said: SimpleRun) -> int:
    """Run `microvm run`, and return our exit status."""
    from microvm.cli import run_command, standard_streams

    standard_streams.open_all()
    status = run_command.run(said.command, said.machine, said.how, image=said.image)
    sys.stdout.flush()
    return status


def _do(work: Callable[[], int]) -> NoReturn:
    """Do what needs no command line, and exit; that is imported for an error's sake alone."""
    try:
        status = work()
    except Exception as raised:
        error = raised

        def fail() -> None:
            raise error

        from microvm.cli import root

        root.main(fail)
    interrupt.leave(status)


if __name__ == "__main__":
    main()
