"""The platform of this host: its operating system and its processor."""

from __future__ import annotations

import os
import sys

_NAMES = {"linux": "Linux", "darwin": "macOS"}


def system() -> str:
    """Return the name of the host's operating system in `sys.platform`, such as `linux`."""
    return sys.platform


def name() -> str:
    """Return the name of the host's operating system for messages, such as `Linux`."""
    return _NAMES.get(system()) or os.uname().sysname


def is_linux() -> bool:
    """Return whether the host runs Linux."""
    return system() == "linux"


def machine() -> str:
    """Return the name of the host's processor architecture, as `uname -m` prints it.

    Systems use different names for one architecture. `arches.native` returns the one of Linux.
    """
    return os.uname().machine


def kernel() -> tuple[str, str]:
    """Return the release and the build of the host's kernel, as `uname -r` and `uname -v` print."""
    host = os.uname()
    return host.release, host.version
