"""Run a command inside a real virtual machine.

::

    async with MicroVM() as vm:
        result = await vm.run(["echo", "hello"])

The module `microvm.sync` offers the same classes without `async`.
"""

from __future__ import annotations

from microvm._version import __version__

# To be fast, `import microvm` imports neither `typing` nor any module of this library.
# `__getattr__` below imports the module of a public name when the name is first used.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from microvm.arches import Bus
    from microvm.errors import (
        BootError,
        Busy,
        CacheError,
        CommandForbidden,
        CommandNotAFolder,
        CommandNotFound,
        ConfinementError,
        ExecError,
        ExecKilled,
        ExecTimeout,
        ExitKind,
        FileError,
        FileExists,
        FileForbidden,
        FileNotFound,
        GuestDied,
        GuestUnresponsive,
        ImageError,
        IncompleteRead,
        InterpreterDied,
        InterpreterError,
        IsAFolder,
        MachineError,
        MemoryLimit,
        MicroVMError,
        NoJsonValue,
        NotAFolder,
        NotRun,
        OutputLimit,
        ProcessNotFound,
        ProtocolError,
        QemuError,
        QemuExit,
        ReadError,
        ReadLimit,
        ReadTimeout,
        SnapshotError,
        StartError,
        StreamError,
        TemplateError,
        UsageError,
        VersionMismatch,
    )
    from microvm.guest.download import Received
    from microvm.guest.file_request import GuestPath, GuestUser
    from microvm.guest.files import FileStatus
    from microvm.guest.forward import Forward
    from microvm.guest.process import CompletedProcess, Process
    from microvm.guest.reverse import Reverse, ReverseTarget
    from microvm.guest.status import GuestStatus
    from microvm.guest.streams import InputStream, OutputStream
    from microvm.guest.upload import FileData
    from microvm.images import Image, ImageManifest
    from microvm.images.config import ImageConfig
    from microvm.interpreter.cell import Cell, CellError, Display
    from microvm.interpreter.cell_run import OnDisplay, OnInput, OnText
    from microvm.interpreter.interpreter import Interpreter
    from microvm.jobs.job import CommandLines, Commands, Job, Outcome
    from microvm.jobs.machine_pool import MachinePool
    from microvm.jobs.pool import Pool
    from microvm.machine.base import Machine
    from microvm.machine.files import (
        FileOptions,
        GetOptions,
        ListOptions,
        PutArchiveOptions,
        PutOptions,
        ReadOptions,
        WriteOptions,
    )
    from microvm.machine.forks import Forks
    from microvm.machine.machine import MicroVM
    from microvm.machine.snapshot import Snapshot
    from microvm.options import (
        Accelerator,
        Argv,
        BytesRunOptions,
        Confinement,
        EncodedRunOptions,
        ExecOptions,
        MachineOptions,
        PoolOptions,
        RunOptions,
        Text,
        TextRunOptions,
        UncapturedRunOptions,
    )
    from microvm.sizes import size_class
    from microvm.supervisor.client.attached import AttachedVM
    from microvm.supervisor.client.detached import DetachedProcess
    from microvm.units import Duration, Size

__all__ = [
    "Accelerator",
    "Argv",
    "AttachedVM",
    "BootError",
    "Bus",
    "Busy",
    "BytesRunOptions",
    "CacheError",
    "Cell",
    "CellError",
    "CommandForbidden",
    "CommandLines",
    "CommandNotAFolder",
    "CommandNotFound",
    "Commands",
    "CompletedProcess",
    "Confinement",
    "ConfinementError",
    "DetachedProcess",
    "Display",
    "Duration",
    "EncodedRunOptions",
    "ExecError",
    "ExecKilled",
    "ExecOptions",
    "ExecTimeout",
    "ExitKind",
    "FileData",
    "FileError",
    "FileExists",
    "FileForbidden",
    "FileNotFound",
    "FileOptions",
    "FileStatus",
    "Forks",
    "Forward",
    "GetOptions",
    "GuestDied",
    "GuestPath",
    "GuestStatus",
    "GuestUnresponsive",
    "GuestUser",
    "Image",
    "ImageConfig",
    "ImageError",
    "ImageManifest",
    "IncompleteRead",
    "InputStream",
    "Interpreter",
    "InterpreterDied",
    "InterpreterError",
    "IsAFolder",
    "Job",
    "ListOptions",
    "Machine",
    "MachineError",
    "MachineOptions",
    "MachinePool",
    "MemoryLimit",
    "MicroVM",
    "MicroVMError",
    "NoJsonValue",
    "NotAFolder",
    "NotRun",
    "OnDisplay",
    "OnInput",
    "OnText",
    "Outcome",
    "OutputLimit",
    "OutputStream",
    "Pool",
    "PoolOptions",
    "Process",
    "ProcessNotFound",
    "ProtocolError",
    "PutArchiveOptions",
    "PutOptions",
    "QemuError",
    "QemuExit",
    "ReadError",
    "ReadLimit",
    "ReadOptions",
    "ReadTimeout",
    "Received",
    "Reverse",
    "ReverseTarget",
    "RunOptions",
    "Size",
    "Snapshot",
    "SnapshotError",
    "StartError",
    "StreamError",
    "TemplateError",
    "Text",
    "TextRunOptions",
    "UncapturedRunOptions",
    "UsageError",
    "VersionMismatch",
    "WriteOptions",
    "__version__",
    "size_class",
]

# For each module, the public names that it defines. `microvm.errors` defines all other names.
_NAMES = {
    "arches": "Bus",
    "guest.download": "Received",
    "guest.file_request": "GuestPath GuestUser",
    "guest.files": "FileStatus",
    "guest.forward": "Forward",
    "guest.process": "CompletedProcess Process",
    "guest.reverse": "Reverse ReverseTarget",
    "guest.status": "GuestStatus",
    "guest.streams": "InputStream OutputStream",
    "guest.upload": "FileData",
    "images": "Image ImageManifest",
    "images.config": "ImageConfig",
    "interpreter.cell": "Cell CellError Display",
    "interpreter.cell_run": "OnDisplay OnInput OnText",
    "interpreter.interpreter": "Interpreter",
    "jobs.job": "CommandLines Commands Job Outcome",
    "jobs.machine_pool": "MachinePool",
    "jobs.pool": "Pool",
    "machine.base": "Machine",
    "machine.files": "FileOptions GetOptions ListOptions PutArchiveOptions PutOptions ReadOptions "
    "WriteOptions",
    "machine.forks": "Forks",
    "machine.machine": "MicroVM",
    "machine.snapshot": "Snapshot",
    "options": "Accelerator Argv BytesRunOptions Confinement EncodedRunOptions ExecOptions "
    "MachineOptions PoolOptions RunOptions Text TextRunOptions UncapturedRunOptions",
    "supervisor.client.attached": "AttachedVM",
    "supervisor.client.detached": "DetachedProcess",
    "sizes": "size_class",
    "units": "Duration Size",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = (module for module, names in _NAMES.items() if name in names.split())
    return getattr(import_module(f"microvm.{next(found, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__


def load_ipython_extension(shell: Any) -> None:
    """Add the magic `%%microvm` to IPython. IPython calls this for `%load_ext microvm`."""
    from microvm.cli.notebook import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Remove the magic `%%microvm`, and stop its machines. `%unload_ext microvm` calls this."""
    from microvm.cli.notebook import unload

    unload(shell)
