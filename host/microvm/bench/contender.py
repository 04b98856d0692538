"""The interface of the benchmark's contenders, which are microvm and the baseline, plain QEMU."""

from __future__ import annotations

from typing import Protocol

STREAM_SIZE = 64 << 20
"""Number of bytes in a measurement of throughput; baseline/guest.c contains the same number."""


class MeasuredMachine(Protocol):
    """A running machine that the benchmark measures."""

    @property
    def pid(self) -> int:
        """Process id of QEMU."""

    async def ping(self) -> None:
        """Send a request to the guest, and wait for its answer."""

    async def run_true(self) -> None:
        """Run the program `true` in the guest."""

    async def run_python(self) -> None:
        """Run `python3 -c pass` in a guest that contains Python."""

    async def read_stream(self) -> None:
        """Read `STREAM_SIZE` bytes that a process in the guest writes."""

    async def write_stream(self) -> None:
        """Write `STREAM_SIZE` bytes that a process in the guest reads."""

    async def stop(self) -> None:
        """Stop the machine; idempotent."""


class Contender(Protocol):
    """An implementation that starts the machines to measure: microvm, or plain QEMU."""

    @property
    def name(self) -> str:
        """Name of the contender in reports."""

    async def boot(self) -> MeasuredMachine:
        """Boot a machine, without cloning."""

    async def clone(self) -> MeasuredMachine:
        """Clone a saved machine. The first call boots the machine and saves it."""
