"""Tests of commands with a terminal."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from tests.support.daemon import Daemon, Result
from tests.support.fifo import Fifo
from tests.support.polling import eventually
from tests.support.processes import exists, is_alive, open_files

from microvm.wire import codec
from microvm.wire.codec import Stream

SIZE = (30, 100)
SILENCE = 0.1
"""Number of seconds that the daemon reads a terminal which another process has open."""


def wait_for(daemon: Daemon, wanted: bytes) -> bytes:
    """Collect output until it contains this text. All of it must be standard output."""
    data = b""
    while wanted not in data:
        message = daemon.receive()
        if isinstance(message, codec.ExecStdinCredit | codec.ExecStdinClosed):
            continue
        assert isinstance(message, codec.ExecOutput), (message, data)
        assert message.stream is Stream.STDOUT
        data += message.data
    return data


def ended(daemon: Daemon, id_: int) -> Result:
    result = daemon.finish(id_)
    assert result.stderr == b""
    return result


def run(daemon: Daemon, script: str) -> bytes:
    result = ended(daemon, daemon.sh(script, size=SIZE))
    assert result.exit_code == 0
    return result.stdout


class TestTheTerminal:
    """Tests of the terminal that a command has."""

    def test_all_three_streams_are_one(self, sandboxd: Daemon) -> None:
        script = "for fd in 0 1 2; do test -t $fd || exit 1; done; readlink /proc/$$/fd/[012]"
        names = run(sandboxd, script).split()
        assert len(names) == 3
        assert set(names) == {names[0]}
        assert re.fullmatch(rb"/dev/pts/\d+", names[0])

    def test_name_of_the_terminal_can_be_found_and_opened(self, sandboxd: Daemon) -> None:
        assert run(sandboxd, "echo by name >$(tty); echo controlling >/dev/tty") == (
            b"by name\r\ncontrolling\r\n"
        )

    @pytest.mark.parametrize("size", [(1, 1), (24, 80), (65535, 65535), (5, 0)])
    def test_terminal_has_the_size_of_the_request(
        self, sandboxd: Daemon, size: tuple[int, int]
    ) -> None:
        id_ = sandboxd.start(b"stty", b"size", size=size)
        assert ended(sandboxd, id_).stdout == b"%d %d\r\n" % size

    def test_only_the_credit_of_standard_output_counts(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.sh("echo out; echo err >&2", size=SIZE, stderr_credit=0)
        assert ended(sandboxd, id_).stdout == b"out\r\nerr\r\n"

    def test_command_leads_its_session_in_the_foreground(self, sandboxd: Daemon) -> None:
        stat = run(sandboxd, "cat /proc/$$/stat").rpartition(b")")[2].split()
        group, session, terminal, foreground = map(int, stat[2:6])
        assert group == session == foreground
        assert terminal != 0

    def test_command_without_terminal_has_no_controlling_one(self, sandboxd: Daemon) -> None:
        script = "cat /proc/$$/stat; (: </dev/tty) 2>/dev/null || echo none"
        assert sandboxd.run_sh(script).stdout.endswith(b"none\n")

    def test_command_has_only_three_descriptors(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.start(b"ls", b"/proc/self/fd", size=(5, 1))
        # The fourth descriptor is the folder that ls reads.
        assert ended(sandboxd, id_).stdout.split() == [b"0", b"1", b"2", b"3"]

    def test_descriptors_and_terminals_are_given_back(self, sandboxd: Daemon) -> None:
        before, terminals = len(open_files(sandboxd.pid)), len(list(Path("/dev/pts").iterdir()))
        for number in range(40):
            sandboxd.run(b"true" if number % 2 else b"nonexistent", size=SIZE)
        eventually(lambda: len(open_files(sandboxd.pid)) <= before)
        assert len(list(Path("/dev/pts").iterdir())) < terminals + 20


class TestResizing:
    def test_resize_sends_sigwinch(self, sandboxd: Daemon) -> None:
        script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done"
        id_ = sandboxd.sh(script, size=SIZE)
        wait_for(sandboxd, b"ready")
        sandboxd.send(codec.ExecResize(id_, 50, 132))
        assert ended(sandboxd, id_).stdout.strip() == b"50 132"

    def test_resize_to_the_same_size_sends_no_signal(self, sandboxd: Daemon, fifo: Fifo) -> None:
        script = f"trap 'echo signal' WINCH; echo ready; read x <{fifo}; echo end"
        id_ = sandboxd.sh(script, size=SIZE)
        wait_for(sandboxd, b"ready\r\n")
        sandboxd.send(codec.ExecResize(id_, *SIZE))
        assert sandboxd.sync() == []
        fifo.release()
        assert ended(sandboxd, id_).stdout.split() == [b"end"]


class TestTyping:
    def test_input_is_echoed_and_read_by_lines(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.sh("read x; echo got $x", size=SIZE)
        sandboxd.wait_credit()
        sandboxd.feed(id_, b"typed\r")
        assert ended(sandboxd, id_).stdout == b"typed\r\ngot typed\r\n"

    def test_control_c_interrupts_the_foreground(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.sh(
            "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done", size=SIZE
        )
        wait_for(sandboxd, b"ready")
        sandboxd.feed(id_, b"\x03")
        result = ended(sandboxd, id_)
        assert result.exit_code == 3
        assert b"caught" in result.stdout

    def test_control_c_interrupts_the_job_and_not_the_shell(self, sandboxd: Daemon) -> None:
        env = [b"PS1=prompt:", b"HOME=/nonexistent"]
        id_ = sandboxd.start(b"sh", b"-i", size=SIZE, env=env)
        wait_for(sandboxd, b"prompt:")
        sandboxd.feed(id_, b"sh -c 'echo $((1+1))running; exec sleep 1000'\n")
        wait_for(sandboxd, b"2running")
        sandboxd.feed(id_, b"\x03")
        wait_for(sandboxd, b"prompt:")
        sandboxd.feed(id_, b"echo status $?; exit 7\n")
        result = ended(sandboxd, id_)
        assert b"status 130" in result.stdout
        assert result.exit_code == 7

    def test_jobs_can_be_stopped_and_continued(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.start(b"bash", b"--norc", b"-i", size=SIZE, env=[b"PS1=prompt:"])
        wait_for(sandboxd, b"prompt:")
        sandboxd.feed(id_, b"sh -c 'echo $((1+1))running; read x; echo $x$x'\n")
        wait_for(sandboxd, b"2running")
        sandboxd.feed(id_, b"\x1a")
        wait_for(sandboxd, b"prompt:")
        sandboxd.feed(id_, b"fg\n")
        wait_for(sandboxd, b"read x; echo $x$x'")  # bash prints the job when it has the terminal
        sandboxd.feed(id_, b"again\n")
        wait_for(sandboxd, b"againagain")
        sandboxd.feed(id_, b"exit 0\n")
        assert ended(sandboxd, id_).exit_code == 0

    def test_raw_bytes_pass_both_ways(self, sandboxd: Daemon) -> None:
        data = bytes(range(256)) * 200
        id_ = sandboxd.sh(f"stty raw -echo; echo ready; head -c {len(data)}", size=SIZE)
        wait_for(sandboxd, b"ready\n")
        sandboxd.feed(id_, data)
        assert ended(sandboxd, id_).stdout == data

    def test_unread_input_takes_no_processor_time(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.sh("stty raw -echo; echo ready; exec sleep 1000", size=SIZE)
        wait_for(sandboxd, b"ready\n")
        sandboxd.feed(id_, bytes(200_000))
        sandboxd.comes_to_rest()
        assert sandboxd.kill(id_).stderr == b""

    def test_terminal_closed_by_its_command_accepts_input(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.sh("exec </dev/null >/dev/null 2>&1; exec sleep 1000", size=SIZE)
        sandboxd.wait_credit()
        sandboxd.comes_to_rest()
        sandboxd.feed(id_, b"x")
        sandboxd.comes_to_rest()
        assert sandboxd.kill(id_).stderr == b""


class TestEndOfTerminal:
    """Tests of the output and the end of the command."""

    @pytest.mark.thorough
    @pytest.mark.parametrize("size", [1, 4095, 4096, 65537, 3_000_000])
    def test_all_output_arrives_before_the_end(self, sandboxd: Daemon, size: int) -> None:
        for _ in range(3 if size < 100_000 else 1):
            id_ = sandboxd.sh(f"head -c {size} /dev/zero | tr '\\0' x", size=SIZE)
            assert ended(sandboxd, id_).stdout == b"x" * size

    def test_last_line_of_many_short_commands_arrives(self, sandboxd: Daemon) -> None:
        for number in range(50):
            id_ = sandboxd.start(b"echo", b"%d" % number, size=SIZE)
            assert ended(sandboxd, id_).stdout == b"%d\r\n" % number

    def test_slow_host_gets_all_output(self, sandboxd: Daemon) -> None:
        size, credit = 200_000, 10_000
        id_ = sandboxd.sh(f"head -c {size} /dev/zero | tr '\\0' x", size=SIZE, credit=credit)
        data = b""
        while len(data) < size:
            data += wait_for(sandboxd, b"x")
            if len(data) % credit == 0:
                assert sandboxd.sync() == []
                sandboxd.send(codec.ExecCredit(id_, Stream.STDOUT, credit))
        assert ended(sandboxd, id_).stdout == b""
        assert data == b"x" * size

    def test_an_end_behind_the_last_byte_that_was_paid_for(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.sh("printf 12345", size=SIZE, credit=5)
        assert ended(sandboxd, id_).stdout == b"12345"

    def test_an_end_is_quick(self, sandboxd: Daemon) -> None:
        times = []
        for _ in range(20):
            start = time.monotonic()
            ended(sandboxd, sandboxd.start(b"true", size=SIZE))
            times.append(time.monotonic() - start)
        assert min(times) < SILENCE

    @pytest.mark.parametrize("holder", ["trap '' HUP; sh -c", "setsid sh -c"])
    def test_background_process_delays_the_end_briefly(
        self, sandboxd: Daemon, fifo: Fifo, holder: str
    ) -> None:
        script = f"{holder} 'echo >{fifo}; exec sleep 1000' & echo $!; read x <{fifo}"
        result = ended(sandboxd, sandboxd.sh(script, size=SIZE))
        assert result.exit_code == 0
        pid = int(result.stdout)
        assert is_alive(pid)
        os.kill(pid, 9)

    def test_a_background_writer_cannot_hold_up_the_next_command(
        self, sandboxd: Daemon, fifo: Fifo, answer: Fifo
    ) -> None:
        writer = f"read x <{fifo}; echo; echo >{answer}; exec yes"
        id_ = sandboxd.sh(f"trap '' HUP; sh -c '{writer}' & echo $!", size=SIZE)
        pid = int(ended(sandboxd, id_).stdout)
        fifo.release()
        answer.wait()
        for _ in range(10):
            assert sandboxd.run(b"echo", b"next").stdout == b"next\n"
        assert is_alive(pid)
        os.kill(pid, 9)

    def test_the_foreground_is_hung_up_when_its_leader_ends(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.sh("sleep 1000 & echo $!", size=SIZE)
        pid = int(ended(sandboxd, id_).stdout)
        eventually(lambda: not is_alive(pid))

    def test_output_after_a_kill_ends_with_the_buffered_data(
        self, sandboxd: Daemon, fifo: Fifo
    ) -> None:
        paid, more = 50_000, 1 << 20
        script = f"setsid yes & echo $$ $!; read x <{fifo}"
        id_ = sandboxd.sh(script, size=SIZE, credit=paid)
        sandboxd.wait_credit()
        output = sandboxd.read(paid)
        own, pid = map(int, re.findall(rb"\d+", output))
        fifo.release()
        eventually(lambda: not exists(own))
        sandboxd.comes_to_rest()
        sandboxd.send(codec.ExecCredit(id_, Stream.STDOUT, more), codec.ExecKill(id_))
        try:
            assert 4095 <= len(ended(sandboxd, id_).stdout) <= 16384
        finally:
            os.kill(pid, 9)

    @pytest.mark.parametrize("end", ["exit", "exec sleep 1000"])
    def test_end_after_a_kill_does_not_wait_for_silence(
        self, sandboxd: Daemon, fifo: Fifo, end: str
    ) -> None:
        writer = f"echo $$; read x <{fifo}; while :; do echo more; sleep 0.02; done"
        id_ = sandboxd.sh(f"setsid sh -c '{writer}' & read x; {end}", size=SIZE, credit=600)
        pid = int(re.findall(rb"\d+", wait_for(sandboxd, b"\n"))[0])
        fifo.release()
        wait_for(sandboxd, b"more")
        sandboxd.feed(id_, b"\n")
        wait_for(sandboxd, b"more")
        sandboxd.send(codec.ExecKill(id_))
        try:
            assert len(ended(sandboxd, id_).stdout) < 200
        finally:
            os.kill(pid, 9)

    def test_hello_ends_the_command(self, sandboxd: Daemon) -> None:
        for nonce in range(2, 20):
            sandboxd.sh("sleep 1000", size=SIZE)
            sandboxd.wait_credit()
            sandboxd.hello(nonce)
        assert sandboxd.run(b"true").exit_code == 0
