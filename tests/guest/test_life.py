"""Tests that the daemon stays alive, answers, and exits when it should."""

from __future__ import annotations

import resource
import signal
import socket
from pathlib import Path

import pytest
from tests.support.daemon import Daemon, both_builds, hello
from tests.support.polling import eventually
from tests.support.processes import children, is_alive, memory, open_files

from microvm.wire import codec
from microvm.wire.codec import GoodbyeReason


def test_a_ping_is_answered_under_a_flood_of_output(sandboxd: Daemon) -> None:
    sandboxd.sh("yes & yes >&2")
    sandboxd.read(1 << 20)
    for _ in range(20):
        flood = sandboxd.sync()
        assert sum(len(m.data) for m in flood if isinstance(m, codec.ExecOutput)) < 4 << 20


def test_a_flood_of_pings_is_answered(sandboxd: Daemon) -> None:
    tokens = range(5000)
    sandboxd.send(*(codec.Ping(token) for token in tokens))
    sandboxd.expect(*(codec.Pong(token) for token in tokens))


@pytest.mark.thorough
def test_a_flood_of_pings_is_answered_beside_a_flood_of_output(sandboxd: Daemon) -> None:
    sandboxd.sh("yes & yes >&2")
    sandboxd.read(1)
    sandboxd.send(*(codec.Ping(token) for token in range(5000)))
    for token in range(5000):
        _, pong = sandboxd.receive_until(codec.Pong)
        assert pong.token == token


def test_host_that_never_reads_takes_no_processor_time(sandboxd: Daemon) -> None:
    id_ = sandboxd.sh("yes & yes >&2; wait")
    assert sandboxd.read(1)
    sandboxd.comes_to_rest()
    sandboxd.kill(id_)


@pytest.mark.thorough
def test_host_that_pings_and_never_reads_takes_no_time(sandboxd: Daemon) -> None:
    count = sandboxd.fill(codec.Ping(7).encode())
    sandboxd.expect(*[codec.Pong(7)] * count)
    assert sandboxd.sync() == []


@pytest.mark.thorough
@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.long)])
def test_thousands_of_orphans_are_reaped(sandboxd: Daemon, count: int) -> None:
    script = f"i=0; while [ $i -lt {count} ]; do (:&); i=$((i+1)); done"
    assert sandboxd.run_sh(script).exit_code == 0
    eventually(lambda: not children(sandboxd.pid))


def test_orphans_are_reaped_while_a_command_runs(sandboxd: Daemon) -> None:
    id_ = sandboxd.sh("i=0; while [ $i -lt 100 ]; do (:&); i=$((i+1)); done; echo; sleep 1000")
    sandboxd.read_line()
    eventually(lambda: len(children(sandboxd.pid)) == 1)  # the last orphans may still run
    sandboxd.send(codec.ExecKill(id_))


@pytest.mark.thorough
@both_builds
@pytest.mark.parametrize("count", [2000, pytest.param(50_000, marks=pytest.mark.long)])
def test_thousands_of_commands_leak_nothing(sandboxd: Daemon, binary: Path, count: int) -> None:
    def some(count: int) -> None:
        for number in range(count):
            command = b"nonexistent" if number % 10 == 0 else b"/bin/true"
            sandboxd.run(command)

    some(100)
    assert sandboxd.sync() == []
    fds, before = open_files(sandboxd.pid), memory(sandboxd.pid)
    some(count)
    assert sandboxd.sync() == []
    eventually(lambda: open_files(sandboxd.pid) == fds)
    # When a child cannot execute its program, it closes its pipe, and the daemon answers
    # before the child is a zombie. On a busy host, the child may be preempted in between.
    eventually(lambda: not children(sandboxd.pid))
    if "sanitized" not in str(binary):  # the memory of the sanitizers grows
        assert memory(sandboxd.pid) <= before + 64


def test_counters_count_frames_bytes_and_commands(daemon_process: Daemon) -> None:
    daemon = daemon_process
    daemon.send(b"four")
    daemon.hello()  # 1 seen
    first = daemon.status()  # 2
    assert (first.frames_seen, first.frames_refused, first.execs) == (2, 0, 0)
    assert first.bytes_dropped == 4
    daemon.run(b"true")  # 3
    daemon.run(b"nonexistent")  # 4
    daemon.send(codec.ExecKill(9), codec.Ping(1))  # 5, which is refused, and 6
    daemon.receive_until(codec.Pong)
    daemon.send(b"x" * 20)  # refused, and dropped
    assert isinstance(daemon.receive(), codec.Error)
    daemon.hello(2)  # 7
    last = daemon.status()  # 8
    assert (last.frames_seen, last.frames_refused, last.execs) == (8, 2, 1)
    assert last.bytes_dropped == 24
    assert last.started_ns <= last.opened_ns <= first.now_ns < last.now_ns
    assert last.started_ns == first.started_ns


def test_status_equals_the_values_of_the_kernel(sandboxd: Daemon) -> None:
    sandboxd.hello()
    idle = sandboxd.status()
    assert idle.descriptors == len(open_files(sandboxd.pid))
    assert idle.zombies == 0
    sandboxd.sleeper()
    assert sandboxd.status().descriptors == len(open_files(sandboxd.pid)) > idle.descriptors
    sandboxd.hello(2)
    last = sandboxd.status()
    assert (last.descriptors, last.zombies) == (idle.descriptors, 0)
    assert abs(last.memory // 1024 - memory(sandboxd.pid)) <= 64  # the clock has advanced


def test_the_status_counts_below_a_low_limit_of_open_files(sandboxd: Daemon) -> None:
    _, hard = resource.prlimit(sandboxd.pid, resource.RLIMIT_NOFILE)
    for limit in (63, 16, 8):
        resource.prlimit(sandboxd.pid, resource.RLIMIT_NOFILE, (limit, hard))
        assert sandboxd.status().descriptors == len(open_files(sandboxd.pid))


def test_only_frames_before_a_shutdown_are_answered(sandboxd: Daemon) -> None:
    sandboxd.send(codec.Ping(1), codec.Shutdown(), codec.Ping(2))
    sandboxd.expect(codec.Pong(1), codec.Goodbye(GoodbyeReason.SHUTDOWN))
    sandboxd.wait()


def test_shutdown_kills_the_running_command(sandboxd: Daemon) -> None:
    pid = sandboxd.sleeper()
    sandboxd.send(codec.Shutdown())
    sandboxd.expect(codec.Goodbye(GoodbyeReason.SHUTDOWN))
    assert sandboxd.wait() == 0
    eventually(lambda: not is_alive(pid))


def test_shutdown_does_not_wait_for_an_unread_port(sandboxd: Daemon) -> None:
    sandboxd.sh("yes")
    sandboxd.comes_to_rest()
    sandboxd.send(codec.Shutdown())
    assert sandboxd.wait() == 0


def test_closing_the_port_kills_the_running_command(sandboxd: Daemon) -> None:
    pid = sandboxd.sleeper()
    sandboxd.stream.close()
    assert sandboxd.wait() == 0
    eventually(lambda: not is_alive(pid))


def test_frames_before_the_end_of_the_stream_are_answered(sandboxd: Daemon) -> None:
    sandboxd.process.send_signal(signal.SIGSTOP)
    sandboxd.send(hello(7), codec.Ping(8))
    sandboxd.stream.shutdown(socket.SHUT_WR)
    sandboxd.process.send_signal(signal.SIGCONT)
    sandboxd.receive_until(codec.Ready)
    sandboxd.expect(codec.Pong(8), codec.Goodbye(GoodbyeReason.BROKEN))


def test_daemon_ends_on_sigterm(sandboxd: Daemon) -> None:
    sandboxd.process.send_signal(signal.SIGTERM)
    assert sandboxd.wait() == -signal.SIGTERM


def test_daemon_ignores_other_signals(sandboxd: Daemon) -> None:
    for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGALRM):
        sandboxd.process.send_signal(number)
    assert sandboxd.sync() == []
