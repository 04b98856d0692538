"""The accelerator that the tests use, and how slow the host is: parameters of a run of pytest."""

from __future__ import annotations

import os
from typing import Literal

#: Factor of the tests' deadlines. A host that is emulated itself sets it to more than 1.
PATIENCE = float(os.environ.get("MICROVM_TEST_PATIENCE", "1"))

Accelerator = Literal["kvm", "tcg"]

_chosen: Accelerator = "tcg"


def accelerator() -> Accelerator:
    """Return the accelerator that pytest's option `--accel` names, by default TCG.

    Tests use it for machines that must have the same accelerator on every host.
    """
    return _chosen


def choose(accel: Accelerator) -> None:
    """Set the result of `accelerator` for this run of pytest."""
    global _chosen  # noqa: PLW0603 - pytest reads its options only once
    _chosen = accel
