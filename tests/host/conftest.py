"""Fixtures with a simulated guest, in each event loop that users have."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import uvloop
from tests.support.peer import Peer, greeted

from microvm.guest.guest import Guest


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each coroutine with asyncio and with uvloop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


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
