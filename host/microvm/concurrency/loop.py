"""An event loop in a background thread, for code that has no loop, or must not block its loop."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, Generic, TypeVar

from microvm.concurrency.threads import start_thread
from microvm.errors import UsageError

T = TypeVar("T")

# Maximum number of seconds for which the exit of the interpreter waits for a running machine.
_LAST_TIMEOUT = 10.0


class BackgroundLoop:
    """An event loop in a background thread, which runs coroutines for any thread.

    The thread starts with the first coroutine. If the object is dropped without `close`, `end`
    runs, and a ResourceWarning is issued. A forked child process cannot use the object, because it
    lacks the thread.

    :param end: Coroutine function that releases the resources of the loop, in any state.
    :param leftover: Function that returns the text of the warning, or "" if nothing is left.
    :ivar closed: True after `close`; no more coroutines can run.
    """

    def __init__(
        self,
        end: Callable[[], Coroutine[Any, Any, None]],
        leftover: Callable[[], str],
        kind: str = "machine",
    ) -> None:
        self.closed = False
        self._kind = kind
        self._lock = threading.Lock()
        self._thread: _LoopThread | None = None
        self._process = os.getpid()
        self._end = end
        self._leftover = leftover

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and return its result.

        An interruption such as Ctrl-C cancels the coroutine, and is raised when the coroutine has
        ended. A second interruption is raised at once.

        :raises UsageError: If the loop is closed, belongs to another process, or would wait for
            itself.
        """
        call = _PendingCall(coroutine, self._kind)
        try:
            self._begin(call)
            return call.done.result()
        except BaseException:
            call.abort()
            raise
        finally:
            del call  # otherwise the error and this frame would refer to each other

    def _begin(self, call: _PendingCall[T]) -> None:
        if os.getpid() != self._process:
            raise UsageError(
                f"the {self._kind} belongs to the parent process, in which it was created"
            )
        with self._lock:
            if self.closed:
                raise UsageError(
                    f"the {self._kind} is not running", hint="use it inside its `with` block"
                )
            if self._thread is None:
                self._thread = _LoopThread(self._end, self._leftover)
                weakref.finalize(self, self._thread.drop).atexit = False
            thread = self._thread
            if thread.is_current():
                raise UsageError(
                    f"a function that the {self._kind} calls cannot wait for that {self._kind}"
                )
            call.loop = thread.loop
            thread.loop.call_soon_threadsafe(call.begin)

    def post(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run a coroutine function in the loop without waiting, and ignore its result.

        It takes no lock, so a finalizer may call it in any thread.
        """
        if self._thread is not None and os.getpid() == self._process:
            self._thread.post(function)

    def close(self) -> None:
        """Run the constructor's argument `end` in the loop, stop the loop, and wait; idempotent."""
        if os.getpid() != self._process:
            return
        with self._lock:
            self.closed = True
            thread = self._thread
        if thread is not None:
            thread.end()
            if not thread.is_current():
                thread.join()


class _PendingCall(Generic[T]):
    """A coroutine for whose result a thread waits, and the event loop that runs the coroutine."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], kind: str) -> None:
        self.done: Future[T] = Future()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._kind = kind
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None

    def begin(self) -> None:
        """Create a task from the coroutine; called in the loop."""
        self._task = asyncio.get_running_loop().create_task(self._coroutine)
        self._task.add_done_callback(self._settle)

    def abort(self) -> None:
        """Cancel the coroutine and wait until it has ended. If it has not started, close it."""
        if self.loop is None:
            self._coroutine.close()
        elif not self.done.done():
            # A closed loop raises RuntimeError. Ignore it, because the coroutine has already ended.
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._cancel)
            wait([self.done])

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        elif not self.done.done():  # the loop has not started the coroutine yet
            self._coroutine.close()
            self.done.cancel()

    def _settle(self, task: asyncio.Task[T]) -> None:
        self._task = None
        if task.cancelled():
            self.done.set_exception(UsageError(f"the {self._kind} was stopped during the call"))
        elif (error := task.exception()) is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(task.result())


class _LoopThread:
    """The thread of a `BackgroundLoop`, and the event loop that it runs.

    This object does not refer to the `BackgroundLoop`, so that the latter can be garbage-collected.
    """

    def __init__(
        self, end: Callable[[], Coroutine[Any, Any, None]], leftover: Callable[[], str]
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self._process = os.getpid()
        self._end = end
        self._leftover = leftover
        self._stop = asyncio.Event()
        self._posted: set[asyncio.Task[object]] = set()
        try:
            self._thread = start_thread(self._serve)
        except BaseException:
            self.loop.close()
            raise
        _running.add(self)

    def is_current(self) -> bool:
        """Tell whether the caller runs in the thread of this loop."""
        return threading.current_thread() is self._thread

    def end(self) -> None:
        """Ask the loop to run the constructor's argument `end`, and then to stop; idempotent."""
        if self._thread.is_alive() and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._stop.set)

    def post(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run a coroutine function, unless the loop has stopped; may be called in any thread."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._spawn, function)

    def _spawn(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        task = self.loop.create_task(function())
        self._posted.add(task)
        task.add_done_callback(self._drop_posted)

    def _drop_posted(self, task: asyncio.Task[object]) -> None:
        self._posted.discard(task)
        if not task.cancelled():
            task.exception()  # retrieve the error, because asyncio would otherwise log it

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has exited, at most `timeout` seconds."""
        self._thread.join(timeout)

    def drop(self) -> None:
        """Stop this thread, which nobody uses now, without waiting. Any thread may call this."""
        if os.getpid() != self._process or not self._thread.is_alive():
            return
        leftover = self._leftover()
        self.end()
        if leftover:
            warnings.warn(leftover, ResourceWarning, stacklevel=2)

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
                runner.run(self._main())
        finally:
            _running.discard(self)

    async def _main(self) -> None:
        try:
            await self._stop.wait()
        finally:
            await self._end()


_running: set[_LoopThread] = set()


@atexit.register
def _end_all() -> None:
    """At the exit of the interpreter, stop all loop threads; wait a limited time for each."""
    left = list(_running)
    for thread in left:
        thread.drop()
    for thread in left:
        thread.join(_LAST_TIMEOUT)
