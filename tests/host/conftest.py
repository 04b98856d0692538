"""The event loops that people use, in each of which the tests talk to a guest."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import uvloop
from tests.support.peer import Peer, greeted

from microvm.guest.guest import Guest


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each coroutine in asyncio's own loop, and in uvloop's."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def connection() -> AsyncIterator[tuple[Guest, Peer]]:
    """Give a guest that is ready, and who plays it."""
    async with greeted() as both:
        yield both


@pytest.fixture
def guest(connection: tuple[Guest, Peer]) -> Guest:
    """Give a guest that is ready."""
    return connection[0]


@pytest.fixture
def peer(connection: tuple[Guest, Peer]) -> Peer:
    """Give who plays the guest."""
    return connection[1]


@pytest.fixture
def memory() -> Iterator[Callable[[], int]]:
    """Give the number of bytes that Python has allocated since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
