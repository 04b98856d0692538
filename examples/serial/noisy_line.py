"""Simulate a noisy line: `noisy_line.py RATE PROGRAM [ARGUMENT…] -- PROGRAM [ARGUMENT…]`.

Each program gets a pseudo terminal, one side of the line, as its last argument. When the second
program exits, the first one is terminated. RATE is the probability that a bit is flipped.
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
    """A function that flips random bits; `flipped` is their number so far."""

    def __init__(self, rate: float, seed: int | None = None) -> None:
        self.flipped = 0
        self._random = random.Random(seed)  # noqa: S311 - no cryptography
        self._rate = rate
        self._next = self._gap()

    def _gap(self) -> float:
        """Return the number of bits before the next flipped bit."""
        if not self._rate:
            return math.inf
        return int(math.log(1 - self._random.random()) / math.log1p(-self._rate))

    def __call__(self, data: bytes) -> bytes:
        """Return the data with some bits flipped."""
        damaged = bytearray(data)
        while self._next < 8 * len(data):
            bit = int(self._next)
            damaged[bit // 8] ^= 1 << bit % 8
            self.flipped += 1
            self._next += 1 + self._gap()
        self._next -= 8 * len(data)
        return bytes(damaged)


class Line:
    """A line between two pseudo terminals, whose paths are `ends`.

    Data that is written to one terminal can be read from the other, after a function has changed
    it.
    """

    def __init__(self, *changes: Callable[[bytes], bytes]) -> None:
        self._changes = changes
        pairs = [pty.openpty() for _ in changes]
        self._controllers = [controller for controller, _ in pairs]
        # Keep the terminals open, because reading fails while no process has opened one.
        self._terminals = [terminal for _, terminal in pairs]
        for terminal in self._terminals:
            tty.setraw(terminal)
        self.ends = [os.ttyname(terminal) for terminal in self._terminals]

    def relay(self, wait: float) -> None:
        """Transfer data that is available, or arrives within this number of seconds."""
        for ready in select.select(self._controllers, [], [], wait)[0]:
            side = self._controllers.index(ready)
            data = self._changes[side](os.read(ready, 4096))
            while data:
                data = data[os.write(self._controllers[1 - side], data) :]

    def close(self) -> None:
        """Close the line."""
        for descriptor in (*self._controllers, *self._terminals):
            os.close(descriptor)


def main() -> None:
    """Run two programs on the two sides of a line."""
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
