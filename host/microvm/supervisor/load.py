"""Measures how many CPUs of the host the leased machines of a pool use."""

from __future__ import annotations

import time
from dataclasses import dataclass

from microvm.supervisor.handlers import usage

_INTERVAL = 1.0  # seconds for which a machine is observed, before its use of CPUs is known


@dataclass(slots=True)
class _Sample:
    """A measurement of a machine.

    :ivar at: When the machine was measured, in seconds of the monotonic clock.
    :ivar cpu_time: CPU seconds that the machine's QEMU had used until then.
    :ivar cpus: Number of CPUs that the machine has used since the measurement before.
    """

    at: float
    cpu_time: float
    cpus: float


class Load:
    """The CPUs that machines use. A machine is assumed to use one CPU until it was observed."""

    def __init__(self) -> None:
        self._samples: dict[int, _Sample] = {}

    def add(self, process: int) -> None:
        """Begin to observe a machine, whose QEMU has this process id."""
        self._samples[process] = _Sample(time.monotonic(), _cpu_time(process), 1.0)

    def remove(self, process: int) -> None:
        """Stop observing a machine."""
        self._samples.pop(process, None)

    @property
    def cpus(self) -> int:
        """The number of CPUs that all machines together use."""
        return round(sum(each.cpus for each in self._samples.values()))

    def measure(self) -> None:
        """Measure each machine that was not measured in the last second."""
        for process, before in self._samples.items():
            now = time.monotonic()
            if now - before.at >= _INTERVAL:
                used = _cpu_time(process)
                cpus = (used - before.cpu_time) / (now - before.at)
                self._samples[process] = _Sample(now, used, max(cpus, 0.0))


def _cpu_time(process: int) -> float:
    return float(usage(process).get("cpu_time", 0.0))
