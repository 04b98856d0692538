"""Runs a command in a machine of a named pool, with our standard streams and terminal."""

from __future__ import annotations

from microvm.supervisor import lazy
from microvm.supervisor.client.foreground_command import execute_in
from microvm.supervisor.client.leasing import lease


def execute(name: str, command: list[str]) -> int | None:
    """Run a command in a machine of the pool `name`, and return the exit status for this process.

    Return None if the pool has no machine for the command, for example because it has ended.

    :raises MicroVMError: the command, or its machine, has failed.
    """
    try:
        connection, leased = lease(name)
    except lazy.errors.MicroVMError:
        return None
    with connection:
        argv = [*leased["entrypoint"], *command]
        return execute_in(name, argv, copier="--copy", lease=leased["lease"])
