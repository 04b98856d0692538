"""The factor for time limits on very slow hosts, such as a host that is itself emulated."""

from __future__ import annotations

import os

from microvm.errors import UsageError

_VARIABLE = "MICROVM_PATIENCE"
_MAX = 1000


def patience() -> float:
    """Return the factor by which time limits are longer on a very slow host; 1 by default.

    :raises UsageError: The variable MICROVM_PATIENCE is not a number from 1 to 1000.
    """
    text = os.environ.get(_VARIABLE) or "1"
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 1 <= factor <= _MAX:
        raise UsageError(f"{_VARIABLE} is {text!r}, which is not a number from 1 to {_MAX}")
    return factor


def patient(seconds: float) -> float:
    """Return `seconds` multiplied by MICROVM_PATIENCE, which users set on a very slow host."""
    return patience() * seconds
