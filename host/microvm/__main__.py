"""The entry point of the command `microvm`, and of `python -m microvm`.

Importing this module changes what Ctrl-C does: the process is then terminated by SIGINT without a
traceback, as shells expect, even while other modules are being imported. So no other module may
import this one.
"""

from __future__ import annotations

import os
import sys

_HERE = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - importing pathlib takes long
if __name__ == "__main__" and not sys.flags.safe_path and sys.path[0] != _HERE:
    # `python -m` puts the working folder first into sys.path. A stranger may have put modules into
    # that folder, so remove it from sys.path.
    del sys.path[0]

import signal  # noqa: E402 - imported after the working folder is removed from sys.path

from microvm.system import interrupt  # noqa: E402


class Interrupted(SystemExit):
    """Raised when the user presses Ctrl-C. Unlike KeyboardInterrupt, it prints no traceback."""


def _interrupt(number: int, _: object) -> None:
    interrupt.note(number)
    raise Interrupted(128 + number)


def _exit_at_once(number: int, _: object) -> None:
    """Handle SIGINT (Ctrl-C) while `main` cannot yet catch `Interrupted`: exit without cleanup."""
    interrupt.note(number)
    interrupt.leave(128 + number)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Exit if Ctrl-C interrupted code whose exceptions Python ignores, such as a `__del__`."""
    if isinstance(unraisable.exc_value, Interrupted):
        interrupt.leave(unraisable.exc_value.code)  # type: ignore[arg-type] # a number
    sys.__unraisablehook__(unraisable)


# If the parent process ignores SIGINT, as a shell does for a background job, keep ignoring it.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _exit_at_once)
    sys.unraisablehook = _unraisable


def main() -> None:
    """Run the command line, and exit with its status."""
    try:
        if signal.getsignal(signal.SIGINT) is _exit_at_once:
            signal.signal(signal.SIGINT, _interrupt)
        # Import this module only after the handler of Ctrl-C is set, so that Ctrl-C can interrupt
        # the import.
        from microvm.cli import fast_path

        _take_absolute_paths_only()
        if work := fast_path.prepare(sys.argv[1:]):
            try:
                status = work()
            except Exception as error:
                _run_click(error)
            else:
                interrupt.leave(status)
        _run_click()
    except SystemExit as ended:
        interrupt.check(ended.code)
        raise


def _run_click(error: Exception | None = None) -> None:
    """Run the command line with click. If `error` is given, only print that error."""
    # Import this module only here, because it imports click, which simple commands do not need.
    from microvm.cli import root

    root.main(error)


def _take_absolute_paths_only() -> None:
    """Remove relative folders from PATH.

    A relative folder starts at the working folder, into which a stranger may have put programs with
    usual names.
    """
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    absolute = [folder for folder in folders if folder.startswith("/")]
    if absolute != folders:
        os.environ["PATH"] = os.pathsep.join(absolute)


if __name__ == "__main__":
    main()
