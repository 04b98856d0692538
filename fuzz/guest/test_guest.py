"""The daemon in a real guest, over virtio-serial: one machine for all examples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import settings
from tests.support.machine import Machine

import microvm_image

from ..daemon.conversation import Conversation
from ..daemon.explore import explore, replay
from ..daemon.rung import run_in_guest
from ..report import corpus
from ..settings import UNSHRUNK


@pytest.fixture(scope="module")
def machine() -> Iterator[Conversation]:
    """Give a daemon in a real guest; one boot must do for all examples."""
    image = microvm_image.default()
    with closing(Conversation(lambda: Machine(image))) as conversation:
        yield conversation


def test_what_once_failed(machine: Conversation) -> None:
    sent = [path.name for path in corpus() if replay(machine, path)]
    assert len(sent) > len(corpus()) / 2


def test_any_host(machine: Conversation) -> None:
    explore(machine, settings(UNSHRUNK, max_examples=18))


@pytest.mark.long
def test_any_host_at_length(machine: Conversation) -> None:
    explore(machine, settings(UNSHRUNK, max_examples=1000))


def test_it_was_one_machine_for_all_examples(machine: Conversation) -> None:
    assert machine.targets == 1
    assert machine.examples >= 18


@pytest.mark.long
def test_ten_minutes() -> None:
    outcome = run_in_guest(600, seed=1)
    assert not outcome.findings
    assert outcome.notes.startswith("1 started; ")
    assert outcome.frames >= 100_000
