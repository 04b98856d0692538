"""The search in a daemon, wherever it runs: what is known, and a host that does all it can."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import Phase
from hypothesis.stateful import run_state_machine_as_test

from microvm.wire import codec

from .. import report
from ..frames import FrameReader
from ..search import batch, smallest
from .conversation import DaemonConversation
from .state_machine import Host

BATCH = 18
"""The examples of a batch."""


def explore(conversation: DaemonConversation, seed: int, *phases: Phase) -> None:
    """Run a batch of examples; in a real guest each attempt at a smaller one would take a machine.

    :raises Disagreement: the daemon is wrong, or the model; its bytes are in the corpus.
    :raises Lost: the daemon is gone, or does not answer.
    """
    with smallest(report.CORPUS, explained=report.explained) as failure:

        def host() -> Host:
            failure.assume_time()
            return Host(conversation, failure.note)

        factory: Any = hypothesis.seed(seed)(host)
        run_state_machine_as_test(factory, settings=batch(BATCH, *phases))


def replay(conversation: DaemonConversation, path: Path) -> bool:
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
    for event in FrameReader().feed(data):
        yield event.dropped + taken + len(event.data)
        if not isinstance(event.outcome, codec.DecodeError):
            taken += len(event.data)
