"""Tests of hostile cells: each ends in a result or in a death, and the keeper survives."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest

from microvm.wire import interpreter as wire
from microvm.wire.interpreter import Death

from .talk import Talk, wait_for

CONTROL = 255
BROKEN = Death.BROKEN, 9

SURVIVED = {
    "stdout": "import io, sys; sys.stdout = io.StringIO(); print(1)",
    "no stdout": "import sys; sys.stdout = sys.stderr = None",
    "bad flush": "import sys\nclass Bad:\n    def flush(self): 1/0\nsys.stdout = Bad()",
    "closed stdout": "import sys; sys.stdout.close(); sys.stderr.close()",
    "closed descriptors": "import os; [os.close(fd) for fd in (0, 1, 2)]",
    "trace": "import sys\ndef t(*_): raise ValueError\nsys.settrace(t)",
    "profile": "import sys\ndef t(*_): raise ValueError\nsys.setprofile(t)",
    "no input": "import builtins; builtins.input = None; del builtins.display",
    "no names": "globals().clear()",
    "alarm": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n"
    "signal.signal(signal.SIGALRM, lambda *_: None)",
    "threads": "import threading\ndef f(): [print('x') for _ in range(10**4)]\n"
    "for _ in range(3): threading.Thread(target=f).start()",
    "bad traceback": "import traceback; traceback.TracebackException = None\n1/0",
    "linecache": "import linecache; linecache.cache = None\n1/0",
    "loop": "import asyncio\nawait asyncio.sleep(0)\nasyncio.get_running_loop().stop()",
    "atexit": "import atexit; atexit._run_exitfuncs()",
}


@pytest.mark.parametrize("code", SURVIVED.values(), ids=SURVIVED)
def test_interpreter_survives(talk: Talk, code: str) -> None:
    assert isinstance(talk.run(code).last, wire.Result)
    assert talk.run("x = 20 + 1\nx").value == "21"


REFUSED = {
    "bad repr": "class Bad:\n    def __repr__(self): return 1\nBad()",
    "exit in repr": "class Bad:\n    def __repr__(self): raise SystemExit(3)\nBad()",
    "repr of a subclass": "class S(str):\n    def encode(self, *_): return 1\n"
    "class Bad:\n    def __repr__(self): return S('x')\nBad()",
    "message of a subclass": "class S(str):\n    def encode(self, *_): return 1\n"
    "class Bad(Exception):\n    def __str__(self): return S('x')\nraise Bad()",
    "bad message": "class Bad(Exception):\n    def __str__(self): raise SystemExit\nraise Bad()",
    "bad class": "class M(type):\n    def __getattribute__(c, n): raise MemoryError(n)\n"
    "class Bad(Exception, metaclass=M): pass\nraise Bad()",
    "bad module": "class Bad(Exception): __module__ = b'x'\nraise Bad()",
    "bad cause": "e = ValueError()\ne.__cause__ = e\nraise e",
    "base exception": "class Bad(BaseException): pass\nraise Bad()",
    "generator exit": "raise GeneratorExit",
    "falsy error": "class Bad(Exception):\n    def __len__(self): return 0\nraise Bad()",
    "no truth": "class Bad(Exception):\n    def __bool__(self): raise ValueError\nraise Bad()",
    "keyboard": "raise KeyboardInterrupt",
    "signals": "import os\nfor _ in range(1000): os.kill(os.getpid(), 2)",
    "null byte": "x = 1\0",
    "deep code": "(" * 100_000,
    "long line": "x = [" + "1," * 100_000 + "]",
    "surrogate": "raise ValueError('\\ud800')",
    "group": "raise BaseExceptionGroup('a', [ValueError(1), KeyError(2)])",
}


@pytest.mark.parametrize("code", REFUSED.values(), ids=REFUSED)
def test_hostile_value_or_error_is_shown(shared: Talk, code: str) -> None:
    assert isinstance(shared.run(code).last, wire.Result)
    assert shared.run("x = 20 + 1\nx").value == "21"


def test_closed_event_loop_is_replaced(talk: Talk) -> None:
    talk.run("import asyncio\nawait asyncio.sleep(0)\nloop = asyncio.get_running_loop()")
    assert talk.run("loop.close()\nloop.is_closed()").value == "True"
    assert talk.run("await asyncio.sleep(0, 5)").value == "5"


LETHAL = {
    "exit": ("import os; os._exit(7)", (Death.EXITED, 7)),
    "signal": ("import os; os.kill(os.getpid(), 15)", (Death.SIGNALLED, 15)),
    "kill": ("import os; os.kill(os.getpid(), 9)", (Death.SIGNALLED, 9)),
    "fault": ("import ctypes; ctypes.string_at(0)", (Death.SIGNALLED, 11)),
    "abort": ("import os; os.abort()", (Death.SIGNALLED, 6)),
    "exec": ("import os; os.execvp('sleep', ['sleep', '1000'])", BROKEN),
    "stop and exit": ("import os; os.closerange(0, 300); os._exit(3)", (Death.EXITED, 3)),
}


@pytest.mark.thorough
@pytest.mark.parametrize(("code", "death"), LETHAL.values(), ids=LETHAL)
def test_worker_dies(talk: Talk, code: str, death: tuple[Death, int]) -> None:
    assert talk.run(code).death == death


def sent(frame: bytes) -> str:
    """Return a cell that sends a packet to the keeper, and then waits."""
    return f"import os, time\nos.write({CONTROL}, {frame!r})\ntime.sleep(1000)"


LIES = {
    "closed socket": f"import os, time\nos.close({CONTROL})\ntime.sleep(1000)",
    "closed everything": "import os, time\nos.closerange(0, 300)\ntime.sleep(1000)",
    "empty": f"import socket, time\nsocket.socket(fileno={CONTROL}).send(b'')\ntime.sleep(1000)",
    "short": sent(b"x"),
    "noise": sent(bytes(range(256))),
    "of the host": sent(wire.Kill().encode()),
    "ready": sent(wire.Ready(wire.DIGEST).encode()),
    "died": sent(wire.Died(Death.EXITED, 0).encode()),
    "output": sent(wire.Output(wire.Stream.STDOUT, b"x").encode()),
    "answer to another request": sent(wire.Done().encode()),
    "two frames": sent(wire.Ask(1, False, "").encode() * 2),
    "a gap in a result": sent(wire.Value(5, b"x").encode()),
    "no UTF-8": sent(wire.Ask(1, False, "x").encode()[:-1] + b"\xff"),
    "bad MIME type": sent(
        wire.Display(True, False, "a/b", 0, b"").encode().replace(b"a/b", b"a\0b")
    ),
    "gap": sent(wire.Result(wire.CellEnding.COMPLETED, 0, True, "", "", "", 70_000, b"x").encode()),
    "huge": f"import os, time\nos.write({CONTROL}, b'x' * 100_000)\ntime.sleep(1000)",
}


@pytest.mark.thorough
@pytest.mark.parametrize("code", LIES.values(), ids=LIES)
def test_worker_that_breaks_the_protocol_is_killed(talk: Talk, code: str) -> None:
    assert talk.run(code).death == BROKEN


def test_second_result_is_refused(talk: Talk) -> None:
    frame = wire.Result(wire.CellEnding.COMPLETED, 0, True, "", "", "", 0, b"lie").encode()
    assert talk.run(f"import os\nos.write({CONTROL}, {frame!r})").value == "lie"
    assert isinstance(talk.receive(), wire.Died)


def test_worker_that_does_not_read_is_killed(path: Path) -> None:
    with Talk(path) as talk:
        lie = wire.Result(wire.CellEnding.COMPLETED, 0, True, "", "", "", 0, b"lie").encode()
        talk.run(f"import os, time\nos.write({CONTROL}, {lie!r})\ntime.sleep(1000)")
        with suppress(OSError):
            for at in range(80):
                talk.send(wire.Piece(at * 65520, bytes(65520)))
        assert talk.finish().death == BROKEN


@pytest.mark.thorough
def test_flood_of_output_does_not_fill_the_keeper(path: Path) -> None:
    with Talk(path) as talk:
        keeper = talk.run("import os\nos.getppid()").value
        talk.start(
            "data = b'x' * 65536\n"
            "import os\n"
            "for _ in range(1 << 11): os.write(1, data)\n"
            "for _ in range(100): display('y' * 1_000_000)\n"
            "8"
        )
        total = 0
        while not isinstance(message := talk.receive(), wire.Result):
            assert isinstance(message, wire.Output | wire.Piece | wire.Display)
            total += len(message.data)
            if message.data:
                talk.send(wire.Credit(len(message.data)))
        assert total == (1 << 27) + 100_000_000
        status = Path(f"/proc/{keeper}/status").read_text()
        (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        assert int(peak) < 64 << 10


def test_flood_of_signals_does_not_stop_the_interpreter(talk: Talk) -> None:
    talk.run("import os, subprocess, sys\npid = os.getpid()")
    talk.run("code = f'import os\\nwhile os.getppid() == {pid}: os.kill({pid}, 2)'")
    talk.run("child = subprocess.Popen([sys.executable, '-c', code])")
    for _ in range(30):
        answered = talk.run("sum(range(10_000))")
        if not isinstance(answered.last, wire.Result):
            assert answered.death == (Death.EXITED, 1)
            return
        assert answered.result.has_value or answered.error == "KeyboardInterrupt"


def test_thread_that_prints_for_ever(talk: Talk) -> None:
    talk.run("import threading\ndef flood():\n    while True: print('x' * 100)\n")
    talk.run("threading.Thread(target=flood, daemon=True).start()")
    for n in range(20):
        answered = talk.run(f"{n} + 1")
        assert answered.value == str(n + 1)
    started = time.monotonic()
    assert talk.kill() == (Death.KILLED, 9)
    assert time.monotonic() - started < 20


def test_handler_that_raises_between_cells(talk: Talk, tmp_path: Path) -> None:
    called = tmp_path / "called"
    answered = talk.run(
        "import signal\n"
        "def late(*_):\n"
        f"    open({str(called)!r}, 'w').close()\n"
        "    raise TimeoutError('late')\n"
        "signal.signal(signal.SIGALRM, late)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
        "x = 1"
    )
    assert answered.result.ending is wire.CellEnding.COMPLETED
    wait_for(called.exists)
    answered = talk.run("x")
    assert answered.value == "1"
    assert answered.stderr.endswith("TimeoutError: late\n")


def test_handler_that_raises_at_any_time(talk: Talk) -> None:
    talk.run("import signal\ndef late(*_): raise TimeoutError('late')")
    talk.run("signal.signal(signal.SIGALRM, late)")
    answered = talk.run("signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0007)")
    for _ in range(100):
        if not isinstance(answered.last, wire.Result):
            assert answered.death in ((Death.EXITED, 1), BROKEN)
            return
        assert answered.result.has_value or answered.error == "TimeoutError"
        answered = talk.run("1")


def test_child_that_a_cell_forks_does_not_describe_its_error(talk: Talk) -> None:
    answered = talk.run(
        "import os\n"
        "class Slow(Exception):\n"
        "    def __str__(self): return os.write(1, b'described') and ''\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    print('flushed', end='')\n"
        "    raise Slow\n"
        "os.waitpid(pid, 0)[1]"
    )
    assert (answered.value, answered.stdout) == ("0", "flushed")
