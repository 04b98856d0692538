"""The public classes for machines: their start and stop, commands, files, and snapshots.

To save time, the start of a machine launches QEMU before other modules are imported. So the modules
in `_SOURCES`, which are needed only when the guest runs, are imported when a name from them is
first used, as `machine.NAME`.
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
