"""The entry point of the command `microvm`, and of `python -m microvm`.

The import of this module changes the handling of Ctrl-C: this process then exits by SIGINT without
a traceback, as shells expect, even while the command line is still being imported. So no other
module may import it.
"""

from __future__ import annotations

import os
import sys

_HERE = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - importing pathlib takes long
if __name__ == "__main__" and not sys.flags.safe_path and sys.path[0] != _HERE:
    # `python -m` searches each module in the working folder first. A stranger may have put modules
    # there.
    del sys.path[0]

import signal  # noqa: E402 - imported after the working folder is removed from sys.path

from microvm.system import interrupt  # noqa: E402


class Interrupted(SystemExit):
    """Raised for Ctrl-C. Unlike KeyboardInterrupt, it prints no traceback."""


def _interrupt(number: int, _: object) -> None:
    interrupt.note(number)
    raise Interrupted(128 + number)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Exit if Ctrl-C interrupted code that cannot raise, such as the callback of an import."""
    if isinstance(unraisable.exc_value, Interrupted):
        interrupt.leave(unraisable.exc_value.code)  # type: ignore[arg-type] # always a number here
    sys.__unraisablehook__(unraisable)


# A parent may have set SIGINT to be ignored, and then it stays ignored.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = _unraisable


def main() -> None:
    """Run the command line, and exit with its status."""
    try:
        from microvm.cli import fast_path  # imported here, so that Ctrl-C meanwhile is handled

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
    """Run the command line with click, or report the error of a simple command line."""
    from microvm.cli import root  # imports click, which a simple command line does not need

    root.main(error)


def _take_absolute_paths_only() -> None:
    """Remove relative folders from PATH, because a stranger may have put programs there."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    absolute = [folder for folder in folders if folder.startswith("/")]
    if absolute != folders:
        os.environ["PATH"] = os.pathsep.join(absolute)


if __name__ == "__main__":
    main()
