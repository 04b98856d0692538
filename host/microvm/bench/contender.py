"""What the two sides of the comparison have in common; `Ours` and `Floor` are they."""

from __future__ import annotations

from typing import Protocol

STREAM_SIZE = 64 << 20
"""Bytes that pass in one measurement of throughput; as in floor/guest.c."""


class Machine(Protocol):
    """A machine that is up."""

    @property
    def pid(self) -> int:
        """QEMU's."""

    async def ping(self) -> None:
        """Ask the guest, and have its answer."""

    async def run_true(self) -> None:
        """Run `true`."""

    async def read_stream(self) -> None:
        """Have a process in the guest write `STREAM_SIZE` bytes, and read them."""

    async def write_stream(self) -> None:
        """Have a process in the guest read `STREAM_SIZE` bytes, and write them."""

    async def stop(self) -> None:
        """End it; idempotent."""


class Side(Protocol):
    """A way to start machines."""

    @property
    def name(self) -> str:
        """How reports call it."""

    async def boot(self) -> Machine:
        """Boot one."""

    async def clone(self) -> Machine:
        """Clone one that was saved, the first time now."""
