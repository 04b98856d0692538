"""The durations of the steps of a cold boot."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from microvm.errors import MicroVMError
from microvm.machine.machine import MicroVM

PARTS = {
    "qemu": "the start of QEMU, up to the guest's first instruction",
    "kernel": "the guest's kernel, up to its first process",
    "daemon": "sandboxd, up to its open port",
    "handshake": "the handshake: hello and ready",
}
"""Names of the steps in their order, each with its description."""

_CLOCK_READINGS = 20


@dataclass(frozen=True, slots=True)
class Boot:
    """The durations in seconds of the steps from the call of `MicroVM.start` until it returns.

    `PARTS` describes each step.
    """

    qemu: float
    kernel: float
    daemon: float
    handshake: float

    @property
    def total(self) -> float:
        """Duration of the whole boot in seconds."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        """Return the durations of the steps in their order, each with its name."""
        return {name: getattr(self, name) for name in PARTS}


def median(boots: Sequence[Boot]) -> Boot:
    """Return the boot whose total duration is the median.

    The steps of this boot add up to its total, because it was measured.
    """
    return sorted(boots, key=lambda boot: boot.total)[(len(boots) - 1) // 2]


async def boot_times(vm: MicroVM, begun: float, ready: float) -> Boot:
    """Return the durations of the steps of a boot, which took from `begun` until `ready`.

    No command may have run in the machine yet.

    :param begun: Time of `time.monotonic()` at which `MicroVM.start` was called, in seconds.
    :param ready: Time at which it returned, on the same clock.
    """
    times = vm._start_times
    if times is None:
        raise MicroVMError("cannot measure the boot: the machine was cloned")
    started, opened = await _daemon_times(vm)
    return Boot(
        qemu=times.running - begun,
        kernel=started - times.running,
        daemon=opened - started,
        handshake=ready - opened,
    )


async def _daemon_times(vm: MicroVM) -> tuple[float, float]:
    """Return when the daemon started and opened its port to the host, both by the host's clock.

    The guest reads its clock between the host's request and its own answer. The attempt with the
    shortest round trip gives the most exact offset between the two clocks, as in NTP.
    """
    readings = [await _read_clock(vm) for _ in range(_CLOCK_READINGS)]
    _, offset, started, opened = min(readings)
    return started + offset, opened + offset


async def _read_clock(vm: MicroVM) -> tuple[float, float, float, float]:
    """Request the guest's time, and compare the guest's clock with the host's clock.

    Return four numbers of seconds: the duration of the request, the host's time minus the guest's
    time, and the times at which the daemon started and opened its port, by the guest's clock.
    """
    before = time.monotonic()
    status = await vm.status()
    after = time.monotonic()
    now, started, opened = (
        nanoseconds / 1e9 for nanoseconds in (status.now_ns, status.started_ns, status.opened_ns)
    )
    return after - before, (before + after) / 2 - now, started, opened
