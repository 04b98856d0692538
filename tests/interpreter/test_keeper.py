"""Tests of the keeper: its clients, the credit, and messages of a host that are wrong."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import pytest

from microvm.wire import interpreter as wire
from microvm.wire.interpreter import Death

from .talk import Talk, is_alive, running, wait_for


def test_state_survives_a_connection(path: Path) -> None:
    with Talk(path) as talk:
        talk.run("x = 1")
    with Talk(path) as talk:
        assert talk.run("x").value == "1"
        with pytest.raises(TimeoutError):
            _connect(path, 0.2)
    with Talk(path) as talk:
        assert talk.run("x").value == "1"


def _connect(path: Path, seconds: float) -> None:
    """Connect as a second client, and wait for a message."""
    with socket.socket(socket.AF_UNIX) as second:
        second.settimeout(seconds)
        second.connect(str(path))
        second.recv(1)


def test_request_of_a_closed_connection_is_ended(path: Path) -> None:
    with Talk(path) as talk:
        talk.run("import subprocess\nx = []")
        talk.start(
            "child = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
            "try:\n    print('ready')\n    while True: print('x' * 1000)\n"
            "finally: x.append(1)"
        )
        talk.finish(until=lambda answered: "ready" in answered.stdout)
    with Talk(path) as talk:
        assert talk.run("x").value == "[1]"
        assert talk.run("child.wait(60)").value == "-9"


def test_output_between_cells_waits_for_the_next_cell(path: Path, tmp_path: Path) -> None:
    begin, printed = tmp_path / "begin", tmp_path / "printed"
    with Talk(path) as talk:
        talk.run(
            "import os, threading, time\n"
            "def late():\n"
            f"    while not os.path.exists({str(begin)!r}): time.sleep(0.01)\n"
            "    print('late')\n"
            f"    open({str(printed)!r}, 'w').close()\n"
            "thread = threading.Thread(target=late)\nthread.start()\nx = 1"
        )
        begin.touch()
        wait_for(printed.exists)
        assert talk.ask(wire.Fetch("x")).stdout == ""
    with Talk(path) as talk:
        answered = talk.ask(wire.Fetch("x"))
        assert (answered.text, answered.stdout) == ("1", "")
        assert talk.run("thread.join()").stdout == "late\n"


@pytest.mark.thorough
@pytest.mark.parametrize("code", ["print('x' * 100_000)", "display('x' * 100_000)"])
def test_nothing_is_sent_without_credit(path: Path, code: str) -> None:
    with Talk(path, window=0) as talk:
        talk.start(code)
        talk.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            talk.receive()
        talk.socket.settimeout(60)
        total = granted = 0
        while total < 100_000:
            talk.send(wire.Credit(70_000))
            granted += 70_000
            message = talk.receive()
            assert isinstance(message, wire.Output | wire.Piece | wire.Display)
            total += len(message.data)
            assert total <= granted
        talk.send(wire.Credit(10))
        talk.finish()


WRONG = {
    "of the guest": wire.Ready(1).encode(),
    "unknown": bytes.fromhex("00000000ff7f000000000000"),
    "flags": bytes.fromhex("000000001000010000000000"),
    "id": bytes.fromhex("000000001000000001000000"),
    "too long": bytes.fromhex("ffffffff0400000000000000"),
    "short body": bytes.fromhex("010000000200000000000000ff"),
    "long body": bytes.fromhex("050000000200000000000000ffffffffff"),
    "no UTF-8": bytes.fromhex("050000000b0000000000000001000000ff"),
    "run twice": wire.Run(0, b"input()").encode() * 2,
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_wrong_message_closes_the_connection(path: Path, data: bytes) -> None:
    with Talk(path) as talk:
        talk.run("x = 1")
        talk.socket.sendall(data)
        with pytest.raises((EOFError, ConnectionResetError)):
            talk.finish()
    with Talk(path) as talk:
        assert talk.run("x").value == "1"


def test_frames_that_arrive_in_small_parts(talk: Talk) -> None:
    data = wire.Piece(0, b"x = 5\n").encode() + wire.Run(6, b"x").encode()
    for at in range(len(data)):
        talk.socket.sendall(data[at : at + 1])
        time.sleep(0.001)
    assert talk.finish().value == "5"


def test_client_that_a_cell_has_started_is_refused(path: Path) -> None:
    with Talk(path) as talk:
        talk.run(
            "import os, socket, subprocess, sys, time\n"
            "code = '''import socket, sys, time\n"
            "s = socket.socket(socket.AF_UNIX)\n"
            "s.connect(sys.argv[1])\n"
            "print(repr(s.recv(100)), flush=True)'''\n"
            f"command = [sys.executable, '-c', code, {str(path)!r}]\n"
            "child = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE)"
        )
        pid = talk.run("child.pid").value
    assert pid
    wait_for(lambda: not is_alive(int(pid)))
    with Talk(path) as talk:
        assert talk.run("child.wait(60), child.stdout.read()").value == "(0, b\"b''\\n\")"


def test_client_that_has_exited_is_refused(path: Path, tmp_path: Path) -> None:
    received = tmp_path / "received"
    code = f"""
import os, socket
if os.fork() == 0:
    os.setsid()
    s = socket.socket(socket.AF_UNIX)
    s.connect({str(path)!r})
    if os.fork() == 0:
        open({str(received)!r}, "wb").write(s.recv(100) + b".")
    os._exit(0)
os.wait()[1]
"""
    with Talk(path) as talk:
        assert talk.run(code).value == "0"
    with Talk(path) as talk:
        assert talk.run("1").value == "1"
    wait_for(lambda: received.exists() and received.stat().st_size > 0)
    assert received.read_bytes() == b"."


def test_death_between_connections_is_told(path: Path, tmp_path: Path) -> None:
    begin = tmp_path / "begin"
    with Talk(path) as talk:
        pid = talk.run(
            "import os, threading, time\n"
            "def die():\n"
            f"    while not os.path.exists({str(begin)!r}): time.sleep(0.01)\n"
            "    os._exit(5)\n"
            "threading.Thread(target=die).start()\n"
            "os.getpid()"
        ).value
    begin.touch()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    with Talk(path) as talk:
        assert talk.first == wire.Died(Death.EXITED, 5)
    wait_for(lambda: not path.exists())


def test_memory_is_the_cause_only_in_the_cell_that_exhausts_it(
    program: Path, python: str, tmp_path: Path
) -> None:
    table = tmp_path / "vmstat"
    table.write_text("nr_free_pages 1\noom_kill 5\ndrop_slab 0\n")
    source = program.read_text()
    assert "/proc/vmstat" in source
    other = tmp_path / "interpreter.py"
    other.write_text(source.replace("/proc/vmstat", str(table)))
    exhaust = f"open({str(table)!r}, 'w').write('nr_free_pages 1\\noom_kill %d\\n')\n"
    die = "import os; os.kill(os.getpid(), 9)"
    with running(other, python, tmp_path) as path, Talk(path) as talk:
        assert talk.run(exhaust % 6 + "1").value == "1"
        assert talk.run(die).death == (Death.SIGNALLED, 9)
    with running(other, python, tmp_path) as path, Talk(path) as talk:
        assert talk.run(exhaust % 7 + die).death == (Death.OUT_OF_MEMORY, 9)


def test_output_before_a_death_is_sent(path: Path) -> None:
    with Talk(path, window=1000) as talk:
        talk.start("import os\nos.write(1, b'x' * 50_000)\nos.kill(os.getpid(), 11)")
        answered = talk.finish()
        assert answered.death == (Death.SIGNALLED, 11)
        assert answered.stdout == "x" * 50_000


def test_program_in_the_foreground_serves_one_host(
    program: Path, python: str, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    with subprocess.Popen([python, program, path, "--stay"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        assert path.stat().st_mode & 0o777 == 0o600
        with Talk(path) as talk:
            assert not path.exists()
            talk.run("import subprocess\nchild = subprocess.Popen(['sleep', '1000'])")
            pid = talk.run("child.pid").value
            assert pid
            talk.start("while True: pass")
        assert process.wait(60) == 0
    wait_for(lambda: not is_alive(int(pid)))


def test_program_detaches_and_listens(program: Path, python: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.touch()  # an earlier program may have left its socket
    started = time.monotonic()
    done = subprocess.run([python, program, path], capture_output=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert path.stat().st_mode & 0o777 == 0o600
    with Talk(path) as talk:
        assert talk.run("import os\nos.getpgrp() == os.getsid(0) == os.getpid()").value == "True"
        assert talk.run("os.getcwd()").value == repr(str(Path.cwd()))
        assert talk.kill() == (Death.KILLED, 9)
    wait_for(lambda: not path.exists())
    assert time.monotonic() - started < 60
