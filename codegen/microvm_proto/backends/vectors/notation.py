"""Format the bytes in test vectors as short hexadecimal texts."""

from __future__ import annotations

import re

_RUN = re.compile(rb"(.)\1{15}", re.DOTALL)


def compact(data: bytes) -> str:
    """Format bytes in hexadecimal. A byte that occurs 16 times or more in a row becomes `xx*N`."""
    chunks: list[str] = []
    at = 0
    while run := _RUN.search(data, at):
        end = _end_of_run(data, run.start())
        chunks += [data[at : run.start()].hex(), f"{run[1].hex()}*{end - run.start()}"]
        at = end
    return " ".join(chunk for chunk in [*chunks, data[at:].hex()] if chunk)


def _end_of_run(data: bytes, start: int) -> int:
    """Return the index after the run of equal bytes that begins at `start`."""
    run = re.compile(re.escape(data[start : start + 1]) + b"*").match(data, start)
    return run.end() if run else start
