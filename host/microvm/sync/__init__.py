"""The library for programs without `async`: the same classes, with methods that block.

::

    with MicroVM() as vm:
        print(vm.run(["echo", "hello"], text=True).stdout)

Each machine and each pool has an event loop in a thread of its own. A method runs the coroutine of
the same name in that loop, and waits for its result. So the classes can be used in any thread, in
several threads at the same time, and where an event loop is already running, as in a notebook. The
running event loop is blocked during a call. The time limit of a command also applies while no
method is being called.
"""

from __future__ import annotations

from microvm.sync.base import Machine
from microvm.sync.forks import Forks
from microvm.sync.forward import Forward
from microvm.sync.interpreter import Interpreter
from microvm.sync.machine import AttachedVM, MicroVM
from microvm.sync.pool import Pool
from microvm.sync.process import DetachedProcess, InputStream, OutputStream, Process
from microvm.sync.reverse import Reverse, ReverseTarget

__all__ = [
    "AttachedVM",
    "DetachedProcess",
    "Forks",
    "Forward",
    "InputStream",
    "Interpreter",
    "Machine",
    "MicroVM",
    "OutputStream",
    "Pool",
    "Process",
    "Reverse",
    "ReverseTarget",
]
