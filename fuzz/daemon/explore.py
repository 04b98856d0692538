"""The daemon, as a process and in a guest: the corpus, then a host that does whatever it can."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
from hypothesis.stateful import run_state_machine_as_test
from tests.support.daemon import DaemonProcess, build_sanitized
from tests.support.machine import Machine

import microvm_image
from microvm.wire import codec

from .. import report
from ..frames import Reader
from ..outcome import Outcome
from ..settings import SETTINGS, UNSHRUNK
from ..strategies import Part
from .conversation import Conversation
from .failures import SHRINKING, Enough, Failures
from .state_machine import Host

_BATCH = 20
"""Examples, between two looks at the clock."""


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

    try:
        run_state_machine_as_test(
            Once if seed is None else hypothesis.seed(seed)(Once), settings=settings
        )
    except Enough:
        pass
    except Exception as error:
        failures.tell()
        raise error
    failures.tell()


def replay(conversation: Conversation, path: Path) -> bool:
    """Send a file of the corpus whole, frame by frame and, where it is short, byte by byte.

    :return: whether it was sent: what would end a daemon, or run an unknown command, is for the
        decoders alone.
    """
    data = path.read_bytes()
    try:
        return _replay(conversation, Part(path.name, data))
    except Exception as error:
        error.add_note(f"{path.name}\n{report.explained(data)}")
        conversation.close()
        raise


def _replay(conversation: Conversation, part: Part) -> bool:
    data = part.data
    conversation.begin()
    if safe := conversation.send([part]):
        if len(data) < 500:
            conversation.greet()
            conversation.send([part], range(1, len(data)))
        conversation.greet()
        for a, b in itertools.pairwise([0, *_ends(data), len(data)]):
            conversation.send([Part(part.label, data[a:b])])
            conversation.settle()
    conversation.finish()
    return safe


def _ends(data: bytes) -> Iterator[int]:
    """Where in these bytes each frame ends that is taken or refused."""
    taken = 0
    for event in Reader().feed(data):
        yield event.dropped + taken + len(event.data)
        if not isinstance(event.outcome, codec.DecodeError):
            taken += len(event.data)


def run_process(seconds: float, seed: int) -> Outcome:
    """Fuzz the daemon as a process under the sanitizers for some time, compiling not counted."""
    with tempfile.TemporaryDirectory() as folder:
        binary = build_sanitized(Path(folder))
        return _run(Conversation(lambda: DaemonProcess(binary)), SETTINGS, seconds, seed)


def run_guest(seconds: float, seed: int) -> Outcome:
    """Fuzz the daemon in a real guest for some time, its boot counted."""
    image = microvm_image.default()
    return _run(Conversation(lambda: Machine(image)), UNSHRUNK, seconds, seed)


def _run(
    conversation: Conversation,
    settings: hypothesis.settings,
    seconds: float,
    seed: int,
) -> Outcome:
    begun = time.monotonic()
    settings = hypothesis.settings(
        settings, database=None, derandomize=False, max_examples=_BATCH, print_blob=False
    )
    findings: list[str] = []
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
        findings.append("\n".join([f"{type(error).__name__}: {error}", *notes]))
    finally:
        conversation.close()
    return Outcome(
        conversation.examples,
        conversation.counts.total(),
        time.monotonic() - begun,
        tuple(findings),
        _notes(conversation),
    )


def _notes(conversation: Conversation) -> str:
    pings = conversation.counts[codec.Ping.TYPE] / max(1, conversation.counts.total())
    wrong = conversation.counts[0] / max(1, conversation.counts.total())
    return (
        f"{conversation.targets} started; {pings:.0%} pings, {wrong:.0%} refused; "
        f"memory within {conversation.peak >> 10} KiB"
    )
