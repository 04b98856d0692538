"""The daemon under ASan and UBSan, as a process: one for all tests, but where it was ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import settings
from tests.support.daemon import DaemonProcess, build_sanitized

from ..report import corpus
from ..settings import SETTINGS
from .conversation import Conversation
from .explore import explore, replay


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversation]:
    """Give a daemon under the sanitizers, as a process."""
    binary = build_sanitized(tmp_path_factory.mktemp("sanitized"))
    with closing(Conversation(lambda: DaemonProcess(binary))) as conversation:
        yield conversation


def test_what_once_failed(process: Conversation) -> None:
    sent = [path.name for path in corpus() if replay(process, path)]
    assert len(sent) > len(corpus()) / 2


def test_any_host(process: Conversation) -> None:
    explore(process, settings(SETTINGS, max_examples=32))


@pytest.mark.long
def test_any_host_at_length(process: Conversation) -> None:
    explore(process, settings(SETTINGS, max_examples=2000))
