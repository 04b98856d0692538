"""The entry point of the command `microvm`, also as `python -m microvm`; only that imports this.

From here on a Ctrl-C is the status 130, and silence: before the command line is imported, while it
works, and after its last event loop.
"""

from __future__ import annotations

import os
import signal
import sys


class Interrupted(SystemExit):
    """A Ctrl-C; other than KeyboardInterrupt, it prints nothing, and click lets it pass."""


def _interrupt(number: int, _: object) -> None:
    raise Interrupted(128 + number)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Exit on a Ctrl-C that came where no exception can pass, as in an import's callback."""
    if isinstance(unraisable.exc_value, Interrupted):
        os._exit(unraisable.exc_value.code)  # type: ignore[arg-type] # it is our number
    sys.__unraisablehook__(unraisable)


if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, or a test's
    signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = _unraisable


def main() -> None:
    """Run the command line; see `microvm.cli.main`."""
    from microvm import cli

    cli.main()


if __name__ == "__main__":
    main()
