"""The library without `async`: the same objects, driven from ordinary code.

::

    with MicroVM() as vm:
        print(vm.run(["echo", "hello"], text=True).stdout)

Nothing is implemented here a second time. Each call runs the coroutine of the same name in an
event loop that the machine, or the pool, has in a thread of its own, and waits for it. So it works
wherever code runs: in any thread, in several at a time (a machine still runs one command at a
time), and where an event loop runs already, as in a notebook; that loop stands still for as long as
the call takes. Deadlines hold between the calls, too.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from microvm.sync.attached import AttachedVM
    from microvm.sync.base import Machine
    from microvm.sync.forks import Forks
    from microvm.sync.machine import MicroVM
    from microvm.sync.pool import Pool
    from microvm.sync.process import Process
    from microvm.sync.streams import InputStream, OutputStream

_MODULES = {
    "AttachedVM": "attached",
    "Forks": "forks",
    "InputStream": "streams",
    "Machine": "base",
    "MicroVM": "machine",
    "OutputStream": "streams",
    "Pool": "pool",
    "Process": "process",
}

__all__ = [
    "AttachedVM",
    "Forks",
    "InputStream",
    "Machine",
    "MicroVM",
    "OutputStream",
    "Pool",
    "Process",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    return getattr(import_module(f"microvm.sync.{_MODULES[name]}"), name)
