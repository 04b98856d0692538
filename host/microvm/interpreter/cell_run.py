"""A running cell: its output so far, the callbacks of the caller, and the cell's questions."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from microvm.concurrency.tasks import cancel, is_cancelled
from microvm.errors import InterpreterDied, UsageError
from microvm.interpreter.cell import Cell, CellError, Display
from microvm.interpreter.collector import Collector
from microvm.interpreter.connection import InterpreterConnection
from microvm.interpreter.escalation import Escalation
from microvm.wire import interpreter
from microvm.wire.interpreter import Ask, CellEnding, Message, Output, Result, Stream

OnText: TypeAlias = Callable[[str], Awaitable[None] | None]
"""A function that gets output of a cell. If it returns an awaitable, the cell waits for it."""

OnDisplay: TypeAlias = Callable[[Display], Awaitable[None] | None]
"""A function that gets a display of a cell, like `OnText`."""

OnOutput: TypeAlias = Callable[[Stream, bytes], Awaitable[None]]
"""A function that gets the bytes of a cell's output. The result then contains no output."""

OnInput: TypeAlias = Callable[[str, bool], Awaitable[str | None] | str | None]
"""A function that answers `input()` of a cell.

It gets the prompt, and True if the answer is a password. It returns the line without a newline, or
None, which raises EOFError in the cell. A line of more than 65,000 bytes counts as None.
"""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The functions that the caller of `Interpreter.run` has given."""

    stdout: OnText | None = None
    stderr: OnText | None = None
    display: OnDisplay | None = None
    input: OnInput | None = None
    output: OnOutput | None = None


class CellRun:
    """Handles the messages that a running cell sends, and collects its result.

    :param limit: See `Collector`.
    """

    def __init__(self, connection: InterpreterConnection, limit: int, callbacks: Callbacks) -> None:
        self._connection = connection
        self._collector = Collector(limit)
        self._on = callbacks
        self._on_text = {Stream.STDOUT: callbacks.stdout, Stream.STDERR: callbacks.stderr}
        self._question: asyncio.Task[None] | None = None
        self._callback: asyncio.Future[None] | None = None
        self._is_muted = False  # True if no callback may be called
        self._begun = time.monotonic()

    async def handle(self, message: Message) -> None:
        """Handle a message that arrives before the result, or the result."""
        match message:
            case Output(stream=stream, data=data):
                await self._end_display()
                if self._on.output is not None:
                    await self._output(stream, bytes(data))
                else:
                    await self._pass_on(stream, self._collector.add_output(stream, data))
            case interpreter.Display():
                session = self._connection.session
                finished = self._collector.add_display(message, session.text, session.size)
                await self._show(finished)
            case Ask(question=question, prompt=prompt, secret=secret):
                await self._end_display()
                await self._ask(question, prompt, secret=secret)
            case Result():
                await self._end_display()
                for stream in self._on_text:
                    await self._pass_on(stream, self._collector.end_output(stream))

    def unblock(self) -> bool:
        """Cancel the callback for which the cell waits, and call no further callbacks.

        Return False, and change nothing, if the cell waits for no callback.
        """
        if self._callback is None:
            return False
        self._is_muted = True
        self._callback.cancel()
        return True

    def finish(self, result: Result, escalation: Escalation) -> Cell:
        """Return the `Cell` of a result. Call this after `handle` has received the result."""
        value = self._connection.session.text.decode(errors="replace")
        failed = result.ending is not CellEnding.COMPLETED
        return Cell(
            result=value if result.has_value else None,
            stdout=self._collector.text(Stream.STDOUT),
            stderr=self._collector.text(Stream.STDERR),
            displays=tuple(self._collector.displays),
            error=CellError(result.error_type, result.error_message, result.traceback)
            if failed
            else None,
            exit_status=result.status if result.ending is CellEnding.EXITED else None,
            timed_out=escalation.timed_out,
            killed=escalation.killed,
            dropped=self._collector.dropped,
            duration=time.monotonic() - self._begun,
        )

    def describe(self, error: InterpreterDied) -> InterpreterDied:
        """Add the output so far to the error about the death of the interpreter, and return it."""
        error.stdout = self._collector.text(Stream.STDOUT)
        error.stderr = self._collector.text(Stream.STDERR)
        return error

    async def end(self) -> None:
        """Cancel the callback that answers a question, because the cell has ended."""
        question, self._question = self._question, None
        if question is not None:
            await cancel([question])

    async def _pass_on(self, stream: Stream, text: str) -> None:
        function = self._on_text[stream]
        if text and function is not None and not self._is_muted:
            await self._wait(function(text))

    async def _output(self, stream: Stream, data: bytes) -> None:
        if self._on.output is not None and not self._is_muted:
            await self._wait(self._on.output(stream, data))

    async def _wait(self, waiting: Awaitable[None] | None) -> None:
        """Wait for the awaitable that a callback has returned, until `unblock` is called."""
        if waiting is None:
            return
        self._callback = asyncio.ensure_future(waiting)
        try:
            await self._callback
        except asyncio.CancelledError:
            # Raise the error only if the caller of the cell was cancelled.
            if not self._is_muted or is_cancelled():
                raise
        finally:
            self._callback = None

    async def _end_display(self) -> None:
        await self._show(self._collector.end_display())

    async def _show(self, display: Display | None) -> None:
        function = self._on.display
        if display and function is not None and not self._is_muted:
            await self._wait(function(display))

    async def _ask(self, question: int, prompt: str, *, secret: bool) -> None:
        """Answer a question of the cell. Without a callback, refuse to answer.

        A task waits for an awaitable answer, so that the cell can be interrupted before.
        """
        await self.end()
        if self._on.input is None or self._is_muted:
            self._answer(question, None)
            return
        answer = self._on.input(prompt, secret)
        if inspect.isawaitable(answer):
            self._question = asyncio.create_task(self._answer_later(question, answer))
        else:
            self._answer(question, answer)

    async def _answer_later(self, question: int, answer: Awaitable[str | None]) -> None:
        try:
            self._answer(question, await answer)
        except BaseException as error:
            if is_cancelled():  # by `end`
                raise
            # An error of the callback, or a CancelledError that the callback has raised by itself.
            self._connection.fail(error)

    def _answer(self, question: int, line: str | None) -> None:
        if not isinstance(line, str | None):
            raise UsageError(f"on_input must return text or None, not {type(line).__name__}")
        self._connection.send(self._connection.session.answer(question, line))
