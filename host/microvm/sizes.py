"""Sizes of machines that are rounded up, so that few templates are needed."""

from __future__ import annotations

from microvm.options import PoolOptions
from microvm.system import capacity
from microvm.units import Size, parse_count, parse_memory

_LEAST_MEMORY = 256 << 20


def size_class(memory: Size = _LEAST_MEMORY, cpus: int = 1) -> PoolOptions:
    """Round the size of a machine up, and return it as the options `memory` and `cpus`.

    ::

        async with MicroVM("python", **size_class("700M", cpus=2)) as vm: ...

    Each combination of memory and CPUs needs a template of its own, which takes seconds to boot.
    This function returns few combinations: powers of two, and at least 256 MiB. If the rounded size
    does not fit on this host, it returns the given size.
    """
    given, cpus = parse_memory(memory), parse_count(cpus, least=1)
    most = capacity.usable_memory()
    rounded = max(_LEAST_MEMORY, _power_of_two(given))
    return {
        "memory": given if most is not None and rounded > most else rounded,
        "cpus": min(_power_of_two(cpus), max(cpus, capacity.usable_cpus())),
    }


def _power_of_two(number: int) -> int:
    """Return the smallest power of two that is not less than a positive number."""
    return 1 << (number - 1).bit_length()
