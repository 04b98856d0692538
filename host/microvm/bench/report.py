"""The report of a run of the benchmark, and where it was made."""

from __future__ import annotations

from dataclasses import dataclass

from microvm.bench.boot import Boot
from microvm.bench.figures import Figure


@dataclass(frozen=True, slots=True)
class Platform:
    """The host and guest, on which the figures depend.

    :ivar date: the time of the measurement, ISO 8601.
    :ivar microvm: this library's version.
    :ivar cpu: the model name of the host's CPU.
    :ivar cpus: how many CPUs the measurement could use.
    :ivar load: the host's load average over the minute before.
    :ivar qemu: the version of QEMU.
    :ivar accel: QEMU's accelerator.
    :ivar kernel: the version of the guest's kernel, as `uname -r` prints it.
    :ivar image: the guest image's name.
    :ivar memory_mib: the guest's memory in MiB.
    """

    date: str
    microvm: str
    cpu: str
    cpus: int
    load: float
    qemu: str
    accel: str
    kernel: str
    image: str
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Density:
    """The measurement of many clones that are alive at once, and answer.

    :ivar count: the highest number of clones.
    :ivar seconds: from the first one's start until all were ready.
    :ivar memory: the proportional set size of each of their QEMUs on average, in MiB, by how many
        of them were alive; empty where the host does not tell.
    """

    count: int
    seconds: float
    memory: dict[int, float]


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run of the benchmark.

    :ivar boots: the cold boots by their parts, in the order that they were made.
    :ivar figures: in the order of `METRICS`.
    :ivar densities: the densities by the contender's name.
    """

    platform: Platform
    boots: tuple[Boot, ...]
    figures: tuple[Figure, ...]
    densities: dict[str, Density]
