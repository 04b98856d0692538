"""Both decoders in a process of their own, which what they read may end, or keep busy for ever."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from typing import Concatenate, ParamSpec

from ..disagreement import Disagreement as Ended
from ..report import explained, keep
from .compare import Disagreement, Pair, last_of, smaller

P = ParamSpec("P")

_DEADLINE = 300
"""Seconds for one batch, which takes less than one."""


class Apart:
    """A pair that lives in another process.

    :ivar cases: how many have been compared.
    :ivar frames: that the C decoder has taken or refused in them.
    """

    def __init__(self, library: Path) -> None:
        """Start the process."""
        self._library = library
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self.cases = self.frames = 0

    def do(
        self, work: Callable[Concatenate[Pair, P], None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Compare what `work` says.

        :raises Disagreement: the decoders do, and the smallest case of it is in the corpus; or the
            process has ended, and what it read is.
        """
        try:
            done = self._pool.submit(_do, self._library, work, *args, **kwargs)
            self.cases, self.frames = done.result()
        except BrokenProcessPool:
            data = last_of(self._library).read_bytes()
            path = keep(data, "ends the differential rung")
            raise Ended("the process has ended", f"{path.name}\n{explained(data)}") from None

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()


_pair = cache(Pair)


def _do(
    library: Path, work: Callable[Concatenate[Pair, P], None], /, *args: P.args, **kwargs: P.kwargs
) -> tuple[int, int]:
    """Do it in this process, which a clock ends; a disagreement is made small, and kept."""
    signal.alarm(_DEADLINE)
    pair = _pair(library)
    try:
        work(pair, *args, **kwargs)
    except Disagreement as error:
        smallest = smaller(pair, error)
        path = keep(smallest.data, f"python and c disagree on a {smallest.sender}")
        smallest.add_note(f"{path.name}\n{explained(smallest.data, smallest.sender)}")
        raise smallest from None
    signal.alarm(0)
    return pair.cases, pair.frames
