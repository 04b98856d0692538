"""Errors for a supervisor that has exited, or that does not answer."""

from __future__ import annotations

from contextlib import suppress

from microvm.errors import GuestDied, GuestUnresponsive, MachineError, MicroVMError
from microvm.supervisor.machine_directory import noun, verb
from microvm.supervisor.runtime_directory import RuntimeDirectory
from microvm.system.process import is_stopped


def ended(name: str) -> MachineError:
    """Return the error to raise if the supervisor of machine `name` exited before it replied."""
    with RuntimeDirectory() as runtime:
        try:
            directory = runtime.of(name)
        except OSError:
            return GuestDied(f"machine {name} was stopped")
        with directory:
            return directory.error()


def silent(name: str, process: int = 0) -> MachineError:
    """Return the error for a machine or pool `name`, whose supervisor does not answer.

    :param process: process id of the supervisor; 0 if it is not known.
    """
    is_pool = False
    with (
        suppress(OSError, MicroVMError),
        RuntimeDirectory() as runtime,
        runtime.of(name) as directory,
    ):
        is_pool = directory.is_pool()
    message = f"the supervisor of {noun(pool=is_pool)} {name} does not answer"
    look = f"`microvm {verb('inspect', pool=is_pool)} {name}` shows its process"
    if is_stopped(process):
        message = f"{message}: a signal has stopped process {process}"
        look = f"`kill -CONT {process}` resumes it"
    stop = verb("stop", pool=is_pool)
    return GuestUnresponsive(message, hint=f"{look}, `microvm {stop} {name}` ends it")
