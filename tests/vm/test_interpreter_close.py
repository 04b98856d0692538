"""Tests that a closed interpreter leaves no machine, and that a resident one starts again."""

from __future__ import annotations

import asyncio
import os

import pytest
from tests.support.processes import children

from microvm import Image, Interpreter, InterpreterDied, MicroVM, UsageError

pytestmark = [pytest.mark.thorough, pytest.mark.deadline(120)]


async def test_close_during_the_start_leaves_no_machine(with_python: Image) -> None:
    async with Interpreter(image=with_python):
        pass  # makes the template, so that the next start clones it immediately
    before = children(os.getpid())
    python = Interpreter(image=with_python)
    starting = asyncio.create_task(python.start())
    await asyncio.sleep(0)
    await python.close()
    with pytest.raises(UsageError, match="the interpreter was closed while it started"):
        await starting
    assert children(os.getpid()) == before


async def test_resident_interpreter_is_started_again(with_python: Image) -> None:
    async with (
        MicroVM(with_python, memory="512M", commands=4) as vm,
        Interpreter._resident(vm, None) as python,
    ):
        with pytest.raises(InterpreterDied):
            await python.run("import os; os._exit(3)")
        await python.restart()
        assert (await python.run("1")).result == "1"
