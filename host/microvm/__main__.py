"""The entry point of the command `microvm`, also as `python -m microvm`; only that imports this.

From here on a Ctrl-C is silence and the end by SIGINT, which shells show as 130: before the command
line is imported, while it works, and after its last event loop.
"""

from __future__ import annotations

import os
import signal
import sys

from microvm import interrupt

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
    """Run the command line; see `microvm.cli.main`."""
    try:
        arguments = sys.argv[1:]
        if arguments[:1] == ["exec"] and _is_plain(arguments[1:]):
            _execute(*arguments[1:])
        from microvm import cli

        cli.main()
    except SystemExit as ended:
        interrupt.check(ended.code)
        raise


def _is_plain(arguments: list[str]) -> bool:
    """Tell whether all that is said is a machine and a command: that needs no command line."""
    if len(arguments) < 2 or _LOG in os.environ:
        return False
    name, first, *rest = arguments
    return not name.startswith("-") and (bool(rest) if first == "--" else not first.startswith("-"))


def _execute(name: str, *command: str) -> None:
    """Run `microvm exec NAME [--] CMD…`, and exit."""
    from microvm.streams import open_missing
    from microvm.supervisor.execute import execute

    open_missing()
    argv = list(command[1:] if command[0] == "--" else command)
    try:
        status = execute(name, argv)
    except Exception as raised:
        error = raised

        def fail() -> None:
            raise error

        from microvm import cli

        cli.main(fail)
    interrupt.leave(status)


if __name__ == "__main__":
    main()
