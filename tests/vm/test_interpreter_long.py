"""Tests of interpreters with thousands of cells, and with hostile cells, in real machines."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.processes import children

from microvm import Image, Interpreter, InterpreterDied, cache

pytestmark = [pytest.mark.thorough, pytest.mark.long, pytest.mark.deadline(3000)]

CELLS = 10_000
INTERPRETERS = 1000
AT_ONCE = 4
TIME_OUTS = 200

#: Limits of a hostile cell in seconds, and the time that the guest may need to kill everything.
TIMEOUT, GRACE, SLACK = 5, 2, 10

#: Cells that run for ever, in different ways.
ENDLESS = (
    "while True: pass",
    "import time\nwhile True: time.sleep(1)",
    "import os\nwhile True: os.write(1, b'x' * 1000)",
    "while True: print('x' * 100)",
    "import subprocess; subprocess.run(['sleep', '1000'])",
    "import asyncio; await asyncio.sleep(1000)",
    "import threading; threading.Event().wait()",
    "def f(n): return f(n - 1) if n else 0\nwhile True: f(500)",
    "[n for n in iter(int, 1) if n]",
)

#: Cells that damage their interpreter, or try to.
HOSTILE = (
    "import sys; sys.stdout = sys.stderr = None; print('lost')",
    "import sys; sys.stdout = 5",
    "import os; [os.close(n) for n in (0, 1, 2)]",
    "import os; os.closerange(0, 1024)",
    "import os; os._exit(0)",
    "import os; os.kill(os.getpid(), 11)",
    "import os; os.killpg(0, 9)",
    "import os\nwhile True: os.fork()",
    "import threading\n"
    "def f():\n"
    "    while True: print('x')\n"
    "for _ in range(4): threading.Thread(target=f).start()",
    "import signal; signal.signal(signal.SIGINT, lambda *_: None)\nwhile True: pass",
    "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
    "import sys; sys.settrace(lambda *_: 1 / 0)",
    "import sys; sys.exit(3)",
    "raise KeyboardInterrupt",
    "class A:\n    def __repr__(self): raise SystemExit\nA()",
    "class A:\n    def __repr__(self):\n        while True: pass\nA()",
    "a = []\nfor _ in range(100_000): a = [a]\na",
    "'x' * (100 << 20)",
    "import os\nfor _ in range(1 << 14): os.write(1, bytes(1 << 16))",
    "class A:\n"
    "    def _repr_png_(self): return 'no bytes'\n"
    "    def _repr_html_(self): return b'no text'\n"
    "A()",
    "import gc, types\n"
    "for each in gc.get_objects():\n"
    "    if isinstance(each, types.ModuleType): each.__dict__.clear()",
    "import os\n"
    "for n in range(3, 256):\n"
    "    try: os.write(n, b'\\xff' * 4096)\n"
    "    except OSError: pass",
    "import builtins; builtins.__dict__.clear()",
    "bytearray(1 << 40)",
    "blocks = []\nwhile True: blocks.append(bytearray(1 << 24))",
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def python(with_python: Image) -> AsyncIterator[Interpreter]:
    """An interpreter that the tests share."""
    async with Interpreter(image=with_python) as python:
        yield python


async def test_no_cell_is_lost(python: Interpreter) -> None:
    begun = time.monotonic()
    await python.run("count = 0")
    for number in range(1, CELLS + 1):
        cell = await python.run("count += 1; print(count); count")
        assert (cell.result, cell.stdout) == (str(number), f"{number}\n")
    print(f"{1000 * (time.monotonic() - begun) / CELLS:.2f} ms for each cell")


async def test_nothing_is_left_of_a_thousand_interpreters(with_python: Image) -> None:
    async with Interpreter(image=with_python):
        pass  # make the template
    gc.collect()  # it closes the files of machines of earlier tests
    processes, opened, stored = children(os.getpid()), files(), cached()
    slots = asyncio.Semaphore(AT_ONCE)
    drawn = set[str | None]()

    async def use(number: int) -> None:
        async with slots, Interpreter(image=with_python) as python:
            assert (await python.run(f"{number} + 1")).result == str(number + 1)
            drawn.add((await python.run("import random; random.random()")).result)

    await asyncio.gather(*map(use, range(INTERPRETERS)))
    assert len(drawn) == INTERPRETERS
    gc.collect()
    assert children(os.getpid()) == processes
    assert files() <= opened
    assert cached() == stored


def files() -> int:
    """Return the number of open files of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def cached() -> set[Path]:
    """Return the paths of all files and folders in the cache."""
    return set(cache.root().rglob("*"))


async def test_state_survives_time_outs_at_random_moments(python: Interpreter) -> None:
    drawn = random.Random(4711)
    await python.run("kept = 0")
    for number in range(1, TIME_OUTS + 1):
        code = drawn.choice(ENDLESS)
        cell = await python.run(code, timeout=drawn.expovariate(2) + 0.001, grace=20)
        assert cell.timed_out, (code, cell)
        assert cell.error is not None, (code, cell)
        cell = await python.run("kept += 1; kept", timeout=60)
        assert cell.result == str(number), (code, cell)


@pytest.mark.parametrize("code", HOSTILE)
async def test_hostile_cell_ends_in_a_typed_result(with_python: Image, code: str) -> None:
    async with Interpreter(image=with_python) as python:
        try:
            for each in (code, "1"):  # the next cell is executed, too, or the interpreter is dead
                begun = time.monotonic()
                cell = await python.run(each, timeout=TIMEOUT, grace=GRACE)
                print(cell.error, cell.timed_out, cell.killed, cell.dropped)
        except InterpreterDied as error:
            print(error.cause, error.status)
        finally:
            print(f"{time.monotonic() - begun:.1f} s")
            assert time.monotonic() - begun < TIMEOUT + 2 * GRACE + SLACK
        assert (await python.vm.run(["true"], timeout=60)).returncode == 0
        await python.restart()
        assert (await python.run("1")).result == "1"
