"""The timeouts of a live guest are one record."""

from __future__ import annotations

from typing import NamedTuple


class Timeouts(NamedTuple):
    """The times for which a live guest is waited for, in seconds.

    :ivar ping_interval: between two pings, while a command runs.
    :ivar ping: until it answers a ping, or says its status.
    :ivar kill: until a command that was killed is gone.
    :ivar loss_grace: from the end of its port until it is given up, in which the machine's owner
        can say how it ended.
    """

    ping_interval: float = 2.0
    ping: float = 8.0
    kill: float = 5.0
    loss_grace: float = 3.0


TIMEOUTS = Timeouts()
"""The timeouts of every machine."""
