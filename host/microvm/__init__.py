"""Run a command inside a real virtual machine.

::

    async with MicroVM() as vm:
        result = await vm.run(["echo", "hello"])

Everything that a user needs is here; it is imported when it is first used.
"""

from __future__ import annotations

from microvm._version import __version__

# The module `typing` takes longer to import than all that is here: a command waits for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from microvm.errors import (
        BootError,
        Busy,
        CacheError,
        ConfinementError,
        ExecError,
        ExecKilled,
        ExecTimeout,
        FileError,
        FileExists,
        FileForbidden,
        FileNotFound,
        GuestDied,
        GuestUnresponsive,
        ImageError,
        IsAFolder,
        MachineError,
        MemoryLimit,
        MicroVMError,
        NotAFolder,
        NotRun,
        OutputLimit,
        ProtocolError,
        QemuError,
        SnapshotError,
        StartError,
        TemplateError,
        UsageError,
        VersionMismatch,
    )
    from microvm.guest.download import Received
    from microvm.guest.files import FileStatus
    from microvm.guest.process import CompletedProcess, Process
    from microvm.guest.streams import InputStream, OutputStream
    from microvm.jobs.job import Job, Outcome
    from microvm.jobs.pool import Pool
    from microvm.machine.base import Machine
    from microvm.machine.forks import Forks
    from microvm.machine.machine import MicroVM
    from microvm.machine.snapshot import Snapshot
    from microvm.supervisor.client.attached import AttachedVM

__all__ = [
    "AttachedVM",
    "BootError",
    "Busy",
    "CacheError",
    "CompletedProcess",
    "ConfinementError",
    "ExecError",
    "ExecKilled",
    "ExecTimeout",
    "FileError",
    "FileExists",
    "FileForbidden",
    "FileNotFound",
    "FileStatus",
    "Forks",
    "GuestDied",
    "GuestUnresponsive",
    "ImageError",
    "InputStream",
    "IsAFolder",
    "Job",
    "Machine",
    "MachineError",
    "MemoryLimit",
    "MicroVM",
    "MicroVMError",
    "NotAFolder",
    "NotRun",
    "Outcome",
    "OutputLimit",
    "OutputStream",
    "Pool",
    "Process",
    "ProtocolError",
    "QemuError",
    "Received",
    "Snapshot",
    "SnapshotError",
    "StartError",
    "TemplateError",
    "UsageError",
    "VersionMismatch",
    "__version__",
]

_MODULES = {
    "AttachedVM": "supervisor.client.attached",
    "Job": "jobs.job",
    "Outcome": "jobs.job",
    "Machine": "machine.base",
    "MicroVM": "machine.machine",
    "Pool": "jobs.pool",
    "Snapshot": "machine.snapshot",
    "Forks": "machine.forks",
    "FileStatus": "guest.files",
    "Received": "guest.download",
    "CompletedProcess": "guest.process",
    "InputStream": "guest.streams",
    "OutputStream": "guest.streams",
    "Process": "guest.process",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"microvm.{_MODULES.get(name, 'errors')}"), name)


def load_ipython_extension(shell: Any) -> None:
    """Give IPython `%%microvm`; it calls this for `%load_ext microvm`."""
    from microvm.cli.notebook import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take `%%microvm` and its machines away; IPython calls this for `%unload_ext microvm`."""
    from microvm.cli.notebook import unload

    unload(shell)
