"""Tests of how commands end."""

from __future__ import annotations

import os
import signal
import socket

import pytest
from tests.support.daemon import PLENTY, Daemon
from tests.support.fifo import Fifo
from tests.support.polling import eventually
from tests.support.processes import children, exists, is_alive

from microvm.wire import codec
from microvm.wire.codec import Ending


def test_every_exit_code(sandboxd: Daemon) -> None:
    for code in range(256):
        assert sandboxd.run_sh(f"exit {code}").exit_code == code


@pytest.mark.parametrize("number", [1, 2, 3, 6, 9, 11, 13, 14, 15, 34, 64])
def test_every_signal(sandboxd: Daemon, number: int) -> None:
    end = sandboxd.run_sh(f"ulimit -c 0; kill -{number} $$").end
    assert end == codec.ExecResponse(1, Ending.SIGNALLED, number)


def test_a_signal_reaches_the_whole_group(sandboxd: Daemon) -> None:
    id_ = sandboxd.sh("sleep 1000 & echo $!; wait")
    pid = int(sandboxd.read_line())
    sandboxd.send(codec.ExecSignal(id_, signal.SIGTERM))
    assert sandboxd.finish(id_).end == codec.ExecResponse(id_, Ending.SIGNALLED, 15)
    eventually(lambda: not is_alive(pid))


def test_terminate_sends_sigterm_and_then_kills_the_rest(sandboxd: Daemon) -> None:
    script = "trap 'echo bye; exit 5' TERM; (trap '' TERM; echo ready; exec sleep 1000) & echo $!"
    id_ = sandboxd.sh(f"{script}; while :; do wait; done")
    (pid,) = (int(line) for line in sandboxd.read_lines(2) if line != b"ready")
    sandboxd.send(codec.ExecTerminate(id_))
    result = sandboxd.finish(id_)
    assert (result.stdout, result.exit_code) == (b"bye\n", 5)
    eventually(lambda: not is_alive(pid))


def test_terminate_after_the_process_exited_sends_no_signal(sandboxd: Daemon, answer: Fifo) -> None:
    id_ = sandboxd.sh(f"echo out; echo >{answer}; exit 3", credit=0)
    answer.wait()
    eventually(lambda: not children(sandboxd.pid))
    sandboxd.send(codec.ExecSignal(id_, signal.SIGKILL), codec.ExecTerminate(id_))
    assert sandboxd.sync() == []
    sandboxd.send(codec.ExecCredit(id_, codec.Stream.STDOUT, 4))
    result = sandboxd.finish(id_)
    assert (result.stdout, result.exit_code) == (b"out\n", 3)


def left_with_output(daemon: Daemon) -> tuple[int, int]:
    """Start a command that exits and leaves a process, and output that waits for credit.

    :return: id of the command, and pid of the remaining process.
    """
    script = "sleep 1000 >/dev/null 2>&1 & echo $$ $! >&2; printf 0123456789"
    id_ = daemon.sh(script, credit=4, stderr_credit=PLENTY)
    said: dict[codec.Stream, bytes] = dict.fromkeys(codec.Stream, b"")
    while len(said[codec.Stream.STDOUT]) < 4 or not said[codec.Stream.STDERR].endswith(b"\n"):
        output = daemon.receive()
        assert isinstance(output, codec.ExecOutput), output
        said[output.stream] += output.data
    own, left = map(int, said[codec.Stream.STDERR].split())
    eventually(lambda: not exists(own))
    assert is_alive(left)
    return id_, left


def test_kill_after_the_exit_ends_the_remaining_processes(sandboxd: Daemon) -> None:
    id_, left = left_with_output(sandboxd)
    sandboxd.send(codec.ExecKill(id_))
    assert sandboxd.finish(id_).end == codec.ExecResponse(id_, Ending.EXITED, 0)
    eventually(lambda: not is_alive(left))


def test_hello_kills_the_rest_of_a_command_that_exited(sandboxd: Daemon) -> None:
    _, left = left_with_output(sandboxd)
    sandboxd.hello(2)
    eventually(lambda: not is_alive(left))


def test_shutdown_kills_the_rest_of_a_command_that_exited(sandboxd: Daemon) -> None:
    _, left = left_with_output(sandboxd)
    sandboxd.send(codec.Shutdown())
    assert sandboxd.wait() == 0
    eventually(lambda: not is_alive(left))


def test_end_of_the_stream_kills_the_remaining_processes(sandboxd: Daemon) -> None:
    _, left = left_with_output(sandboxd)
    sandboxd.stream.shutdown(socket.SHUT_WR)
    sandboxd.expect(codec.Goodbye(codec.GoodbyeReason.BROKEN))
    sandboxd.expect_end()
    assert sandboxd.wait() == 0
    eventually(lambda: not is_alive(left))


def test_signal_does_not_reach_processes_of_older_commands(sandboxd: Daemon) -> None:
    left = int(sandboxd.run_sh("sleep 60 & echo $!").stdout)
    id_ = sandboxd.sh("sleep 1000")
    sandboxd.send(codec.ExecKill(1), codec.ExecKill(id_))
    sandboxd.finish(id_)
    assert exists(left)
    os.kill(left, signal.SIGKILL)
