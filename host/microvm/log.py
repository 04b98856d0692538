"""The log of the library: events for the module `logging`, with one area for each part.

Nothing is shown by default. Users of the library add a handler, and the command line does so for
`-v` and MICROVM_LOG; see docs/logging.md.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger

ROOT = "microvm"
"""Name of the logger above the loggers of all areas."""

AREAS = ("start", "qemu", "guest", "wire", "image", "cache")

WARNING = 30
"""Level of messages that `notify` also gets, such as why KVM is not used."""

INFO = 20
"""Level of the main events of a machine, with a few lines for each machine."""

DEBUG = 10
"""Level of details, such as the command line of QEMU and the console of the guest."""

TRACE = 5
"""Level of all frames, which contain the environment, input and output of commands."""

MOST_LOGGED = 1000
"""Maximum number of lines, messages or frames that are logged for one sender."""

LEVELS = {"warning": WARNING, "info": INFO, "debug": DEBUG, "trace": TRACE}


class Area:
    """The logger of one area, which is one of `AREAS`.

    Importing `logging` is slow, so this class uses it only if another module has imported it.
    Otherwise no handler can exist.
    """

    def __init__(self, name: str) -> None:
        self._name = f"{ROOT}.{name}"
        self._logger: Logger | None = None

    def listens(self, level: int) -> bool:
        """Return True if a handler may want events of this level."""
        if self._logger is None and "logging" in sys.modules:
            self._logger = _of(self._name)
        return self._logger is not None and self._logger.isEnabledFor(level)

    def warning(self, text: str, *args: object) -> None:
        """Log a message that `notify` also gets."""
        self._log(WARNING, text, args)

    def info(self, text: str, *args: object) -> None:
        """Log a main event of a machine."""
        self._log(INFO, text, args)

    def debug(self, text: str, *args: object) -> None:
        """Log details."""
        self._log(DEBUG, text, args)

    def frame(self, sender: str, data: bytes) -> None:
        """Log a frame. The record has the sender and the frame as attributes."""
        self._log(TRACE, "the %s sends %d bytes", (sender, len(data)), sender=sender, frame=data)

    def _log(self, level: int, text: str, args: tuple[object, ...], **extra: object) -> None:
        if self.listens(level) and self._logger is not None:
            self._logger.log(level, text, *args, extra=extra, stacklevel=3)


class Limit:
    """A counter that allows the first `MOST_LOGGED` events of one sender to be logged."""

    def __init__(self, area: Area, whose: str) -> None:
        """Create a counter. `whose` names the sender in the message about the limit."""
        self.is_reached = False
        self._area = area
        self._whose = whose
        self._left = MOST_LOGGED

    def allows(self) -> bool:
        """Count an event, and return True if it should be logged."""
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
    if not root.handlers:  # otherwise Python writes warnings to standard error
        root.addHandler(logging.NullHandler())
    return logging.getLogger(name)
