"""Runs a cell for a thread, and passes the cell's output, displays and questions to that thread.

The interpreter runs in an event loop of another thread. The waiting thread gets the output, the
displays and the questions of the cell in the order in which they arrived. If the thread is slow,
the cell's writes wait.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from getpass import getpass
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import TypeAlias

from microvm.cli.signals import handler_of_ctrl_c
from microvm.concurrency.loop import BackgroundLoop
from microvm.interpreter.cell import Cell, Display
from microvm.interpreter.cell_run import Callbacks
from microvm.interpreter.escalation import GRACE
from microvm.interpreter.interpreter import MAX_OUTPUT, Interpreter
from microvm.system import interrupt
from microvm.units import parse_size
from microvm.wire.interpreter import Stream

# Maximum size of the events that wait for the thread, in bytes, and what each event adds to it.
_WINDOW = 1 << 18
_EVENT_SIZE = 256


@dataclass(frozen=True, slots=True)
class CellOutput:
    """Bytes that the cell, its threads or its child processes have written to a stream."""

    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class Question:
    """A call of `input()` in the cell, or of `getpass()` if `secret` is True.

    :ivar answer: Gets the line without a newline, or None for the end of file.
    """

    prompt: str
    secret: bool
    answer: Future[str | None] = field(default_factory=Future)


Event: TypeAlias = CellOutput | Display | Question

Handle: TypeAlias = Callable[[Event], None]
"""The type of functions that handle an event in the waiting thread."""


@dataclass(frozen=True, slots=True)
class CellLimits:
    """The limits of a cell; `Interpreter.run` explains them.

    :ivar late_grace: Value of `grace` after the time limit, or None for the same value.
    """

    timeout: float | None = None
    grace: float = GRACE
    max_output: int = parse_size(MAX_OUTPUT)
    late_grace: float | None = None


class CellRunner:
    """Runs cells of an interpreter, one after another, for the thread that calls `run`.

    Ctrl-C during a cell interrupts the cell. A second Ctrl-C within a second kills the processes
    that the cell has started, and the next one kills the interpreter.

    :param loop: The event loop of the interpreter.
    :param pause: Time in seconds between two calls of the handler. The output of a pause is
        reported as one event.
    """

    def __init__(
        self, loop: BackgroundLoop, interpreter: Interpreter, *, pause: float = 0.0
    ) -> None:
        self._loop = loop
        self._interpreter = interpreter
        self._pause = pause
        self._interrupted_at = float("-inf")
        self.interrupted = False
        """True after a Ctrl-C during the last cell."""
        self._waits_for_user = False

    def run(self, code: str, handle: Handle, limits: CellLimits) -> Cell:
        """Run a cell, call `handle` for each of its events, and return the result.

        :raises InterpreterDied: If the interpreter dies.
        """
        self.interrupted = False
        self._interrupted_at = float("-inf")  # a Ctrl-C during the cell before does not count
        pending = _PendingEvents()
        try:
            with self._interrupts():
                self._loop.post(lambda: pending.fill(self._interpreter, code, limits))
                while (end := pending.handle_next(handle)) is None:
                    if self._pause:
                        time.sleep(self._pause)
        except BaseException:
            pending.cancel()
            raise
        return end.result()

    def answer(self, question: Question, read: Callable[[str], str] | None = None) -> None:
        """Answer a question by the line that the user types. Ctrl-C counts as the end of file.

        :param read: Function that gets the prompt, and reads the answer instead of the user's line.
        """
        line: str | None = None
        self._waits_for_user = True
        try:
            line = (read or (getpass if question.secret else input))(question.prompt)
        except (EOFError, KeyboardInterrupt, NotImplementedError):
            pass  # a notebook that executes without its user does not implement `input`
        finally:
            self._waits_for_user = False
            question.answer.set_result(line)

    def give_up_question(self) -> None:
        """Answer the question that waits for the user, if there is one, by the end of file.

        Call this in a signal handler of the thread that waits.
        """
        if self._waits_for_user:
            raise KeyboardInterrupt

    def kill(self) -> None:
        """Kill the interpreter and the processes that the running cell has started."""
        for _ in range(2):  # the first call kills the processes, the second one the interpreter
            self._loop.post(lambda: self._interpreter.interrupt(kill=True))

    def _interrupts(self) -> AbstractContextManager[None]:
        """Context manager: let Ctrl-C interrupt the cell, if this is the main thread."""
        is_main = threading.current_thread() is threading.main_thread()
        return handler_of_ctrl_c(self._interrupt) if is_main else nullcontext()

    def _interrupt(self, number: int, frame: object) -> None:
        del frame
        interrupt.note(number)
        self.interrupted = True
        now, before = time.monotonic(), self._interrupted_at
        self._interrupted_at = now
        again = now - before < interrupt.AGAIN
        self._loop.post(lambda: self._interpreter.interrupt(kill=again))
        self.give_up_question()


class _PendingEvents:
    """The events of one cell on their way from the event loop to the waiting thread."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Event | Future[Cell]] = SimpleQueue()
        self._size = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[object] | None = None
        self._room: asyncio.Event

    async def fill(self, interpreter: Interpreter, code: str, limits: CellLimits) -> None:
        """Run a cell, and queue its events and its end. Called in the event loop."""
        self._loop, self._room = asyncio.get_running_loop(), asyncio.Event()
        self._task = asyncio.current_task()
        end: Future[Cell] = Future()
        callbacks = Callbacks(output=self._add_output, display=self._add, input=self._ask)
        try:
            cell = await interpreter._run(
                code,
                callbacks,
                timeout=limits.timeout,
                grace=limits.grace,
                max_output=limits.max_output,
                late_grace=limits.late_grace,
            )
        except BaseException as error:
            end.set_exception(error)
            raise
        else:
            end.set_result(cell)
        finally:
            self._queue.put(end)

    async def _add_output(self, stream: Stream, data: bytes) -> None:
        await self._add(CellOutput(stream, bytes(data)))

    async def _ask(self, prompt: str, secret: bool) -> str | None:
        question = Question(prompt, secret)
        await self._add(question)
        return await asyncio.wrap_future(question.answer)

    async def _add(self, event: Event) -> None:
        while self._size > _WINDOW:
            self._room.clear()
            await self._room.wait()
        self._size += _size(event)
        self._queue.put(event)

    def handle_next(self, handle: Handle) -> Future[Cell] | None:
        """Wait for an event, and handle all that are queued. Return the end of the cell, or None.

        Consecutive output of one stream is handled as one event.
        """
        events, end = self._take()
        for event in _joined(events):
            handle(event)
        if end is None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._add_room, sum(map(_size, events)))
        return end

    def cancel(self) -> None:
        """End the cell, because its events are not handled any more."""
        if self._loop is not None and self._task is not None:
            with suppress(RuntimeError):  # the loop is closed, so the cell has ended
                self._loop.call_soon_threadsafe(self._task.cancel)

    def _take(self) -> tuple[list[Event], Future[Cell] | None]:
        """Wait for an event. Return all queued events, and the end of the cell if it is queued."""
        events: list[Event] = []
        item = self._queue.get()
        with suppress(Empty):
            while not isinstance(item, Future):
                events.append(item)
                item = self._queue.get_nowait()
            return events, item
        return events, None

    def _add_room(self, size: int) -> None:
        self._size -= size
        self._room.set()


def _joined(events: list[Event]) -> Iterator[Event]:
    """Yield the events. Consecutive output of one stream is joined."""
    for stream, group in groupby(events, lambda each: getattr(each, "stream", None)):
        if stream is None:
            yield from group
        else:
            yield CellOutput(
                stream, b"".join(each.data for each in group if isinstance(each, CellOutput))
            )


def _size(event: Event) -> int:
    return _EVENT_SIZE + (len(event.data) if isinstance(event, CellOutput) else 0)
