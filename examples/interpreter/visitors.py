"""The visitors of the page, each of which has a Python interpreter in a machine of its own."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from microvm import Interpreter, MicroVMError

logger = logging.getLogger("uvicorn.error")


class TooManyVisitors(Exception):
    """No interpreter is free for another visitor."""


class Visitor:
    """A visitor of the page.

    :ivar lock: Held while a cell of the visitor runs.
    :ivar is_leaving: True as soon as the interpreter is being closed. Nothing may start it again.
    :ivar needs_restart: True if the interpreter has died, and could not be started again.
    """

    def __init__(self, python: Interpreter) -> None:
        self.python = python
        self.lock = asyncio.Lock()
        self.is_leaving = False
        self.needs_restart = False
        self._requests = 0
        self._last = time.monotonic()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request of the visitor, who is not idle meanwhile."""
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1
            self._last = time.monotonic()

    async def restart(self) -> None:
        """Start the interpreter again, without the variables."""
        self.needs_restart = True
        await self.python.restart()
        self.needs_restart = False

    def is_idle(self, seconds: float) -> bool:
        """Return whether the last request of the visitor ended so many seconds ago."""
        return not self._requests and time.monotonic() - self._last >= seconds


class Visitors:
    """All visitors, each under the secret token that the visitor's cookie contains.

    :param create: Function that creates an interpreter, without starting it.
    :param limit: Maximum number of visitors, and so of machines.
    :param idle: Number of seconds after which an idle visitor's interpreter is closed.
    """

    def __init__(self, create: Callable[[], Interpreter], limit: int, idle: float) -> None:
        self._create = create
        self._limit = limit
        self._idle = idle
        self._visitors: dict[str, Visitor] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Context manager that closes idle interpreters, and in the end all interpreters."""
        closing = asyncio.create_task(self._close_idle())
        try:
            yield
        finally:
            closing.cancel()
            await asyncio.wait([closing])
            await asyncio.gather(*map(self.remove, list(self._visitors)))

    def find(self, token: str) -> Visitor | None:
        """Return the visitor with this token; None if there is none, or the visitor is leaving."""
        visitor = self._visitors.get(token)
        return None if visitor is None or visitor.is_leaving else visitor

    async def add(self) -> str:
        """Start an interpreter for a new visitor, and return the visitor's token.

        :raises TooManyVisitors: If no interpreter is free.
        """
        if len(self._visitors) >= self._limit:
            raise TooManyVisitors
        token = secrets.token_urlsafe()
        visitor = self._visitors[token] = Visitor(self._create())
        try:
            with visitor.request():
                await visitor.python.start()
        except BaseException:
            await self.remove(token)
            raise
        return token

    async def remove(self, token: str) -> None:
        """Close the interpreter of a visitor. The visitor counts until the machine has stopped."""
        visitor = self._visitors[token]
        visitor.is_leaving = True
        try:
            await visitor.python.close()
        except MicroVMError:
            logger.exception("an interpreter could not be closed")
        self._visitors.pop(token, None)

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(self._idle / 10)
            for token, visitor in list(self._visitors.items()):
                if visitor.is_idle(self._idle):
                    await self.remove(token)
