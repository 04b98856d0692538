"""The search in a daemon, wherever it runs: the corpus, then a host that does all it can."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
from hypothesis.stateful import run_state_machine_as_test

from microvm.wire import codec

from .. import report
from ..frames import Reader
from ..outcome import Outcome
from .conversation import Conversation
from .failures import SHRINKING, Failures, ShrinkTimeout
from .state_machine import Host

_BATCH = 20
"""The examples of one call of Hypothesis; the clock is read between two calls."""


def fuzz(
    conversation: Conversation, settings: hypothesis.settings, seconds: float, seed: int
) -> Outcome:
    """Replay the corpus, explore for so many seconds, and end the target."""
    begun = time.monotonic()
    settings = hypothesis.settings(
        settings, database=None, derandomize=False, max_examples=_BATCH, print_blob=False
    )
    findings = []
    try:
        for path in report.corpus():
            replay(conversation, path)
        for number in itertools.count():
            if time.monotonic() > begun + seconds:
                break
            batch = hash((seed, number))
            explore(conversation, settings, batch, shrinking=min(seconds, SHRINKING))
    except Exception as error:
        notes = getattr(error, "__notes__", [])
        findings = ["\n".join([f"{type(error).__name__}: {error}", *notes])]
    finally:
        conversation.close()
    took, counts = time.monotonic() - begun, conversation.counts
    frames = counts.total()
    notes = (
        f"{conversation.targets} started; {counts[codec.Ping.TYPE] / max(1, frames):.0%} pings, "
        f"{counts[0] / max(1, frames):.0%} refused; memory within {conversation.peak >> 10} KiB"
    )
    return Outcome(conversation.examples, frames, took, findings, notes)


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
    failures = Failures(shrinking)

    class Once(Host):
        def __init__(self) -> None:
            super().__init__(conversation, failures)

    seeded = Once if seed is None else hypothesis.seed(seed)(Once)
    with contextlib.suppress(ShrinkTimeout):
        try:
            run_state_machine_as_test(seeded, settings=settings)
        except Exception:
            failures.tell()
            raise
    failures.tell()


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
