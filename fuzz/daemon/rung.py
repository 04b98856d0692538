"""The daemon as a process under the sanitizers, and in a real guest, for a time."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import hypothesis
from tests.support.connection import Target
from tests.support.daemon import DaemonProcess, build_sanitized
from tests.support.machine import Machine

import microvm_image
from microvm.wire import codec

from ..outcome import Outcome
from ..report import corpus
from ..settings import SETTINGS, UNSHRUNK
from .conversation import Conversation
from .explore import SHRINKING, explore, replay

_BATCH = 20
"""The examples of one call of Hypothesis; the clock is read between two calls."""


def run(seconds: float, seed: int) -> Outcome:
    """Fuzz a process for so many seconds, compiling not counted."""
    with tempfile.TemporaryDirectory() as folder:
        binary = build_sanitized(Path(folder))
        return _fuzz(lambda: DaemonProcess(binary), SETTINGS, seconds, seed)


def run_in_guest(seconds: float, seed: int) -> Outcome:
    """Fuzz PID 1 for so many seconds, the boot counted; one machine must do for all examples."""
    image = microvm_image.default()
    return _fuzz(lambda: Machine(image), UNSHRUNK, seconds, seed)


def _fuzz(
    make: Callable[[], Target], settings: hypothesis.settings, seconds: float, seed: int
) -> Outcome:
    """Replay the corpus, explore for so many seconds, and end the target."""
    begun = time.monotonic()
    conversation = Conversation(make)
    settings = hypothesis.settings(
        settings, database=None, derandomize=False, max_examples=_BATCH, print_blob=False
    )
    findings = []
    try:
        for path in corpus():
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
