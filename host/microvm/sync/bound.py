"""The base class of the objects of this package."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from microvm.concurrency.loop import BackgroundLoop

T = TypeVar("T")


class LoopBound:
    """An object whose methods run in an event loop in another thread."""

    def __init__(self, loop: BackgroundLoop) -> None:
        self._loop = loop

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(coroutine)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function, which is not a coroutine, in the event loop."""

        async def call() -> None:
            function(*arguments)

        self._do(call())
