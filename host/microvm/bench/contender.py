"""The interface of a contender in the benchmark: microvm and the baseline implement it."""

from __future__ import annotations

from typing import Protocol

STREAM_SIZE = 64 << 20
"""Number of bytes in one measurement of throughput; baseline/guest.c has the same number."""


class MeasuredMachine(Protocol):
    """A running machine of a contender."""

    @property
    def pid(self) -> int:
        """Process id of QEMU."""

    async def ping(self) -> None:
        """Send a request to the guest, and wait for its answer."""

    async def run_true(self) -> None:
        """Run `true` in the guest."""

    async def run_python(self) -> None:
        """Run `python3 -c pass` in a guest that contains Python."""

    async def read_stream(self) -> None:
        """Read `STREAM_SIZE` bytes that a process in the guest writes."""

    async def write_stream(self) -> None:
        """Write `STREAM_SIZE` bytes that a process in the guest reads."""

    async def stop(self) -> None:
        """Stop the machine; idempotent."""


class Contender(Protocol):
    """A program that starts machines, which are measured."""

    @property
    def name(self) -> str:
        """Name in reports."""

    async def boot(self) -> MeasuredMachine:
        """Boot a machine."""

    async def clone(self) -> MeasuredMachine:
        """Clone a saved machine. The first call boots and saves it."""
