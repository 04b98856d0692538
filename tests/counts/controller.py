"""What callgrind runs to count what the controller does: starts of machines, and commands in one.

python controller.py SPAN.SO STARTS EXECS
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib  # noqa: F401 -- see below
import sys

from microvm import MicroVM

WARM_UP = 3

# A process that has made a template has imported `hashlib`, and digests the state of each clone by
# OpenSSL then. Without it, a state of the size that Debian's kernel has takes 5 million
# instructions more. All processes that are measured import it, whether there is a template or not.


async def start() -> None:
    """Start a machine, and end it."""
    async with MicroVM(memory="256M"):
        pass


async def main(library: str, starts: int, execs: int) -> None:
    """Count each, when all that is done once has been done."""
    span = ctypes.CDLL(library)
    for _ in range(WARM_UP):
        await start()
    span.begin()
    for _ in range(starts):
        await start()
    span.end(b"start")
    async with MicroVM(memory="256M") as vm:
        for _ in range(WARM_UP):
            await vm.run(["true"])
        span.begin()
        for _ in range(execs):
            await vm.run(["true"])
        span.end(b"exec")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
