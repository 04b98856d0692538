"""A program for callgrind that starts machines and runs commands, to count its instructions.

python controller.py SPAN.SO STARTS EXECS
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib  # noqa: F401 -- see below
import sys

from microvm import MicroVM

WARM_UP = 3

# A process that saves a template imports `hashlib`, and then uses OpenSSL to digest the state of
# clones. Without `hashlib`, the state of a guest with Debian's kernel takes 5 million
# more instructions. Import it always, so that the count does not depend on the template.


async def start() -> None:
    async with MicroVM(memory="256M"):
        pass


async def main(library: str, starts: int, execs: int) -> None:
    """Count starts and commands, after one of each has done the one-time work."""
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
