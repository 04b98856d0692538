"""The timeouts of a running guest."""

from __future__ import annotations

from typing import NamedTuple


class Timeouts(NamedTuple):
    """The intervals and maximum waiting times for a running guest, in seconds.

    :ivar ping_interval: Interval between two pings while a command runs.
    :ivar ping: Maximum time until the answer to a ping or a request for the status.
    :ivar kill: Maximum time until the exit of a command that was killed.
    :ivar loss_grace: Time after the loss of the connection in which the owner of the machine can
        report the cause, before the guest fails.
    """

    ping_interval: float = 2.0
    ping: float = 8.0
    kill: float = 5.0
    loss_grace: float = 3.0


TIMEOUTS = Timeouts()
"""The timeouts of all machines."""
