"""The base class of the classes for programs without `async`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from microvm.concurrency.loop import BackgroundLoop

T = TypeVar("T")


class LoopBound:
    """An object whose methods run coroutines in an event loop in another thread, and wait."""

    def __init__(self, loop: BackgroundLoop) -> None:
        self._loop = loop

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(coroutine)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call an ordinary function in the event loop's thread, and wait until it returns."""

        async def call() -> None:
            function(*arguments)

        self._do(call())
