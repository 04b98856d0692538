"""What is fuzzed: one process or one machine for all of a module's tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from tests.support.daemon import DaemonProcess, build_sanitized
from tests.support.machine import Machine

import microvm_image

from .daemon.conversation import Conversation
from .report import corpus
from .settings import SETTINGS


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversation]:
    """Give a daemon under the sanitizers, as a process."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    binary = build_sanitized(tmp_path_factory.mktemp("sanitized"))
    yield from _conversation(Conversation(lambda: DaemonProcess(binary)), "the process")


@pytest.fixture(scope="module")
def machine() -> Iterator[Conversation]:
    """Give a daemon in a real guest; one boot must do for all examples."""
    image = microvm_image.default()
    yield from _conversation(Conversation(lambda: Machine(image)), "the real guest")


def _conversation(conversation: Conversation, name: str) -> Iterator[Conversation]:
    try:
        yield conversation
    finally:
        conversation.close()
        print(f"{name}: {conversation.examples} examples, {conversation.counts.total()} frames")


def pytest_report_header() -> str:
    """Say whether the examples are always the same."""
    fixed = "fixed" if SETTINGS.derandomize else "random; CI=true for fixed ones"
    return f"fuzz: seeds are {fixed}; {len(corpus())} files in the corpus"
