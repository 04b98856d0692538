"""Tests of the daemon in a real guest over virtio-serial, with one machine for all examples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.support.machine import RunningGuest

import microvm_image

from ..daemon.conversation import DaemonConversation
from ..daemon.explore import BATCH, explore, replay
from ..report import corpus
from ..search import Record, Search

QUICK = 4  # number of examples in `make test`, which runs a whole batch without a machine


@pytest.fixture(scope="module")
def machine() -> Iterator[DaemonConversation]:
    """Return a conversation with the daemon in a real guest, which boots once for all examples."""
    image = microvm_image.default()
    with closing(DaemonConversation(lambda: RunningGuest(image))) as conversation:
        yield conversation


@pytest.mark.thorough
@pytest.mark.rung
def test_corpus(machine: DaemonConversation) -> None:
    sent = [path.name for path in corpus() if replay(machine, path)]
    assert len(sent) > len(corpus()) / 2


@pytest.mark.rung
@pytest.mark.parametrize(
    ("batches", "size"), [(1, QUICK), pytest.param(70, BATCH, marks=pytest.mark.long)]
)
def test_random_host(
    machine: DaemonConversation, batches: int, size: int, search: Search, record_property: Record
) -> None:
    for seed in search.batches(batches):
        explore(machine, seed, size=size)
    assert machine.targets == 1
    record_property("examples", machine.examples)
    record_property("frames", machine.frames)
    record_property("machines", machine.targets)
