"""Tests of the output of commands."""

from __future__ import annotations

import hashlib
import os
import random
import resource
from pathlib import Path

import pytest
from tests.support.daemon import Daemon
from tests.support.fifo import Fifo
from tests.support.processes import is_alive

from microvm.wire import codec


def test_the_streams_are_apart(sandboxd: Daemon) -> None:
    result = sandboxd.run_sh("echo out; echo err >&2; exit 7")
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 7)


def test_joined_streams_are_in_order(sandboxd: Daemon) -> None:
    script = "i=0; while [ $i -lt 2000 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done; exit 5"
    result = sandboxd.run_sh(script, joined=True)
    expected = [f"{stream}{i}" for i in range(2000) for stream in ("out", "err")]
    assert (result.stdout.decode().split(), result.stderr) == (expected, b"")
    assert result.exit_code == 5


def test_joined_streams_use_the_credit_of_standard_output(sandboxd: Daemon) -> None:
    id_ = sandboxd.sh("echo out; echo err >&2", joined=True, credit=4, stderr_credit=100)
    assert sandboxd.read_line() == b"out"
    assert sandboxd.sync() == []
    sandboxd.send(codec.ExecCredit(id_, codec.Stream.STDOUT, 100))
    assert sandboxd.finish(id_).stdout == b"err\n"


def test_output_arrives_when_it_is_written(sandboxd: Daemon, fifo: Fifo) -> None:
    id_ = sandboxd.sh(f"for line in first second; do echo $line; read x <{fifo}; done")
    for line in (b"first", b"second"):
        assert sandboxd.read_line() == line
        assert sandboxd.sync() == []
        fifo.release()
    assert sandboxd.finish(id_).stdout == b""


@pytest.mark.parametrize("size", [1, 65523, 65524, 65536, 65537, 10_000_001])
def test_output_arrives_unchanged(sandboxd: Daemon, tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    path = tmp_path / "data"
    path.write_bytes(data)
    result = sandboxd.run_sh(f"cat {path} & cat {path} >&2; wait")
    digests = [hashlib.sha256(part).hexdigest() for part in (result.stdout, result.stderr, data)]
    assert len(set(digests)) == 1


def test_all_output_arrives_before_the_response(sandboxd: Daemon) -> None:
    for _ in range(50):
        result = sandboxd.run_sh("head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2")
        assert (len(result.stdout), len(result.stderr)) == (60000, 60000)
    assert sandboxd.sync() == []


def test_a_stream_that_is_closed_early(sandboxd: Daemon, fifo: Fifo) -> None:
    id_ = sandboxd.sh(f"exec >&-; echo err >&2; read x <{fifo}; echo more >&2; exit 3")
    assert sandboxd.read_line() == b"err"
    assert sandboxd.sync() == []
    fifo.release()
    result = sandboxd.finish(id_)
    assert (result.stdout, result.stderr, result.exit_code) == (b"", b"more\n", 3)


def test_closed_stream_takes_no_processor_time(sandboxd: Daemon, fifo: Fifo, answer: Fifo) -> None:
    id_ = sandboxd.sh(f"exec >&- 2>&-; echo >{answer}; read x <{fifo}")
    answer.wait()
    sandboxd.comes_to_rest()
    fifo.release()
    assert sandboxd.finish(id_).exit_code == 0


class TestBackgroundProcesses:
    """Tests of background processes after their command has exited."""

    def test_output_in_the_pipe_at_the_exit_arrives(self, sandboxd: Daemon) -> None:
        result = sandboxd.run_sh("head -c 60000 /dev/zero; sleep 60 & echo $! >&2")
        assert len(result.stdout) == 60000
        os.kill(int(result.stderr), 9)

    def test_background_processes_can_write_any_amount(
        self, sandboxd: Daemon, fifo: Fifo, answer: Fifo
    ) -> None:
        writes = "head -c 1000000 /dev/zero && head -c 1000000 /dev/zero >&2"
        script = f"(read x <{fifo}; {writes} && echo ok >{answer}) & exit 5"
        result = sandboxd.run_sh(script, credit=0)  # the end needs no credit
        assert result.exit_code == 5
        fifo.release()
        assert answer.wait() == b"ok\n"
        assert sandboxd.sync() == []

    def test_background_output_is_not_mixed_into_the_next_command(
        self, sandboxd: Daemon, fifo: Fifo, answer: Fifo
    ) -> None:
        sandboxd.run_sh(f"(read x <{fifo}; echo stray; echo ok >{answer}) &")
        id_ = sandboxd.sh(f"echo mine; read x <{fifo}")
        assert sandboxd.read_line() == b"mine"
        fifo.release()
        fifo.release()
        answer.wait()
        assert sandboxd.finish(id_).stdout == b""

    def test_output_stolen_from_the_pipe_is_not_waited_for(
        self, sandboxd: Daemon, fifo: Fifo, answer: Fifo
    ) -> None:
        thief = f"read x <{fifo}; head -c 6 <&3 >/dev/null; echo $$ >{answer}; exec sleep 60"
        id_ = sandboxd.sh(
            f"exec 3</proc/self/fd/1; echo hello; setsid sh -c '{thief}' & exit 4", credit=0
        )
        fifo.release()
        pid = int(answer.wait())
        sandboxd.send(codec.ExecCredit(id_, codec.Stream.STDOUT, 100))
        result = sandboxd.finish(id_)
        assert (result.stdout, result.exit_code) == (b"", 4)
        os.kill(pid, 9)

    @pytest.mark.thorough
    @pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.long)])
    def test_hundreds_of_background_processes_can_write(
        self, sandboxd: Daemon, fifo: Fifo, answer: Fifo, count: int
    ) -> None:
        for _ in range(count):
            sandboxd.run_sh(f"(read x <{fifo}; echo out && echo err >&2 && echo ok >{answer}) &")
        for _ in range(count):
            fifo.release()
        written = 0
        while written < count:
            written += answer.wait().count(b"ok\n")
        assert sandboxd.sync() == []

    def test_background_output_leaves_descriptors_for_commands(self, sandboxd: Daemon) -> None:
        soft, hard = resource.prlimit(sandboxd.pid, resource.RLIMIT_NOFILE)
        first = sandboxd.status().descriptors
        # The daemon keeps 640 descriptors free for itself and its commands.
        resource.prlimit(sandboxd.pid, resource.RLIMIT_NOFILE, (640 + 32, hard))
        left = [int(sandboxd.run_sh("sleep 1000 & echo $!").stdout) for _ in range(50)]
        assert sandboxd.finish(sandboxd.sh("exit 3", fed=True)).exit_code == 3
        assert sandboxd.finish(sandboxd.sh("exit 4", size=(24, 80))).exit_code == 4
        assert all(map(is_alive, left))
        assert sandboxd.status().descriptors > first
        resource.prlimit(sandboxd.pid, resource.RLIMIT_NOFILE, (soft, hard))
        sandboxd.hello(2)
        assert sandboxd.status().descriptors == first
        for pid in left:
            os.kill(pid, 9)
