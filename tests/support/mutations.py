"""Mutations of frames: bytes that are changed, inserted, removed or repeated."""

from __future__ import annotations

import random
import struct

from hypothesis import strategies as st

_EDGES = (0, 1, 2, 7, 0x7F, 0x80, 0xFE, 0xFF)
_WORDS = (0, 1, 5, 17, 4096, 4097, 65536, 131072, (1 << 20) + 1, 1 << 31, (1 << 32) - 1)


def change(data: bytearray, rng: random.Random) -> None:
    """Change bytes at one place, in one of the ways that often break parsers."""
    at = rng.randrange(len(data) + 1)
    end = at + rng.randrange(1, 9)
    match rng.randrange(8):
        case 0 | 1 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 2 if at < len(data):
            data[at] = rng.choice(_EDGES)
        case 3:
            data[at:at] = rng.randbytes(end - at)
        case 4:
            del data[at:end]
        case 5:
            data[at:at] = data[rng.randrange(len(data) + 1) :][: rng.randrange(100)]
        case 6:
            data[at:end] = struct.pack("<I", rng.choice(_WORDS))
        case 7:
            del data[at:]


@st.composite
def mutated(draw: st.DrawFn, frames: st.SearchStrategy[bytes]) -> bytes:
    """Return frames of which a few bytes are changed, inserted, removed or repeated."""
    data = bytearray(draw(frames))
    rng = draw(st.randoms(use_true_random=False))
    for _ in range(rng.randrange(1, 5)):
        change(data, rng)
    return bytes(data)
