"""The report of a run of the benchmark, with the description of the host and guest."""

from __future__ import annotations

from dataclasses import dataclass

from microvm.bench.boot import Boot
from microvm.bench.figures import Figure


@dataclass(frozen=True, slots=True)
class Platform:
    """The description of the host and the guest, on which the measured values depend.

    :ivar microvm: Version of microvm.
    :ivar cpu: Model name of the host's CPU.
    :ivar load: Load average of the host in the minute before the measurement.
    :ivar qemu: Version of QEMU.
    :ivar kernel: Version of the guest's kernel, as printed by `uname -r`.
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
    """The measurement of many clones that run at the same time.

    :ivar count: Maximum number of clones.
    :ivar seconds: Time from the start of the first clone until all clones were ready.
    :ivar memory: Average proportional set size of a QEMU process in MiB, by the number of clones
        that were running; empty if the host does not report it.
    """

    count: int
    seconds: float
    memory: dict[int, float]


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run of the benchmark.

    :ivar boots: Durations of the steps of the cold boots, in the order of the boots.
    :ivar figures: Measured values, in the order of `METRICS`.
    :ivar densities: Measurements of many clones, by the name of the contender.
    """

    platform: Platform
    boots: tuple[Boot, ...]
    figures: tuple[Figure, ...]
    densities: dict[str, Density]
