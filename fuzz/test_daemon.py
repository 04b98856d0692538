"""The daemon under ASan and UBSan, as a process."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings

from .oracle import SETTINGS, Conversation, corpus, replays
from .strategies import Example, examples


def test_what_once_failed(process: Conversation) -> None:
    for path in corpus():
        for example in replays(path):
            assert process.run(example)


@settings(SETTINGS, max_examples=1000)
@given(example=examples())
def test_any_bytes(process: Conversation, example: Example) -> None:
    assume(process.run(example))


@pytest.mark.long
@settings(SETTINGS, max_examples=20_000)
@given(example=examples())
def test_any_bytes_at_length(process: Conversation, example: Example) -> None:
    assume(process.run(example))
