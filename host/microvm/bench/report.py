"""What was measured, and where. Times are in seconds unless a name says otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Boot:
    """One cold boot, from before QEMU is spawned to the daemon's `ready`, in its parts.

    :ivar qemu: QEMU's start, up to the guest's first instruction.
    :ivar kernel: the guest's kernel, firmware and unpacking included, up to its first process.
    :ivar daemon: that process, `sandboxd`, up to its open port.
    :ivar handshake: our `hello` through that port, and its answer.
    """

    qemu: float
    kernel: float
    daemon: float
    handshake: float

    @property
    def total(self) -> float:
        """The whole boot."""
        return self.qemu + self.kernel + self.daemon + self.handshake

    def parts(self) -> dict[str, float]:
        """Return the parts by name, in their order."""
        return {
            "qemu": self.qemu,
            "kernel": self.kernel,
            "daemon": self.daemon,
            "handshake": self.handshake,
        }


def median(boots: Sequence[Boot]) -> Boot:
    """Return the boot that took the median time; a real one, so its parts are its total."""
    return sorted(boots, key=lambda boot: boot.total)[(len(boots) - 1) // 2]


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long something took, each time that it was done; at least once."""

    samples: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        """Return the least sample that at least `percent` % of all samples do not exceed."""
        rank = math.ceil(len(self.samples) * percent / 100)
        return sorted(self.samples)[max(rank, 1) - 1]

    def summary(self) -> dict[str, float]:
        """Return what is quoted, by name: the median, the tail and the worst."""
        return {
            "p50": self.percentile(50),
            "p95": self.percentile(95),
            "p99": self.percentile(99),
            "max": max(self.samples),
        }


@dataclass(frozen=True, slots=True)
class Throughput:
    """How fast bytes pass between us and a command.

    :ivar size: bytes that the command wrote, or read.
    :ivar elapsed: from the request to the command's end, for each run.
    """

    command: tuple[str, ...]
    size: int
    elapsed: Latencies

    @property
    def megabytes_per_second(self) -> float:
        """Of the median run; 10⁶ bytes per second."""
        return self.size / 1e6 / self.elapsed.percentile(50)


@dataclass(frozen=True, slots=True)
class Platform:
    """What the figures depend on.

    :ivar date: of the measurement, ISO 8601.
    :ivar microvm: this library's version.
    :ivar cpu: the host's, by its model name.
    :ivar cpus: how many of them the measurement could use.
    :ivar qemu: its version.
    :ivar accel: QEMU's accelerator.
    :ivar kernel: the guest's, as `uname -r` says it.
    :ivar image: the guest image's name.
    :ivar memory_mib: the guest's.
    """

    date: str
    microvm: str
    cpu: str
    cpus: int
    qemu: str
    accel: str
    kernel: str
    image: str
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the benchmark.

    :ivar boots: each on a machine of its own.
    :ivar pings: a frame to the guest and its answer.
    :ivar execs: `exec_command`, from the request to its exit status and the end of its output.
    :ivar stdout: what a command writes, through a pipe.
    :ivar stdin: what a command reads, through a pipe.
    """

    platform: Platform
    boots: tuple[Boot, ...]
    pings: Latencies
    exec_command: tuple[str, ...]
    execs: Latencies
    stdout: Throughput
    stdin: Throughput
