"""The base of all objects here: their methods run in an event loop in another thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from microvm.concurrency.loop import BackgroundLoop

T = TypeVar("T")


class LoopBound:
    """An object whose methods run in an event loop of ours."""

    def __init__(self, loop: BackgroundLoop) -> None:
        self._loop = loop

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(coroutine)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call what is no coroutine, but belongs into the loop."""

        async def call() -> None:
            function(*arguments)

        self._do(call())
