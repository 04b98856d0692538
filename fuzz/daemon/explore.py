"""The search for failures of a daemon, as a process or in a guest, and the replay of the corpus."""

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
from .state_machine import FuzzingHost

BATCH = 18  # number of examples in a batch


def explore(conversation: DaemonConversation, seed: int, *phases: Phase, size: int = BATCH) -> None:
    """Run a batch of examples.

    :param size: Number of examples.
    :param phases: Further phases of Hypothesis. A search in a real guest must not shrink, because
        each attempt after a failure would need a new machine.
    """
    with smallest(report.CORPUS, explained=report.explained) as failure:

        def host() -> FuzzingHost:
            failure.assume_time()
            return FuzzingHost(conversation, failure.note)

        factory: Any = hypothesis.seed(seed)(host)
        run_state_machine_as_test(factory, settings=batch(size, *phases))


def replay(conversation: DaemonConversation, path: Path) -> bool:
    """Send a file of the corpus in one piece, frame by frame and, if it is short, byte by byte.

    :return: True if it was sent; False if it would stop the daemon or run an unknown command. Such
        files are only for the decoders.
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
    """Yield the end position of each frame that a daemon accepts or refuses."""
    taken = 0
    for event in FrameReader().feed(data):
        yield event.dropped + taken + len(event.data)
        if not isinstance(event.outcome, codec.DecodeError):
            taken += len(event.data)
