"""Tests of the synchronous interpreter in real machines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from tests.support.processes import children

from microvm import Image
from microvm.sync import Interpreter


@pytest.fixture(scope="module")
def python(with_python: Image) -> Iterator[Interpreter]:
    """A running interpreter, of which nothing may remain afterwards."""
    before = children(os.getpid())
    with Interpreter(image=with_python, imports=["json"]) as python:
        yield python
    assert children(os.getpid()) == before


def test_callbacks_may_block_and_use_the_interpreter(python: Interpreter) -> None:
    seen = []

    def on_stdout(text: str) -> None:
        seen.append(text)
        python.interrupt()

    def on_input(prompt: str, _secret: bool) -> str:
        return python.vm.read_file("/etc/hostname", encoding="utf-8").strip() + prompt

    name = python.vm.run(["hostname"], text=True).stdout.strip()
    assert python.run("input('!')", on_input=on_input).result == repr(f"{name}!")
    cell = python.run("print('on', flush=True)\nwhile True: pass", on_stdout=on_stdout, timeout=60)
    assert cell.error is not None
    assert (seen, cell.error.type, cell.timed_out) == (["on\n"], "KeyboardInterrupt", False)


def test_another_thread_can_interrupt_a_cell(python: Interpreter) -> None:
    timer = threading.Timer(0.5, python.interrupt)
    timer.start()
    assert not python.run("import time; time.sleep(1000)").ok
    timer.join()


def test_interpreter_that_is_dropped_is_closed(with_python: Image) -> None:
    before = children(os.getpid())
    pythons = [Interpreter(image=with_python, imports=["json"])]
    pythons[0].start()
    with pytest.warns(ResourceWarning, match="an interpreter was never closed"):
        pythons.clear()
    for _ in range(100):
        if children(os.getpid()) == before:
            return
        threading.Event().wait(0.1)
    pytest.fail("the machine still runs")


@pytest.mark.thorough
def test_ctrl_c_interrupts_the_cell(with_python: Image) -> None:
    script = f"""
from microvm.sync import Interpreter
with Interpreter(image={str(with_python.path)!r}, imports=["json"]) as python:
    python.run("kept = 1")
    try:
        python.run("print('begun', flush=True)\\nwhile True: pass",
                   on_stdout=lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        print("interrupted", python.run("kept").result)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    assert child.stdout.readline() == "begun\n"
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=60)[0] == "interrupted 1\n"
    assert child.returncode == 0
