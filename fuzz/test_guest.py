"""The daemon in a real guest, over virtio-serial: one machine for all examples."""

from __future__ import annotations

import pytest
from hypothesis import Phase, assume, given, settings

from .oracle import SETTINGS, Conversation, corpus, replays
from .strategies import Example, examples

# To shrink an example takes a machine for each attempt; `test_daemon` is the place for that.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


def test_what_once_failed(machine: Conversation) -> None:
    for path in corpus():
        for example in replays(path):
            assert machine.run(example)


@settings(SETTINGS, max_examples=500, phases=PHASES)
@given(example=examples())
def test_any_bytes(machine: Conversation, example: Example) -> None:
    assume(machine.run(example))


@pytest.mark.long
@settings(SETTINGS, max_examples=5000, phases=PHASES)
@given(example=examples())
def test_any_bytes_at_length(machine: Conversation, example: Example) -> None:
    assume(machine.run(example))


def test_it_was_one_machine_for_hundreds_of_examples(machine: Conversation) -> None:
    assert machine.targets == 1
    assert machine.examples >= 500
