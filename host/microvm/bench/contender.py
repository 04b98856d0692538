"""The interface of a contender of the comparison, which the library and the baseline both have."""

from __future__ import annotations

from typing import Protocol

STREAM_SIZE = 64 << 20
"""Bytes that pass in one measurement of throughput; as in baseline/guest.c."""


class MeasuredMachine(Protocol):
    """A running machine of a contender."""

    @property
    def pid(self) -> int:
        """The process id of QEMU."""

    async def ping(self) -> None:
        """Ask the guest, and wait for its answer."""

    async def run_true(self) -> None:
        """Run `true` in the guest."""

    async def run_python(self) -> None:
        """Run a Python that does nothing, in a guest that has it."""

    async def read_stream(self) -> None:
        """Have a process in the guest write `STREAM_SIZE` bytes, and read them."""

    async def write_stream(self) -> None:
        """Have a process in the guest read `STREAM_SIZE` bytes, and write them."""

    async def stop(self) -> None:
        """End the machine; idempotent."""


class Contender(Protocol):
    """A way to start machines, whose machines are measured."""

    @property
    def name(self) -> str:
        """The name in reports."""

    async def boot(self) -> MeasuredMachine:
        """Boot a machine."""

    async def clone(self) -> MeasuredMachine:
        """Clone a machine that was saved; the first call saves it."""
