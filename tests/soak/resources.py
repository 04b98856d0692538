"""The sampled resources of the host and of a guest, each with its permitted growth."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import children, memory, open_files, state

from microvm import MicroVM
from microvm.qemu import cgroup

from .trend import Bound

KIB, MIB = 1 << 10, 1 << 20
_READ = "cat /proc/meminfo; ls -d /proc/[0-9]* /sys/fs/cgroup/*/"
NONE = Bound(0.9)
"""No growth at all, for resources that are counted."""


@dataclass(frozen=True)
class Resource:
    """A resource: its name, its unit, and its permitted growth."""

    name: str
    unit: str
    bound: Bound


RESOURCES = (
    Resource("controller's memory", "MiB", Bound(6.0, 0.002)),
    Resource("controller's objects", "blocks", Bound(3000, 0.25)),
    Resource("controller's descriptors", "", NONE),
    Resource("controller's sockets", "", NONE),
    Resource("controller's threads", "", NONE),
    Resource("controller's tasks", "", NONE),
    Resource("children", "", NONE),
    Resource("zombies", "", NONE),
    Resource("files of the cache", "", NONE),
    Resource("bytes of the cache", "MiB", Bound(1.0)),
    Resource("locks", "", NONE),
    Resource("temporary files", "", NONE),
    Resource("control groups", "", NONE),
    Resource("QEMU's memory", "MiB", Bound(12.0, 0.002)),
    Resource("QEMU's descriptors", "", NONE),
    Resource("guest's memory in use", "MiB", Bound(3.0, 0.001)),
    Resource("guest's processes", "", NONE),
    Resource("guest's cgroups", "", NONE),
    Resource("daemon's descriptors", "", NONE),
    Resource("daemon's memory", "KiB", Bound(16.0)),
    Resource("daemon's zombies", "", NONE),
)
"""All resources in the order of the table. QEMU and the guest are those of the witness."""


def host(cache: Path, temporary: Path) -> dict[str, float]:
    """Return the resources of this process."""
    gc.collect()
    own = os.getpid()
    descriptors = open_files()
    processes = children(own)
    files = [path for path in cache.rglob("*") if path.is_file()]
    return {
        "controller's memory": memory(own) / KIB,
        "controller's objects": sys.getallocatedblocks(),
        "controller's descriptors": len(descriptors),
        "controller's sockets": sum("socket:" in target for target in descriptors.values()),
        "controller's threads": threading.active_count(),
        "controller's tasks": len(asyncio.all_tasks()),
        "children": len(processes),
        "zombies": sum(state(pid) == "Z" for pid in processes),
        "files of the cache": len(files),
        "bytes of the cache": sum(path.stat().st_size for path in files) / MIB,
        "locks": sum(path.suffix == ".lock" for path in files),
        "temporary files": len(list(temporary.rglob("*"))),
        "control groups": len(list(_groups())),
    }


def _groups() -> Iterator[Path]:
    """Return the cgroups of machines, which are beside or below our cgroup."""
    own = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].strip()
    yield from (cgroup.ROOT / own).parent.glob("microvm-*")
    yield from (cgroup.ROOT / own).glob("microvm-*")


async def guest(vm: MicroVM) -> dict[str, float]:
    """Return the resources of a machine on the host and in the guest."""
    status = await vm.status()
    read = await vm.run(["sh", "-c", _READ], text=True, check=True)
    lines = read.stdout.splitlines()
    sizes = {name: size for name, colon, size in (line.partition(":") for line in lines) if colon}
    total, free = (int(sizes[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    pid = vm.pid or 0
    return {
        "QEMU's memory": memory(pid) / KIB,
        "QEMU's descriptors": len(open_files(pid)),
        "guest's memory in use": (total - free) / KIB,
        "guest's processes": sum(line.startswith("/proc/") for line in lines),
        "guest's cgroups": sum(line.startswith("/sys/") for line in lines),
        "daemon's descriptors": status.descriptors,
        "daemon's memory": status.memory / KIB,
        "daemon's zombies": status.zombies,
    }
