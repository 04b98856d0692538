"""The timeouts of a running guest."""

from __future__ import annotations

import os
from typing import NamedTuple

from microvm.errors import UsageError

_PATIENCE = "MICROVM_PATIENCE"
_MOST_PATIENCE = 1000


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


def patience() -> float:
    """Return the factor by which time limits are longer on a very slow host; 1 by default.

    :raises UsageError: The variable MICROVM_PATIENCE is not a number from 1 to 1000.
    """
    text = os.environ.get(_PATIENCE) or "1"
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 1 <= factor <= _MOST_PATIENCE:
        raise UsageError(f"{_PATIENCE} is {text!r}, which is not a number from 1 to 1000")
    return factor
