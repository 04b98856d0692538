"""The limit of a command's output, and the size of a machine, for adapters of frameworks."""

from __future__ import annotations

import math

from microvm import size_class
from microvm.options import PoolOptions

CAPTURE_LIMIT = "10M"
"""Maximum size of a command's output, or of each of its two streams. The rest is dropped."""


def sizes(cpus: float | None, memory_mib: int | None, disk: str | None) -> PoolOptions:
    """Return the options of a machine that has at least the resources that a task asks for.

    CPUs and memory are rounded up, so that machines of different tasks can share a template.

    :param disk: Size of the disk, such as `10G`.
    """
    options: PoolOptions = {}
    if cpus is not None:
        options["cpus"] = size_class(cpus=math.ceil(cpus))["cpus"]
    if memory_mib is not None:
        options["memory"] = size_class(f"{memory_mib}M")["memory"]
    if disk is not None:
        options["disk"] = disk
    return options
