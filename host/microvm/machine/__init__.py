"""The public classes for machines: their start and stop, commands, files, and snapshots.

The names below, which are needed only when the guest runs, are imported at their first use, as
`machine.NAME`. So the start of a machine can launch QEMU before it imports their modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from microvm.start import lazy_names

if TYPE_CHECKING:
    from dataclasses import asdict as asdict

    from microvm.guest import changes as changes
    from microvm.guest import files as guest_files
    from microvm.guest.connections import Connections as Connections
    from microvm.guest.run import run as run
    from microvm.guest.run import run_parsed as run_parsed
    from microvm.guest.status import GuestStatus as GuestStatus
    from microvm.machine.forks import Forks as Forks
    from microvm.machine.machine import MicroVM as MicroVM
    from microvm.start import checkpoint as checkpoint

    __all__ = ["guest_files"]

__getattr__ = lazy_names(
    __name__,
    {
        "Connections": "microvm.guest.connections:Connections",
        "Forks": "microvm.machine.forks:Forks",
        "MicroVM": "microvm.machine.machine:MicroVM",
        "GuestStatus": "microvm.guest.status:GuestStatus",
        "asdict": "dataclasses:asdict",
        "changes": "microvm.guest.changes",
        "checkpoint": "microvm.start.checkpoint",
        "guest_files": "microvm.guest.files",
        "run": "microvm.guest.run:run",
        "run_parsed": "microvm.guest.run:run_parsed",
    },
)
