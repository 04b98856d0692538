"""Tests of an event loop in a thread of its own: calls, interrupts, and its end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.captured import captured

from microvm.concurrency.loop import BackgroundLoop
from microvm.errors import MicroVMError, UsageError


class Inhabitant:
    """An object that belongs to a loop."""

    def __init__(self, leftover: str = "") -> None:
        self.ended = threading.Event()
        self.leftover = leftover

    async def end(self) -> None:
        self.ended.set()

    def loop(self) -> BackgroundLoop:
        return BackgroundLoop(self.end, lambda: self.leftover)


@pytest.fixture
def inhabitant() -> Inhabitant:
    return Inhabitant()


@pytest.fixture
def loop(inhabitant: Inhabitant) -> Iterator[BackgroundLoop]:
    loop = inhabitant.loop()
    yield loop
    loop.close()


async def _say(word: str, seconds: float = 0.0) -> str:
    await asyncio.sleep(seconds)
    return word


def test_run_inside_its_own_loop_is_refused(loop: BackgroundLoop) -> None:
    async def ask() -> None:
        loop.run(_say("never"))

    with pytest.raises(UsageError, match="cannot wait for that machine"):
        loop.run(ask())


@pytest.mark.parametrize("closes", [False, True])
def test_ctrl_c_cancels_the_coroutine_and_waits_for_it(loop: BackgroundLoop, closes: bool) -> None:
    ended = []

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert ended == [True]
    if closes:
        loop.close()
    else:
        assert loop.run(_say("still")) == "still"


def test_second_ctrl_c_is_raised_at_once(loop: BackgroundLoop) -> None:
    begun = threading.Event()

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            begun.set()
            await asyncio.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert begun.is_set()


def test_post_does_not_wait_for_the_coroutine(loop: BackgroundLoop) -> None:
    done = threading.Event()

    async def work() -> None:
        done.set()
        raise ZeroDivisionError

    loop.post(work)  # no thread exists yet, so nothing needs to be done
    assert loop.run(_say("a")) == "a"
    assert not done.is_set()
    loop.post(work)
    assert done.wait(30)
    assert loop.run(_say("b")) == "b"
    loop.close()
    done.clear()
    loop.post(work)
    assert not done.is_set()


def test_close_runs_end_and_stops_the_thread(loop: BackgroundLoop, inhabitant: Inhabitant) -> None:
    loop.run(_say("a"))
    before = threading.active_count()
    loop.close()
    loop.close()
    assert inhabitant.ended.is_set()
    assert threading.active_count() == before - 1
    with pytest.raises(UsageError, match="not running"):
        loop.run(_say("late"))


def test_close_raises_an_error_in_waiting_calls() -> None:
    loop = Inhabitant().loop()
    begun = threading.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.sleep(60)

    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(loop.run, wait())
        begun.wait()
        loop.close()
        with pytest.raises(UsageError, match="stopped during the call"):
            waiting.result()


@pytest.mark.parametrize("leftover", ["", "something is left"])
def test_dropped_loop_is_stopped_with_a_warning(leftover: str) -> None:
    inhabitant = Inhabitant(leftover)
    loop = inhabitant.loop()
    loop.run(_say("a"))
    if leftover:
        with pytest.warns(ResourceWarning, match=leftover):
            del loop
    else:
        del loop
        gc.collect()
    assert inhabitant.ended.wait(30)


SCRIPT = """
import asyncio, os, sys, threading, time
from microvm.concurrency.loop import BackgroundLoop
from microvm.concurrency.threads import in_thread

async def end(): print("ended", flush=True)
async def say(word): return word
loop = BackgroundLoop(end, lambda: "something is left")
print(loop.run(say("hello")), flush=True)
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("rest", "said", "warned"),
    [
        ("", "hello\nended\n", True),
        ("loop.close()", "hello\nended\n", False),
        ("del loop; time.sleep(1)", "hello\nended\n", True),
        ("os._exit(0)", "hello\n", False),
        # A waiting daemon thread does not delay the exit.
        (
            "threading.Thread(target=loop.run, args=(asyncio.sleep(60),), daemon=True).start()\n"
            "time.sleep(0.2)\n",
            "hello\nended\n",
            True,
        ),
    ],
)
def test_interpreter_exits_with_an_open_loop(rest: str, said: str, warned: bool) -> None:
    command = [sys.executable, "-W", "default::ResourceWarning", "-c", SCRIPT + rest]
    result = captured(command, timeout=60)
    assert (result.returncode, result.stdout) == (0, said)
    assert ("something is left" in result.stderr) == warned


FORK = """
pid = os.fork()
if pid == 0:
    try:
        loop.run(say("in the child"))
    except Exception as error:
        print(type(error).__name__, flush=True)
    loop.close()
    del loop
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), loop.run(say("in the parent")), flush=True)
loop.close()
"""


def test_forked_child_neither_uses_nor_stops_the_loop() -> None:
    command = [sys.executable, "-c", SCRIPT + FORK]
    result = captured(command, timeout=60)
    assert result.stdout == "hello\nUsageError\n7 in the parent\nended\n", result.stderr


def test_failure_to_start_a_thread_is_a_microvm_error(loop: BackgroundLoop) -> None:
    before = threading.stack_size(1 << 46)  # more than the address space
    try:
        with pytest.raises(MicroVMError, match="not allow more threads"):
            loop.run(_say("never"))
    finally:
        threading.stack_size(before)
    assert loop.run(_say("now")) == "now"
