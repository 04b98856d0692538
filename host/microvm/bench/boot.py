"""The parts of a cold boot, and how long each takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from microvm.errors import MicroVMError
from microvm.machine.machine import MicroVM

PARTS = {
    "qemu": "QEMU's start, up to the guest's first instruction",
    "kernel": "the guest's kernel, up to its first process",
    "daemon": "sandboxd, up to its open port",
    "handshake": "hello, and ready",
}
"""The parts, in their order."""

_CLOCK_READINGS = 20


@dataclass(frozen=True, slots=True)
class Boot:
    """The times of a cold boot, in seconds: from the call of `MicroVM.start` to `ready`.

    :ivar qemu: QEMU's start, up to the guest's first instruction.
    :ivar kernel: the guest's kernel, firmware and unpacking included, up to its first process.
    :ivar daemon: the daemon `sandboxd`, up to its open port.
    :ivar handshake: our `hello` through that port, and its answer.
    """

    qemu: float
    kernel: float
    daemon: float
    handshake: float

    @property
    def total(self) -> float:
        """The time of the whole boot, in seconds."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        """Return the parts by name, in their order."""
        return {name: getattr(self, name) for name in PARTS}


def median(boots: Sequence[Boot]) -> Boot:
    """Return the boot that took the median time; it is a real one, so its parts add up."""
    return sorted(boots, key=lambda boot: boot.total)[(len(boots) - 1) // 2]


async def boot_times(vm: MicroVM, begun: float, ready: float) -> Boot:
    """Return the times of a machine's boot. No command may have run in the machine yet.

    :param begun: the time of `time.monotonic()` at which its start was called, in seconds.
    :param ready: the time at which its start returned, on the same clock.
    :raises MicroVMError: the machine was cloned, so that it has not booted.
    """
    times = vm._start_times
    if times is None:
        raise MicroVMError("the machine has not booted")
    started, opened = await _daemon_times(vm)
    return Boot(
        qemu=times.running - begun,
        kernel=started - times.running,
        daemon=opened - started,
        handshake=ready - opened,
    )


async def _daemon_times(vm: MicroVM) -> tuple[float, float]:
    """Return when the daemon started and when it had opened its port, by the host's clock.

    The guest reads its clock between our request and its answer; of several readings, the one with
    the shortest time between the two places it best, as in NTP.
    """
    readings = [await _read_clock(vm) for _ in range(_CLOCK_READINGS)]
    _, offset, started, opened = min(readings)
    return started + offset, opened + offset


async def _read_clock(vm: MicroVM) -> tuple[float, float, float, float]:
    """Return the round trip, what to add to the guest's clock, and its two moments, in seconds."""
    before = time.monotonic()
    status = await vm.status()
    after = time.monotonic()
    now, started, opened = (
        nanoseconds / 1e9 for nanoseconds in (status.now_ns, status.started_ns, status.opened_ns)
    )
    return after - before, (before + after) / 2 - now, started, opened
