"""The timeouts of a running guest."""

from __future__ import annotations

from typing import NamedTuple


class Timeouts(NamedTuple):
    """The intervals and time limits for a running guest, in seconds.

    :ivar ping_interval: Interval between two pings while a command runs.
    :ivar ping: Maximum time until the guest answers a ping or a request for its status.
    :ivar kill: Maximum time until a command exits after the host has requested to kill it.
    :ivar loss_grace: Time after the loss of the connection in which the owner of the machine can
        report the cause, before the guest fails.
    """

    ping_interval: float = 2.0
    ping: float = 8.0
    kill: float = 5.0
    loss_grace: float = 3.0


TIMEOUTS = Timeouts()
"""The timeouts of all machines."""
