"""Default handling of signals, as in a process that was started from a terminal."""

from __future__ import annotations

import signal


def restore() -> None:
    """Restore the default handling of signals, which child processes inherit.

    A background job of a shell starts with SIGINT and SIGQUIT ignored, and nohup ignores SIGHUP.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
