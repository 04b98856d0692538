"""A line that flips bits: `noisy_line.py RATE PROGRAM [ARGUMENT…] -- PROGRAM [ARGUMENT…]`.

Each program is given its end of the line, a pseudo terminal, as its last argument. When the second
has ended, so does the first. RATE is the probability that a bit is flipped.
"""

from __future__ import annotations

import math
import os
import pty
import random
import select
import subprocess
import sys
import tty
from collections.abc import Callable


class Noise:
    """A source of flipped bits; `flipped` is how many there were."""

    def __init__(self, rate: float, seed: int | None = None) -> None:
        self.flipped = 0
        self._random = random.Random(seed)  # noqa: S311 - noise is no secret
        self._rate = rate
        self._next = self._gap()

    def _gap(self) -> float:
        """How many bits are right before the next that is not."""
        if not self._rate:
            return math.inf
        return int(math.log(1 - self._random.random()) / math.log1p(-self._rate))

    def __call__(self, data: bytes) -> bytes:
        """Return the data with its bits flipped."""
        damaged = bytearray(data)
        while self._next < 8 * len(data):
            at = int(self._next)
            damaged[at // 8] ^= 1 << at % 8
            self.flipped += 1
            self._next += 1 + self._gap()
        self._next -= 8 * len(data)
        return bytes(damaged)


class Line:
    """A line between two pseudo terminals, whose names are `ends`.

    What is written to one is read from the other, changed by the function of that direction.
    """

    def __init__(self, *changes: Callable[[bytes], bytes]) -> None:
        self._changes = changes
        pairs = [pty.openpty() for _ in changes]
        self._ours = [ours for ours, _ in pairs]
        # These stay open, or the line would be down until the programs open them, too.
        self._theirs = [theirs for _, theirs in pairs]
        for theirs in self._theirs:
            tty.setraw(theirs)
        self.ends = [os.ttyname(theirs) for theirs in self._theirs]

    def relay(self, wait: float) -> None:
        """Carry what is there, or comes within so many seconds."""
        for ready in select.select(self._ours, [], [], wait)[0]:
            at = self._ours.index(ready)
            data = self._changes[at](os.read(ready, 4096))
            while data:
                data = data[os.write(self._ours[1 - at], data) :]

    def close(self) -> None:
        """Hang up."""
        for descriptor in (*self._ours, *self._theirs):
            os.close(descriptor)


def main() -> None:
    """Run two programs on the ends of a line."""
    if "--" not in sys.argv[2:]:
        sys.exit(__doc__)
    split = sys.argv.index("--")
    noises = [Noise(float(sys.argv[1])) for _ in range(2)]
    line = Line(*noises)
    first = subprocess.Popen([*sys.argv[2:split], line.ends[0]])
    second = subprocess.Popen([*sys.argv[split + 1 :], line.ends[1]])
    while second.poll() is None:
        line.relay(0.1)
    first.terminate()
    first.wait()
    line.close()
    print(f"line: {sum(noise.flipped for noise in noises)} bits flipped")
    sys.exit(second.returncode)


if __name__ == "__main__":
    main()
