"""The log: events for the standard `logging`, with an area for each part of the library.

Nobody hears of it who has not asked: those who use the library set a handler up, as for any other,
and on the command line `-v` and MICROVM_LOG do; see docs/logging.md.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger

ROOT = "microvm"
"""The logger above those of all areas."""

AREAS = ("start", "qemu", "guest", "wire", "image", "cache")

WARNING = 30
"""The level of what users are told anyway, by `notify`: why there is no KVM, or no clone."""

INFO = 20
"""The level of what happens to a machine, a few lines for each."""

DEBUG = 10
"""The level of how and why: QEMU's command line, QMP, the guest's console."""

TRACE = 5
"""The level of frames, with the environment, input and output of commands in it."""

MOST_LOGGED = 1000
"""The number of lines, messages or frames that are logged of a sender who might never stop."""

LEVELS = {"warning": WARNING, "info": INFO, "debug": DEBUG, "trace": TRACE}


class Area:
    """The logger of one area, one of `AREAS`.

    To import `logging` takes longer than all else that comes before QEMU's start; and where nobody
    has imported it, nobody listens.
    """

    def __init__(self, name: str) -> None:
        self._name = f"{ROOT}.{name}"
        self._logger: Logger | None = None

    def listens(self, level: int) -> bool:
        """Tell whether somebody may want to hear of this level."""
        if self._logger is None and "logging" in sys.modules:
            self._logger = _of(self._name)
        return self._logger is not None and self._logger.isEnabledFor(level)

    def warning(self, text: str, *args: object) -> None:
        """Log what users are told by `notify`."""
        self._log(WARNING, text, args)

    def info(self, text: str, *args: object) -> None:
        """Log what happens to a machine."""
        self._log(INFO, text, args)

    def debug(self, text: str, *args: object) -> None:
        """Log how and why something happens."""
        self._log(DEBUG, text, args)

    def frame(self, sender: str, data: bytes) -> None:
        """Log a frame, or what should have been one; the record has both as attributes."""
        self._log(TRACE, "the %s sends %d bytes", (sender, len(data)), sender=sender, frame=data)

    def _log(self, level: int, text: str, args: tuple[object, ...], **extra: object) -> None:
        if self.listens(level) and self._logger is not None:
            self._logger.log(level, text, *args, extra=extra, stacklevel=3)


class Limit:
    """A limit of what is logged of one sender: the first `MOST_LOGGED`, and that there is more."""

    def __init__(self, area: Area, whose: str) -> None:
        """Begin with nothing logged; `whose` it is, is said where the limit is reached."""
        self.is_reached = False
        self._area = area
        self._whose = whose
        self._left = MOST_LOGGED

    def allows(self) -> bool:
        """Count one more, and tell whether it is to be logged."""
        if self._left > 0:
            self._left -= 1
            return True
        if not self.is_reached:
            self.is_reached = True
            self._area.debug("of %s no more is shown", self._whose)
        return False


def _of(name: str) -> Logger:
    import logging

    logging.addLevelName(TRACE, "TRACE")
    root = logging.getLogger(ROOT)
    if not root.handlers:  # else Python writes warnings on stderr
        root.addHandler(logging.NullHandler())
    return logging.getLogger(name)
