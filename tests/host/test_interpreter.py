"""Tests of interpreters, whose guest is a script of the test."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.support.fake_interpreter import (
    FakeGuest,
    FakeMachine,
    FakeSource,
    fake_interpreter,
    value,
)
from tests.support.interpreter_messages import RESULT

from microvm import Display, Interpreter, InterpreterDied, InterpreterError, UsageError
from microvm.guest.timeouts import Timeouts
from microvm.interpreter import escalation
from microvm.interpreter.source import Source
from microvm.wire import interpreter as wire
from microvm.wire.interpreter import Death, Died, Stream

STDOUT, STDERR = Stream.STDOUT, Stream.STDERR


async def test_cell_has_its_value_and_its_output() -> None:
    async def script(guest: FakeGuest) -> None:
        await guest.cell("f()")
        await guest.write(b"on\xc3")
        await guest.write(b"problem\n", STDERR)
        await guest.write(b"\xa9 \xff\n")
        guest.say(value("[1, 2]"))

    async with fake_interpreter(script) as python:
        cell = await python.run("f()")
    assert (cell.result, cell.stdout, cell.stderr) == ("[1, 2]", "oné \ufffd\n", "problem\n")
    assert (cell.ok, cell.error, cell.displays, cell.dropped) == (True, None, (), 0)
    assert (cell.timed_out, cell.killed) == (False, False)
    assert 0 < cell.duration < 10


async def test_callbacks_get_output_as_it_is_written() -> None:
    seen: list[Any] = []

    async def slowly(text: str) -> None:
        await asyncio.sleep(0)
        seen.append(("out", text))

    async def script(guest: FakeGuest) -> None:
        await guest.cell("f()")
        for data, stream in (
            (b"a\xc3", STDOUT),
            (b"b", STDERR),
            (b"\xa9", STDOUT),
            (b"\xc3", STDOUT),
        ):
            await guest.write(data, stream)
        guest.say(picture("text/plain", b"figure"), RESULT)

    async with fake_interpreter(script) as python:
        cell = await python.run(
            "f()",
            on_stdout=slowly,
            on_stderr=lambda text: seen.append(("err", text)),
            on_display=seen.append,
        )
    figure = Display({"text/plain": b"figure"})
    assert seen == [("out", "a"), ("err", "b"), ("out", "é"), figure, ("out", "\ufffd")]
    assert cell.stdout == "aé\ufffd"


def picture(mime: str, data: bytes, *, first: bool = True, of_value: bool = False) -> wire.Display:
    return wire.Display(first, of_value, mime, 0, data)


async def test_output_beyond_the_limit_is_dropped_and_counted() -> None:
    async def script(guest: FakeGuest) -> None:
        await guest.cell("flood()")
        for _ in range(1000):
            await guest.write(bytes(65_000))
        guest.say(RESULT)

    async with fake_interpreter(script) as python:
        cell = await python.run("flood()", max_output="1M")
    assert len(cell.stdout) == 1 << 20
    assert cell.dropped == 65_000_000 - (1 << 20)


async def test_cell_that_exceeds_its_time_is_interrupted() -> None:
    async def script(guest: FakeGuest) -> None:
        await guest.cell("loop()")
        await guest.write(b"so far")
        await guest.be_interrupted()
        await guest.cell("1")
        guest.say(value("1"))

    async with fake_interpreter(script) as python:
        cell = await python.run("loop()", timeout=0.05)
        assert cell.error is not None
        assert (cell.error.type, cell.stdout) == ("KeyboardInterrupt", "so far")
        assert (cell.timed_out, cell.killed) == (True, False)
        assert (await python.run("1", timeout=10)).result == "1"


async def test_interpreter_that_does_not_end_a_cell_is_killed() -> None:
    async def script(guest: FakeGuest) -> None:
        await guest.cell("ignore()")
        await guest.write(b"out")
        await guest.write(b"err", STDERR)
        for kind in (wire.Interrupt, wire.KillStarted, wire.Kill):
            await guest.hear(kind)
        guest.say(Died(Death.KILLED, 9))

    async with fake_interpreter(script) as python:
        with pytest.raises(
            InterpreterDied, match="was killed, because nothing else ended"
        ) as caught:
            await python.run("ignore()", timeout=0.02, grace=0.02)
        assert (caught.value.cause, caught.value.status) == ("killed", 0)
        assert (caught.value.stdout, caught.value.stderr) == ("out", "err")


async def test_guest_that_ignores_everything_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(guest: FakeGuest) -> None:
        await guest.cell("ignore()")
        for kind in (wire.Interrupt, wire.KillStarted, wire.Kill):
            await guest.hear(kind)
        with pytest.raises(AssertionError, match="the host has closed the connection"):
            await guest.hear(wire.Kill)

    monkeypatch.setattr(escalation, "TIMEOUTS", Timeouts(kill=0.05))
    async with fake_interpreter(script) as python:
        with pytest.raises(InterpreterDied, match="does not answer") as caught:
            await python.run("ignore()", timeout=0.02, grace=0.02)
        assert caught.value.cause == "lost"


async def test_cancelled_cell_is_ended_first() -> None:
    async def script(guest: FakeGuest) -> None:
        await guest.cell("loop()")
        await guest.be_interrupted()
        await guest.cell("1")
        guest.say(value("1"))

    async with fake_interpreter(script) as python:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await python.run("loop()")
        assert (await python.run("1")).result == "1"


@pytest.mark.parametrize("wait", [False, True])
async def test_error_of_a_callback_ends_the_cell(wait: bool) -> None:
    def fail(text: str) -> Any:
        if wait:
            return asyncio.wait_for(asyncio.sleep(10), 0.01)
        raise TimeoutError(text)

    async def script(guest: FakeGuest) -> None:
        await guest.cell("loop()")
        await guest.write(b"x")
        await guest.be_interrupted()
        await guest.cell("1")
        guest.say(value("1"))

    async with fake_interpreter(script) as python:
        with pytest.raises(TimeoutError):
            await python.run("loop()", on_stdout=fail)
        assert (await python.run("1")).result == "1"


async def test_cell_that_has_ended_is_not_killed_by_a_slow_callback() -> None:
    async def never(_: str) -> None:
        await asyncio.Future()

    async def script(guest: FakeGuest) -> None:
        await guest.cell("f()")
        await guest.write(b"a")
        await guest.write(b"b")
        guest.say(value("1"))
        assert isinstance(await guest.hear(wire.Interrupt), wire.Interrupt)
        await guest.cell("2")
        guest.say(value("2"))

    async with fake_interpreter(script) as python:
        cell = await python.run("f()", timeout=0.05, grace=0.05, on_stdout=never)
        assert (cell.result, cell.stdout, cell.killed) == ("1", "ab", False)
        assert (await python.run("2")).result == "2"


async def test_cells_run_one_after_another() -> None:
    async def script(guest: FakeGuest) -> None:
        for code in "123":
            await guest.cell(code)
            guest.say(value(code))

    async with fake_interpreter(script) as python:
        cells = await asyncio.gather(*map(python.run, "123"))
    assert [cell.result for cell in cells] == ["1", "2", "3"]


@pytest.mark.parametrize("later", [False, True])
async def test_callback_answers_questions(later: bool) -> None:
    async def ask_later(prompt: str, secret: bool) -> str | None:
        await asyncio.sleep(0)
        return ask(prompt, secret)

    def ask(prompt: str, secret: bool) -> str | None:
        return f"{prompt}{secret}" if prompt else None

    async def script(guest: FakeGuest) -> None:
        await guest.cell("f()")
        guest.say(wire.Ask(1, True, "Password: "))
        assert await guest.hear(wire.Answer) == wire.Answer(1, True, "Password: True")
        guest.say(wire.Ask(2, False, ""))
        assert await guest.hear(wire.Answer) == wire.Answer(2, False, "")
        guest.say(RESULT)

    async with fake_interpreter(script) as python:
        await python.run("f()", on_input=ask_later if later else ask)


async def test_answer_that_is_no_text_is_an_error() -> None:
    async def script(guest: FakeGuest) -> None:
        await guest.cell("input()")
        guest.say(wire.Ask(1, False, "?"))
        await guest.be_interrupted()

    async with fake_interpreter(script) as python:
        with pytest.raises(UsageError, match="on_input must return text or None, not int"):
            await python.run("input()", on_input=lambda *_: 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ending", "status", "cause", "text"),
    [
        (Death.EXITED, 3, "exited", "exited with status 3"),
        (Death.SIGNALLED, 11, "signal", "was killed by signal 11"),
        (Death.OUT_OF_MEMORY, 9, "memory", "the guest had no memory left"),
        (Death.BROKEN, 9, "broken", "did not follow its protocol"),
    ],
)
async def test_death_is_a_typed_error(ending: Death, status: int, cause: str, text: str) -> None:
    async def script(guest: FakeGuest) -> None:
        await guest.cell("die()")
        await guest.write(b"last words")
        guest.say(Died(ending, status))

    async with fake_interpreter(script) as python:
        with pytest.raises(InterpreterDied, match=text) as caught:
            await python.run("die()")
        assert caught.value.cause == cause
        assert caught.value.status == (status if cause in {"exited", "signal"} else 0)
        assert caught.value.stdout == "last words"
        for request in (python.run("1"), python.get("x")):
            with pytest.raises(InterpreterDied, match=text) as later:
                await request
            assert later.value.stdout == ""
        assert caught.value.stdout == "last words"


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "lost"),
        (b"\xff" * 20, "broken"),
        (wire.Done().encode(), "broken"),
        (Died(Death.EXITED, 256).encode(), "broken"),
        (Died(Death.SIGNALLED, 65).encode(), "broken"),
    ],
)
async def test_guest_that_breaks_the_protocol_is_dead(data: bytes, cause: str) -> None:
    async def script(guest: FakeGuest) -> None:
        await guest.cell("1")
        guest.writer.write(data)

    async with fake_interpreter(script) as python:
        with pytest.raises(
            InterpreterDied, match=r"does not (answer|follow its protocol)"
        ) as caught:
            await python.run("1")
        assert caught.value.cause == cause


async def test_variables_are_exchanged_as_json() -> None:
    async def script(guest: FakeGuest) -> None:
        assert await guest.hear(wire.Assign) == wire.Assign("x", 0, b'[1, "\\u00e9"]')
        guest.say(wire.Done())
        assert await guest.hear(wire.Fetch) == wire.Fetch("x")
        guest.say(wire.Value(0, b'[1, "\xc3\xa9"]'))
        assert await guest.hear(wire.Fetch) == wire.Fetch("y")
        guest.say(wire.Failed("NameError", "name 'y' is not defined"))
        assert await guest.hear(wire.Fetch) == wire.Fetch("frame")
        guest.say(wire.Failed("TypeError", "Object of type DataFrame is not JSON serializable"))

    async with fake_interpreter(script) as python:
        await python.set("x", [1, "é"])
        assert await python.get("x") == [1, "é"]
        with pytest.raises(InterpreterError, match="name 'y' is not defined"):
            await python.get("y")
        with pytest.raises(TypeError, match=r"DataFrame.*to_dict\(\).*write it to a file"):
            await python.get("frame")


@pytest.mark.parametrize("text", [b"{", b"[" * 200_000, b"\xff\xfe", b"1" * 5000])
async def test_invalid_value_of_a_variable_is_an_error(text: bytes) -> None:
    async def script(guest: FakeGuest) -> None:
        await guest.hear(wire.Fetch)
        for start in range(0, len(text) - 60_000, 60_000):
            while guest.credit < 60_000:
                assert await guest._next() is None
            guest.credit -= 60_000
            guest.say(wire.Piece(start, text[start : start + 60_000]))
        rest = len(text) % 60_000 if len(text) > 60_000 else len(text)
        guest.say(wire.Value(len(text) - rest, text[len(text) - rest :]))

    async with fake_interpreter(script) as python:
        with pytest.raises(InterpreterError, match="the guest sent an invalid value of x"):
            await python.get("x")


async def test_wrong_arguments_are_usage_errors() -> None:
    async def script(_: FakeGuest) -> None: ...

    async with fake_interpreter(script) as python:
        for name in ("", "x y", "1", "x.y", "é\ud800"):
            with pytest.raises(UsageError, match="is not the name of a variable"):
                await python.get(name)
        for request in (python.get("é" * 128), python.set("x" * 256, 1)):
            with pytest.raises(UsageError, match="the name of a variable has more than 255 bytes"):
                await request
        with pytest.raises(UsageError, match="the value of x cannot be written as JSON"):
            await python.set("x", object())
        with pytest.raises(UsageError):
            await python.run("1", timeout="soon")
        with pytest.raises(UsageError, match="the code of a cell is text, not bytes"):
            await python.run(b"1")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="an interpreter is started once"):
            await python.start()


@pytest.mark.parametrize("module", ["", "a b", "a-b", "import x", "a..b", ".a"])
def test_imports_must_be_names_of_modules(module: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a module"):
        Interpreter(imports=[module])


def test_lists_must_not_be_text() -> None:
    with pytest.raises(UsageError, match="cannot be given for an interpreter of a snapshot"):
        Interpreter("name", imports=["json"])
    with pytest.raises(UsageError, match="imports: 'json' is no list"):
        Interpreter(imports="json")
    with pytest.raises(UsageError, match="packages: 'numpy' is no list"):
        Interpreter(packages="numpy")


async def test_interpreter_that_does_not_run_cannot_be_used() -> None:
    python = Interpreter()
    for method in (python.run("1"), python.interrupt(), python.get("x"), python.restart()):
        with pytest.raises(UsageError, match="the interpreter is not running"):
            await method
    await python.close()
    with pytest.raises(UsageError, match="an interpreter is started once"):
        await python.start()


@pytest.mark.parametrize("restarts", [False, True])
async def test_close_stops_an_interpreter_that_is_being_started(restarts: bool) -> None:
    async def script(_: FakeGuest) -> None: ...

    source = FakeSource(FakeMachine(script))
    python = Interpreter.__new__(Interpreter)._set_up(cast(Source, source))
    if restarts:
        await python.start()
    source.begun.clear()
    source.may_start.clear()
    starting = asyncio.create_task(python.restart() if restarts else python.start())
    await source.begun.wait()
    await python.close()
    source.may_start.set()
    with pytest.raises(UsageError, match="the interpreter was closed while it started"):
        await starting
    assert not source.is_running
    with pytest.raises(UsageError, match="the interpreter is not running"):
        await python.run("1")
