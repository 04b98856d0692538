"""Tests of cells that a waiting thread runs, with a scripted interpreter."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest

from microvm.cli import cell_events
from microvm.cli.cell_events import CellLimits, CellOutput, CellRunner, Event
from microvm.concurrency.loop import BackgroundLoop
from microvm.interpreter.cell import Cell, Display
from microvm.interpreter.cell_run import Callbacks
from microvm.wire.interpreter import Stream

OUT, ERR = Stream.STDOUT, Stream.STDERR
CELL = Cell(
    result="1",
    stdout="",
    stderr="",
    displays=(),
    error=None,
    exit_status=None,
    timed_out=False,
    killed=False,
    dropped=0,
    duration=0.1,
)

Script = Callable[[Callbacks], Awaitable[None]]


class ScriptedInterpreter:
    """An interpreter whose cells are a script of the test."""

    def __init__(self, script: Script) -> None:
        self.interrupts: list[bool] = []
        self.interrupted = asyncio.Event()
        self._script = script

    async def _run(self, code: str, callbacks: Callbacks, **_: object) -> Cell:
        assert code == "code"
        await self._script(callbacks)
        return CELL

    async def interrupt(self, *, kill: bool) -> None:
        self.interrupts.append(kill)
        self.interrupted.set()


async def _nothing() -> None: ...


def run(
    python: ScriptedInterpreter, handle: Callable[[Event], None], *, cells: int = 1
) -> tuple[Cell, CellRunner]:
    """Run the script of the test in each of the cells, and return the last result."""
    loop = BackgroundLoop(_nothing, str)
    runner = CellRunner(loop, python)  # type: ignore[arg-type]
    try:
        loop.run(_nothing())
        results = [runner.run("code", handle, CellLimits()) for _ in range(cells)]
        return results[-1], runner
    finally:
        loop.close()


def output(stream: Stream, data: bytes) -> Callable[[Callbacks], Awaitable[None]]:
    async def write(callbacks: Callbacks) -> None:
        assert callbacks.output is not None
        await callbacks.output(stream, data)

    return write


def test_events_arrive_in_order_in_the_calling_thread() -> None:
    async def script(callbacks: Callbacks) -> None:
        assert callbacks.display is not None
        for each in (output(OUT, b"1"), output(ERR, b"2"), output(OUT, b"3")):
            await each(callbacks)
        await callbacks.display(Display({"text/plain": b"4"}))  # type: ignore[misc]
        await output(OUT, b"5")(callbacks)

    seen: list[bytes] = []

    def handle(event: Event) -> None:
        assert threading.current_thread() is threading.main_thread()
        match event:
            case CellOutput(stream, data):
                seen.append(bytes(str(int(stream)), "ascii") + b":" + data)
            case Display():
                seen.append(event.data["text/plain"])

    cell, runner = run(ScriptedInterpreter(script), handle)
    assert cell is CELL
    assert seen == [b"1:1", b"2:2", b"1:3", b"4", b"1:5"]
    assert not runner.interrupted


def test_slow_handler_slows_the_cell_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_events, "_WINDOW", 10_000)
    written = 0

    async def script(callbacks: Callbacks) -> None:
        nonlocal written
        for _ in range(100):
            await output(OUT, bytes(1000))(callbacks)
            written += 1000

    handled = ahead = 0

    def handle(event: Event) -> None:
        nonlocal handled, ahead
        assert isinstance(event, CellOutput)
        time.sleep(0.001)
        ahead = max(ahead, written - handled)
        handled += len(event.data)

    run(ScriptedInterpreter(script), handle)
    assert handled == 100_000
    assert ahead <= 12_000


def test_ctrl_c_interrupts_first_and_then_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(callbacks: Callbacks) -> None:
        for count in (1, 2, 3):
            os.kill(os.getpid(), signal.SIGINT)
            await python.interrupted.wait()
            python.interrupted.clear()
            if count == 2:
                clock.append(clock[-1] + 60)

    clock = [100.0]
    monkeypatch.setattr(cell_events, "time", SimpleNamespace(monotonic=lambda: clock[-1]))
    python = ScriptedInterpreter(script)
    before = signal.getsignal(signal.SIGINT)
    _, runner = run(python, lambda _: None)
    assert python.interrupts == [False, True, False]
    assert runner.interrupted
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_ends_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[str | None] = []

    async def script(callbacks: Callbacks) -> None:
        assert callbacks.input is not None
        for secret in (False, True, False):
            answers.append(await callbacks.input("prompt", secret))  # type: ignore[misc]

    def type_line(prompt: str) -> str:
        assert prompt == "prompt"
        if answers:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        return "typed"

    def handle(event: Event) -> None:
        assert isinstance(event, cell_events.Question)
        runners[0].answer(event)

    python = ScriptedInterpreter(script)
    runners: list[CellRunner] = []
    original = CellRunner.run

    def remember(self: CellRunner, *arguments: object) -> Cell:
        runners.append(self)
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(CellRunner, "run", remember)
    monkeypatch.setattr("builtins.input", type_line)
    monkeypatch.setattr(cell_events, "getpass", lambda prompt: f"secret {prompt}")
    run(python, handle)
    assert answers == ["typed", "secret prompt", None]
    assert python.interrupts == [False]


def test_error_of_the_handler_ends_the_cell() -> None:
    ended: list[bool] = []

    async def script(callbacks: Callbacks) -> None:
        try:
            await output(OUT, b"1")(callbacks)
            await asyncio.sleep(3600)
        finally:
            ended.append(True)

    def handle(event: Event) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(ScriptedInterpreter(script), handle)
    assert ended == [True]
