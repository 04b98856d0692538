"""Runs a command in a machine of a named pool, with our standard streams and terminal."""

from __future__ import annotations

from microvm.supervisor import lazy
from microvm.supervisor.client import foreground_command, protocol
from microvm.supervisor.client.blocking import connect
from microvm.supervisor.client.foreground_command import Ended, ForegroundCommand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class PooledCommand(ForegroundCommand):
    """A command for a machine of a pool.

    :ivar has_started: True if the command runs, or has run, in a machine of the pool.
    """

    has_started = False

    def _on_event(self, name: str, value: Any) -> None:
        if name == "started":
            self.has_started = True
            self.connection.max_pings = protocol.MAX_PINGS
        super()._on_event(name, value)


def execute(name: str, argv: list[str]) -> int | None:
    """Run a command in a machine of the pool `name`, and return the exit status for this process.

    Return None if the pool could not start the command, for example because none of its machines is
    ready. The command has not run then.

    :raises MicroVMError: the command, or its machine, has failed.
    """
    try:
        connection = connect(name)
    except lazy.errors.MicroVMError:
        return None
    with connection:
        command = PooledCommand(connection, {})
        # Do not wait for a pool that does not answer.
        connection.max_pings = 0
        try:
            returncode = command.run(argv, None, wait=False)
        except Ended as ended:
            command.leave()
            return ended.status
        except lazy.errors.MicroVMError as error:
            if not command.has_started:
                return None
            foreground_command.explain(error, argv, command.options, "--copy")
            raise
        return foreground_command.exit_status(returncode)
