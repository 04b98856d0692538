"""Tests of interrupts, and of the ends of cells that do not return."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from microvm.wire import interpreter as wire
from microvm.wire.interpreter import Death

from .talk import DEADLINE, Talk, children_of, is_alive, wait_for

GUEST = Path(__file__).parents[2] / "guest"
READY = "print('ready')\n"

ENDLESS = {
    "sleep": "import time; time.sleep(1000)",
    "loop": "while True: pass",
    "child": "import subprocess; subprocess.run(['sleep', '1000'])",
    "input": "input()",
    "await": "import asyncio; await asyncio.sleep(1000)",
    "busy coroutine": "import asyncio; await asyncio.sleep(0)\nwhile True: pass",
    "lock": "import threading; l = threading.Lock(); l.acquire(); l.acquire()",
    "output": "while True: print('x' * 100)",
    "display": "while True: display('x' * 100_000)",
    "value": "class Slow:\n    def __repr__(self):\n        while True: pass\nSlow()",
    "message": "class Slow(Exception):\n    def __str__(self):\n        while 1: pass\nraise Slow",
}


def interrupted(talk: Talk, code: str) -> str:
    """Return the error of a cell that is interrupted soon after its begin."""
    talk.start(READY + code)
    talk.finish(until=lambda answered: "ready" in answered.stdout)
    time.sleep(0.05)
    talk.send(wire.Interrupt())
    return talk.finish().error


@pytest.mark.thorough
@pytest.mark.parametrize("code", ENDLESS.values(), ids=ENDLESS)
def test_interrupt_raises_keyboard_interrupt(shared: Talk, code: str) -> None:
    shared.run("state = 7")
    assert interrupted(shared, code) in ("KeyboardInterrupt", "__main__.Slow")
    assert shared.run("state").value == "7"
    assert shared.run("import asyncio\nawait asyncio.sleep(0, 3)").value == "3"


def test_interrupt_while_the_class_of_an_error_is_looked_up_is_the_error(shared: Talk) -> None:
    shared.run(
        "import os\nclass Meta(type):\n    def __getattribute__(c, n): os.kill(os.getpid(), 2)"
    )
    shared.run("class Nameless(Exception, metaclass=Meta): pass")
    assert shared.run("raise Nameless").error == "KeyboardInterrupt"


# Python runs no handler of signals between the loop in C and the wait.
WAITS_AFTER_A_LOOP_IN_C = """
from collections import deque
from itertools import chain, repeat
from time import sleep

def wait_later():
    deque(chain(map(abs, repeat(1, 20_000_000)), map(sleep, [1000])), maxlen=0)
"""


@pytest.mark.thorough
def test_interrupt_just_before_a_wait_ends_the_wait(talk: Talk) -> None:
    talk.run(WAITS_AFTER_A_LOOP_IN_C)
    assert interrupted(talk, "wait_later()") == "KeyboardInterrupt"


def test_interrupt_of_a_request_that_is_no_cell(talk: Talk, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    talk.run(
        "class Slow(dict):\n"
        "    def items(self):\n"
        f"        open({str(begun)!r}, 'w').close()\n"
        "        while True: pass\n"
        "slow = Slow(a=1)"
    )
    talk.send(wire.Fetch("slow"))
    wait_for(begun.exists)
    talk.send(wire.Interrupt())
    failed = talk.finish().last
    assert isinstance(failed, wire.Failed)
    assert failed.error_type == "KeyboardInterrupt"
    assert talk.run("1").value == "1"


@pytest.mark.thorough
def test_late_interrupt_has_no_effect(talk: Talk) -> None:
    talk.run("x = 0")
    for at in range(300):
        talk.start("x += 1\nx")
        time.sleep(at % 10 / 10_000)
        talk.send(wire.Interrupt(), wire.KillStarted())
        answered = talk.finish()
        if answered.result.has_value:
            assert answered.text.isdecimal()
        else:
            assert answered.error == "KeyboardInterrupt"
    x = talk.run("x").value
    assert x is not None
    assert 1 <= int(x) <= 300


def test_task_of_an_interrupted_cell_is_cancelled(talk: Talk) -> None:
    talk.run("import asyncio")
    code = "try:\n    {}    await asyncio.sleep(1000)\nfinally:\n    print('cancelled')"
    talk.start(code.format(READY))
    talk.finish(until=lambda answered: "ready" in answered.stdout)
    talk.send(wire.Interrupt())
    answered = talk.finish()
    assert answered.error == "KeyboardInterrupt"
    assert answered.stdout == "cancelled\n"
    assert talk.run("len(asyncio.all_tasks(asyncio.get_event_loop()))").value == "0"


def test_interrupt_reaches_only_processes_of_the_cell(talk: Talk) -> None:
    talk.run("import subprocess\nold = subprocess.Popen(['sleep', '1000'])")
    time.sleep(0.02)  # the kernel measures the start of a process in hundredths of a second
    shell = "trap 'echo reached; exit' INT; echo ready; while :; do sleep 0.1; done"
    start = f"new = subprocess.Popen(['sh', '-c', {shell!r}])"
    talk.start(f"{start}\nprint('assigned', flush=True)\nnew.wait()")
    talk.finish(until=lambda got: "ready" in got.stdout and "assigned" in got.stdout)
    talk.send(wire.Interrupt())
    answered = talk.finish()
    assert answered.error == "KeyboardInterrupt"
    # Do not check the status of the child: Python loses it if the interrupt arrives at that moment.
    assert "reached" in answered.stdout + talk.run("new.wait(60)").stdout
    assert talk.run("old.poll()").value is None


CHILDREN = {
    "child": "subprocess.Popen(['sleep', '1000'])",
    "ignores": "subprocess.Popen(['sh', '-c', 'trap \"\" INT TERM; sleep 1000; sleep 1000'])",
    "session": "subprocess.Popen(['sleep', '1000'], start_new_session=True)",
    "daemon": "subprocess.Popen(['sh', '-c', 'setsid sleep 1000 &'], start_new_session=True)",
    "fork": "os.fork() or time.sleep(1000)",
    "comet": "subprocess.Popen([sys.executable, '-c', comet])",
}


# A process that never lives long: it creates another one, and exits.
COMET = """comet = '''
import os
while True:
    if os.fork():
        os._exit(0)
'''"""


@pytest.mark.parametrize("code", CHILDREN.values(), ids=CHILDREN)
def test_kill_started_kills_what_the_cell_has_started(talk: Talk, code: str) -> None:
    talk.run("import os, subprocess, sys, time")
    talk.run(COMET)
    old = talk.run("old = subprocess.Popen(['sleep', '1000'])\nold.pid").value
    worker = talk.run("os.getpid()").value
    keeper = talk.run("os.getppid()").value
    assert old
    assert worker
    assert keeper
    time.sleep(0.02)  # the kernel measures the start of a process in hundredths of a second
    talk.start(f"{code}\ntime.sleep(0.1)\n{READY}time.sleep(1000)")
    talk.finish(until=lambda answered: "ready" in answered.stdout)
    talk.send(wire.KillStarted(), wire.Interrupt())
    assert talk.finish().error == "KeyboardInterrupt"
    wait_for(lambda: children_of(int(keeper)) <= {int(worker), int(old)})
    assert is_alive(int(old))
    assert talk.run("old.poll()").value is None


KILLS_A_PROCESS_OF_ITS_OWN_GROUP = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from interpreter.processes import kill_all, kill_started

def child(prepare):
    ready, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        prepare()
        os.write(write, b"x")
        time.sleep(1000)
    os.read(ready, 1)
    return pid

worker, started = child(os.setsid), child(int)
kill_started(os.getpid(), worker, 0)
print(os.waitpid(started, 0)[1])
started = child(int)
kill_all(os.getpid(), worker)
print(os.waitpid(started, 0)[1])
"""


def test_keeper_never_stops_its_own_group(python: str) -> None:
    command = [python, "-c", KILLS_A_PROCESS_OF_ITS_OWN_GROUP, str(GUEST)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("9\n9\n", "")


@pytest.mark.thorough
@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(1000)"])
def test_kill_ends_a_worker_that_ignores_interrupts(talk: Talk, code: str) -> None:
    ignore = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    talk.start(f"import subprocess\nsubprocess.Popen(['sleep', '1000'])\n{ignore}{READY}{code}")
    talk.finish(until=lambda answered: "ready" in answered.stdout)
    talk.send(wire.Interrupt(), wire.KillStarted())
    time.sleep(0.1)
    talk.send(wire.Kill())
    assert talk.finish().death == (Death.KILLED, 9)
    with pytest.raises(EOFError):
        talk.receive()


def test_handler_of_a_cell_lasts_until_its_end(shared: Talk) -> None:
    assert shared.run("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN) and 1").value
    assert interrupted(shared, "while True: pass") == "KeyboardInterrupt"


def test_kill_between_cells_has_no_effect(talk: Talk) -> None:
    for _ in range(3):
        talk.send(wire.Kill())
        assert talk.run("1").value == "1"


def test_blocked_signal_and_descriptors_are_restored(shared: Talk) -> None:
    shared.run("import os, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])")
    assert interrupted(shared, "while True: pass") == "KeyboardInterrupt"
    shared.run("for fd in (1, 2, 255): os.set_blocking(fd, False)")
    assert len(shared.run("print('x' * 10_000_000)").stdout) == 10_000_001


def test_nothing_is_left_after_a_death(talk: Talk) -> None:
    pids = talk.run(
        "import os, subprocess\n"
        "a = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        "b = subprocess.Popen(['sh', '-c', 'trap \"\" TERM; sleep 1000'])\n"
        "print(a.pid, b.pid)"
    ).stdout.split()
    assert talk.run("os._exit(3)").death == (Death.EXITED, 3)
    wait_for(lambda: not any(is_alive(int(pid)) for pid in pids))
