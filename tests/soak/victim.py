"""A controller that starts machines in all ways until it is killed."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from pathlib import Path

from microvm.images import load

from .events import STARTS, World, quiet


async def main(image: str, seed: str) -> None:
    """Report the start, and continue forever."""
    from microvm import MicroVM

    chance = random.Random(int(seed))
    loaded = load(image)
    witness = MicroVM(loaded, **quiet())
    world = World(loaded, chance, Path(tempfile.gettempdir()), witness)
    print("begun", flush=True)
    starts = [event for event in STARTS if event.name != "restore"]  # for which there is none
    while True:
        await chance.choices(starts, [event.weight for event in starts])[0].happens(world)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
