"""What talks to a guest does so in the event loops that people use."""

from __future__ import annotations

import asyncio
import inspect

import pytest
import uvloop

IN_EACH_LOOP = ("test_channel", "test_guest")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run these modules' coroutines in asyncio's own loop, and in uvloop's."""
    of_these = metafunc.module.__name__.endswith(IN_EACH_LOOP)
    if of_these and inspect.iscoroutinefunction(metafunc.function):
        metafunc.fixturenames.append("loop_factory")
        factories = [asyncio.new_event_loop, uvloop.new_event_loop]
        metafunc.parametrize("loop_factory", factories, ids=["asyncio", "uvloop"])
