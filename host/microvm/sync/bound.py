"""The base class of the classes for programs without `async`, and decorators for their methods."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from microvm.concurrency.loop import BackgroundLoop
from microvm.errors import UsageError
from microvm.no_constructor import NoConstructor

P = ParamSpec("P")
T = TypeVar("T")


class LoopBound(NoConstructor):
    """An object whose methods call the methods of an asynchronous object in another thread.

    :ivar _original: The asynchronous object, whose class has the same name.
    """

    def _init(self, loop: BackgroundLoop, original: Any) -> Self:
        self._loop = loop
        self._original = original
        return self

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return self._loop.run(coroutine)
        except UsageError as error:
            # The hint is about the asynchronous object, whose user needs another statement.
            error.hint = error.hint.replace("async with", "with")
            raise


def blocking(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, P], T]:
    """Return a method that calls `method` of the asynchronous object, and waits for its result.

    The returned method has the same parameters, type hints and docstring.
    """

    @functools.wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self._do(getattr(self._original, method.__name__)(*args, **kwargs))
        return result

    return call


def in_loop(method: Callable[Concatenate[Any, P], None]) -> Callable[Concatenate[Any, P], None]:
    """Return a method that calls `method`, not a coroutine, of the asynchronous object in its loop.

    The returned method has the same parameters, type hints and docstring.
    """

    @functools.wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> None:
        async def run() -> None:
            getattr(self._original, method.__name__)(*args, **kwargs)

        self._do(run())

    return call
