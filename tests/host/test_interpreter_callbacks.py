"""Tests of interpreters whose callbacks wait, while the guest is a script of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.support.fake_interpreter import FakeGuest, fake_interpreter, value

from microvm import Interpreter, InterpreterDied
from microvm.guest.timeouts import Timeouts
from microvm.interpreter import escalation
from microvm.wire import interpreter as wire

_ANSWER = "y" * 60_000


async def test_guest_that_reads_no_answers_gets_few(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = 0
    is_over = asyncio.Event()

    def answer(_prompt: str, _secret: bool) -> str:
        nonlocal answers
        answers += 1
        return _ANSWER

    async def script(guest: FakeGuest) -> None:
        await guest.cell("1")
        guest.say(*[wire.Ask(1, False, "?")] * 1000)
        await is_over.wait()

    monkeypatch.setattr(escalation, "TIMEOUTS", Timeouts(kill=0.05))
    async with fake_interpreter(script) as python:
        with pytest.raises(InterpreterDied, match="does not answer"):
            await python.run("1", on_input=answer, timeout=0.05, grace=0.05)
        is_over.set()
    assert answers * len(_ANSWER) < 4 << 20


async def test_callbacks_are_called_after_processes_were_killed() -> None:
    seen: list[Any] = []

    async def script(guest: FakeGuest) -> None:
        await guest.cell("wait()")
        await guest.hear(wire.Interrupt)
        await guest.hear(wire.KillStarted)
        await guest.write(b"after")
        guest.say(wire.Display(True, False, "text/plain", 0, b"shown"), wire.Ask(1, False, "?"))
        assert (await guest.hear(wire.Answer)).line == "yes"
        guest.say(value("-9"))

    def answer(prompt: str, _secret: bool) -> str:
        seen.append(prompt)
        return "yes"

    async with fake_interpreter(script) as python:
        cell = await python.run(
            "wait()",
            timeout=0.02,
            grace=0.02,
            on_stdout=seen.append,
            on_display=lambda display: seen.append(display.text),
            on_input=answer,
        )
    assert (cell.killed, seen) == (True, ["after", "shown", "?"])


@pytest.mark.parametrize("restarts", [False, True])
async def test_running_cell_ends_although_its_callback_waits(restarts: bool) -> None:
    begun = asyncio.Event()
    guests: list[FakeGuest] = []

    async def wait(_: str) -> None:
        begun.set()
        await asyncio.Future()

    async def script(guest: FakeGuest) -> None:
        guests.append(guest)
        if len(guests) == 1:
            await guest.cell("loop()")
            await guest.write(b"a")
            await guest.write(b"b")
            return
        await guest.cell("1")
        guest.say(value("1"))

    async with asyncio.timeout(20), fake_interpreter(script) as python:
        running = asyncio.create_task(python.run("loop()", on_stdout=wait))
        await begun.wait()
        await (python.restart() if restarts else python.close())
        with pytest.raises(InterpreterDied, match="was stopped"):
            await running
        if restarts:
            assert (await python.run("1")).result == "1"


@pytest.mark.parametrize("method", [Interpreter.close, Interpreter.restart])
async def test_callback_that_stops_its_interpreter_ends_the_cell(
    method: Callable[[Interpreter], Awaitable[None]],
) -> None:
    async def stop(_: str) -> None:
        await method(python)

    async def script(guest: FakeGuest) -> None:
        await guest.cell("loop()")
        await guest.write(b"a")

    async with asyncio.timeout(20), fake_interpreter(script) as python:
        with pytest.raises(InterpreterDied, match="was stopped"):
            await python.run("loop()", on_stdout=stop)
