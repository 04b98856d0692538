"""Signals as a process finds them that was started by hand."""

from __future__ import annotations

import signal


def restore() -> None:
    """Take back that some are ignored: what we start inherits that.

    A shell's background job starts with SIGINT and SIGQUIT ignored, what nohup starts with SIGHUP.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
