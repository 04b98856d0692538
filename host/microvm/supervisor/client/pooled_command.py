"""Runs a command in a machine of a named pool, with our standard streams and terminal."""

from __future__ import annotations

from microvm.supervisor import lazy
from microvm.supervisor.client.foreground_command import execute_over
from microvm.supervisor.client.leasing import LeasedMachine


def execute(name: str, command: list[str]) -> int | None:
    """Run a command in a machine of the pool `name`, and return the exit status for this process.

    Return None if the pool has no machine for the command, for example because it has ended.

    :raises MicroVMError: the command, or its machine, has failed.
    """
    try:
        machine = LeasedMachine(name)
    except (lazy.errors.MicroVMError, OSError):
        return None
    with machine:
        try:
            connection = machine.connect()
        except (lazy.errors.MicroVMError, OSError):
            return None  # the pool has just ended
        argv = [*machine.facts.get("entrypoint", ()), *command]
        with connection:
            return execute_over(connection, argv, copier="--copy", lease=machine.facts["lease"])
