"""The daemon under ASan and UBSan, as a process."""

from __future__ import annotations

import pytest
from hypothesis import settings

from ..report import corpus
from ..settings import SETTINGS
from .conversation import Conversation
from .explore import explore, replay


def test_what_once_failed(process: Conversation) -> None:
    sent = [path.name for path in corpus() if replay(process, path)]
    assert len(sent) > len(corpus()) / 2


def test_any_host(process: Conversation) -> None:
    explore(process, settings(SETTINGS, max_examples=32))


@pytest.mark.long
def test_any_host_at_length(process: Conversation) -> None:
    explore(process, settings(SETTINGS, max_examples=2000))
