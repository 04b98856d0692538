"""The memory and the CPUs that machines can use on this host."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from microvm.concurrency.threads import MORE_PROCESSES
from microvm.errors import UsageError
from microvm.system import platform
from microvm.units import format_size

GUEST_CPUS_PER_CPU = 8
"""Maximum number of CPUs of a guest for each CPU that we may use.

More CPUs slow the guest down: with 32 for each of our CPUs, it boots for more than a minute.
"""

SHORTAGES = {
    errno.EAGAIN: MORE_PROCESSES,
    errno.EMFILE: "raise the limit on open files: `ulimit -n`",
    errno.ENFILE: "the host has too many open files: raise fs.file-max, or end programs with many",
    errno.ENOMEM: "free some memory, or raise its limit: `ulimit -v`, or memory.max of the cgroup",
}
"""The errors for a resource that this host lacks, and what to do about each.

If reading a file fails with such an error, the file itself is not damaged.
"""

_CGROUPS = Path("/sys/fs/cgroup")


def check(*, memory: int, cpus: int) -> None:
    """Check that a guest with this memory and this number of CPUs fits on this host.

    :param memory: the guest's memory in bytes.
    :raises UsageError: the guest does not fit; the hint has the maximum.
    """
    most = GUEST_CPUS_PER_CPU * usable_cpus()
    if cpus > most:
        raise UsageError(
            f"a guest with {cpus} CPUs cannot boot in time on {usable_cpus()} CPUs of this host",
            hint=f"use at most {most}: {GUEST_CPUS_PER_CPU} for each CPU of the host",
        )
    available = usable_memory()
    if available is not None and memory > available:
        raise UsageError(
            f"a guest of {format_size(memory)} does not fit into this host's memory",
            hint=f"use at most {available >> 20}M, the memory of the host or the limit of a cgroup",
        )


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_memory() -> int | None:
    """Return the number of bytes of memory that our processes can use together; None if unknown.

    The number is the memory of the host, or the limit of a cgroup (v2) that this process is in, if
    that is less.
    """
    return min(_limits(), default=None)


def _limits() -> Iterator[int]:
    with suppress(OSError, ValueError):
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in platform.proc("self/cgroup").splitlines():
        if line.startswith("0::/"):
            cgroup = _CGROUPS / line.removeprefix("0::/")
            for folder in (cgroup, *cgroup.parents):
                # the root cgroup has no memory.max, and "max" means no limit
                with suppress(OSError, ValueError):
                    if folder.is_relative_to(_CGROUPS):
                        yield int((folder / "memory.max").read_text())
