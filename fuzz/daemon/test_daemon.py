"""Tests of the daemon as a process, under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from signal import SIGCONT, SIGSTOP

import pytest
from hypothesis import Phase
from tests.support.daemon import DaemonProcess, sanitized_daemon
from tests.support.polling import eventually
from tests.support.processes import children, state

from microvm.wire import codec

from ..report import corpus
from ..search import Record, Search
from .commands import LASTING
from .conversation import DaemonConversation, request_of
from .explore import explore, replay


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonConversation]:
    """Return a conversation with a daemon that was built with sanitizers."""
    binary = sanitized_daemon(tmp_path_factory)
    with closing(DaemonConversation(lambda: DaemonProcess(binary))) as conversation:
        yield conversation


@pytest.mark.rung
def test_corpus(process: DaemonConversation) -> None:
    sent = [path.name for path in corpus() if replay(process, path)]
    assert len(sent) > len(corpus()) / 2


@pytest.mark.thorough
@pytest.mark.rung
@pytest.mark.parametrize("batches", [1, pytest.param(110, marks=pytest.mark.long)])
def test_random_host(
    process: DaemonConversation, batches: int, search: Search, record_property: Record
) -> None:
    for seed in search.batches(batches):
        explore(process, seed, Phase.shrink)
    record_property("examples", process.examples)
    record_property("frames", process.frames)
    record_property("daemons", process.targets)


def test_stopped_command_may_survive_sigterm(
    process: DaemonConversation,
) -> None:
    process.begin()
    process.say(request_of(1, LASTING[0].argv))
    process.say(codec.ExecSignal(1, SIGSTOP))
    process.sync()
    daemon = process.target
    assert isinstance(daemon, DaemonProcess)
    eventually(lambda: [state(pid) for pid in children(daemon.pid)] == ["T"])
    process.say(codec.ExecTerminate(1))
    process.say(codec.ExecSignal(1, SIGSTOP))
    process.settle()
    process.say(codec.ExecSignal(1, SIGCONT))
    process.settle()
    assert not process.model.running
    process.finish()
