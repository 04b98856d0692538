"""Machines as their user sees them: start and stop, commands, files, and snapshots.

The names in `_SOURCES` are imported at their first use, because a start launches QEMU first, and
these modules are needed when the guest runs. Use them as `machine.NAME`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import asdict as asdict

    from microvm.guest import files as guest_files
    from microvm.guest.run import run as run
    from microvm.guest.run import run_parsed as run_parsed
    from microvm.guest.status import GuestStatus as GuestStatus
    from microvm.machine.forks import Forks as Forks
    from microvm.start import checkpoint as checkpoint

    __all__ = ["guest_files"]

_SOURCES = {
    "Forks": ("microvm.machine.forks", "Forks"),
    "GuestStatus": ("microvm.guest.status", "GuestStatus"),
    "asdict": ("dataclasses", "asdict"),
    "checkpoint": ("microvm.start.checkpoint", ""),
    "guest_files": ("microvm.guest.files", ""),
    "run": ("microvm.guest.run", "run"),
    "run_parsed": ("microvm.guest.run", "run_parsed"),
}


def __getattr__(name: str) -> object:
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _SOURCES[name]
    __import__(module)
    source = sys.modules[module]
    return getattr(source, attribute) if attribute else source
