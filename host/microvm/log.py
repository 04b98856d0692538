"""The log of the library: Python's `logging`, with a logger for each area, such as the cache.

Nothing is shown by default. Users of the library can add a handler to a logger. The command line
does this if `-v` or MICROVM_LOG is given; see docs/logging.md.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger

ROOT = "microvm"
"""Name of the library's logger. The logger of an area, such as `microvm.qemu`, is below it."""

AREAS = ("start", "qemu", "guest", "wire", "image", "cache")

WARNING = 30
"""Level of notices for the user, such as why KVM is not used. The function `notify` also gets
them."""

INFO = 20
"""Level of the main events of a machine, such as its start: a few lines for each machine."""

DEBUG = 10
"""Level of details, such as the command line of QEMU and the console of the guest."""

TRACE = 5
"""Level of all frames, which contain the environment, input and output of commands."""

MOST_LOGGED = 1000
"""Maximum number of lines, messages or frames that are logged for one sender."""

LEVELS = {"warning": WARNING, "info": INFO, "debug": DEBUG, "trace": TRACE}


class Area:
    """A logger for one of the `AREAS` of this library, such as `qemu`.

    Importing `logging` is slow, so this class does not import it. If no other module has imported
    it, no handler can exist, and nothing is logged.
    """

    def __init__(self, name: str) -> None:
        self._name = f"{ROOT}.{name}"
        self._logger: Logger | None = None

    def listens(self, level: int) -> bool:
        """Return True if a handler of `logging` may show events of this level."""
        if self._logger is None and "logging" in sys.modules:
            self._logger = _of(self._name)
        return self._logger is not None and self._logger.isEnabledFor(level)

    def warning(self, text: str, *args: object) -> None:
        """Log a notice for the user. The function in a machine's option `notify` gets it, too."""
        self._log(WARNING, text, args)

    def info(self, text: str, *args: object) -> None:
        """Log a main event of a machine, such as its start."""
        self._log(INFO, text, args)

    def debug(self, text: str, *args: object) -> None:
        """Log a detail, such as the command line of QEMU."""
        self._log(DEBUG, text, args)

    def frame(self, sender: str, data: bytes) -> None:
        """Log a frame of the protocol. The record has the attributes `sender` and `frame`."""
        self._log(TRACE, "the %s sends %d bytes", (sender, len(data)), sender=sender, frame=data)

    def _log(self, level: int, text: str, args: tuple[object, ...], **extra: object) -> None:
        if self.listens(level) and self._logger is not None:
            self._logger.log(level, text, *args, extra=extra, stacklevel=3)


class Limit:
    """A limit for log messages: only the first `MOST_LOGGED` events of a sender are logged.

    :param area: Logger that logs a message when the limit is reached.
    :param whose: Name of the sender for that message, such as QEMU.
    """

    def __init__(self, area: Area, whose: str) -> None:
        self.is_reached = False
        self._area = area
        self._whose = whose
        self._left = MOST_LOGGED

    def allows(self) -> bool:
        """Count an event of the sender, and return True if it may be logged."""
        if self._left > 0:
            self._left -= 1
            return True
        if not self.is_reached:
            self.is_reached = True
            self._area.debug("no more is shown of %s", self._whose)
        return False


def _of(name: str) -> Logger:
    import logging

    logging.addLevelName(TRACE, "TRACE")
    root = logging.getLogger(ROOT)
    # Add a handler that shows nothing. Without any handler, Python would write warnings to standard
    # error.
    if not root.handlers:
        root.addHandler(logging.NullHandler())
    return logging.getLogger(name)
