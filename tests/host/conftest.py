"""Fixtures with a simulated guest, in each event loop that users have."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from tests.support.peer import Peer, greeted

from microvm.guest.guest import Guest

HERE = Path(__file__).parent


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each coroutine with asyncio and with uvloop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the coroutines with uvloop only among the thorough tests."""
    for item in items:
        if "uvloop" in item.name and HERE in item.path.parents:
            item.add_marker(pytest.mark.thorough)


@pytest.fixture
async def connection() -> AsyncIterator[tuple[Guest, Peer]]:
    """A guest that is ready, and the peer that simulates it."""
    async with greeted() as both:
        yield both


@pytest.fixture
def guest(connection: tuple[Guest, Peer]) -> Guest:
    """A guest that is ready."""
    return connection[0]


@pytest.fixture
def peer(connection: tuple[Guest, Peer]) -> Peer:
    """The peer that simulates the guest."""
    return connection[1]


@pytest.fixture
def memory() -> Iterator[Callable[[], int]]:
    """A function that returns the number of bytes that Python has allocated in the test."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
