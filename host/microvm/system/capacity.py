"""The capacity of this host: memory and CPUs for machines."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from microvm.concurrency.threads import MORE_PROCESSES
from microvm.errors import UsageError
from microvm.units import format_size

GUEST_CPUS_PER_CPU = 8
"""The number of CPUs a guest may have for each that we may use: with 32 times as many it boots no
more within a minute, and what is tested with many is found with few."""

SHORTAGES = {
    errno.EAGAIN: MORE_PROCESSES,
    errno.EMFILE: "raise the limit on open files: `ulimit -n`",
    errno.ENFILE: "the whole host has no more open files: raise fs.file-max, or end what has many",
    errno.ENOMEM: "free some memory, or raise the limit on it: `ulimit -v`, or that of a cgroup",
}
"""The errors by which this host says that it has no more of something, and what to do then. What is
on the disk is not to blame."""

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def check(*, memory: int, cpus: int) -> None:
    """Check that a guest of this size fits on this host.

    :param memory: the guest's memory in bytes.
    :raises UsageError: it cannot; says what the host has.
    """
    most = GUEST_CPUS_PER_CPU * usable_cpus()
    if cpus > most:
        raise UsageError(
            f"a guest with {cpus} CPUs would not come up on the {usable_cpus()} of this host",
            hint=f"at most {most}, {GUEST_CPUS_PER_CPU} for each",
        )
    available = usable_memory()
    if available is not None and memory > available:
        raise UsageError(
            f"a guest of {format_size(memory)} does not fit into this host's memory",
            hint=f"at most {available >> 20}M: what the host has, or a cgroup around us allows",
        )


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_memory() -> int | None:
    """Return the bytes that our processes can have together; None where the host does not tell.

    The host's memory, or the limit of a cgroup (v2) around us, whichever is less.
    """
    return min(_limits(), default=None)


def _limits() -> Iterator[int]:
    with suppress(OSError, ValueError):
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError):
        for line in (_PROC / "self/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                cgroup = _CGROUPS / line.removeprefix("0::/")
                for folder in (cgroup, *cgroup.parents):
                    if folder.is_relative_to(_CGROUPS):
                        with suppress(OSError, ValueError):  # there is none at the root, or "max"
                            yield int((folder / "memory.max").read_text())
