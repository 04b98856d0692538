"""The search in a daemon, wherever it runs: what is known, and a host that does all it can."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis.stateful import run_state_machine_as_test

from microvm.wire import codec

from .. import report
from ..disagreement import kind_of
from ..frames import Reader
from .conversation import Conversation
from .state_machine import Host

SHRINKING = 60.0
"""Seconds that a failure may take to become small."""


def explore(
    conversation: Conversation,
    settings: hypothesis.settings,
    seed: int | None = None,
    *,
    shrinking: float = SHRINKING,
) -> None:
    """Run as many examples as the settings say.

    :param shrinking: seconds that a failure may take to become small.
    :raises Disagreement: the daemon is wrong, or the model; its bytes are in the corpus.
    :raises Lost: the daemon is gone, or does not answer.
    """
    until = math.inf
    smallest: list[tuple[Exception, bytes]] = []

    def note(error: Exception, data: bytes) -> None:
        """Keep the smallest failure; one of another kind than the first is another run's."""
        nonlocal until
        if not smallest:
            until = time.monotonic() + shrinking
        elif kind_of(error) != kind_of(smallest[0][0]) or len(data) > len(smallest[0][1]):
            return
        smallest[:] = [(error, data)]

    def host() -> Host:
        hypothesis.assume(time.monotonic() < until)
        return Host(conversation, note)

    factory: Any = hypothesis.seed(seed)(host)
    try:
        run_state_machine_as_test(factory, settings=settings)
    except Exception:
        if not smallest:
            raise
    for error, data in smallest:
        path = report.keep(data, kind_of(error))
        error.add_note(f"{report.explained(data)}\n{path.name} is in the corpus")
        raise error


def replay(conversation: Conversation, path: Path) -> bool:
    """Send a file of the corpus whole, frame by frame and, where it is short, byte by byte.

    :return: whether it was sent: what would end a daemon, or run an unknown command, is for the
        decoders alone.
    """
    data = path.read_bytes()
    try:
        conversation.begin()
        if safe := conversation.send(data):
            if len(data) < 500:
                conversation.greet()
                conversation.send(data, range(1, len(data)))
            conversation.greet()
            for start, end in itertools.pairwise([0, *_ends(data), len(data)]):
                conversation.send(data[start:end])
                conversation.settle()
        conversation.finish()
    except Exception as error:
        error.add_note(f"{path.name}\n{report.explained(data)}")
        conversation.close()
        raise
    return safe


def _ends(data: bytes) -> Iterator[int]:
    """Yield where in these bytes each frame ends that is taken or refused."""
    taken = 0
    for event in Reader().feed(data):
        yield event.dropped + taken + len(event.data)
        if not isinstance(event.outcome, codec.DecodeError):
            taken += len(event.data)
