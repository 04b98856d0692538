"""Tests of the credit for output, which each stream has for itself."""

from __future__ import annotations

import pytest
from tests.support.daemon import Daemon
from tests.support.fifo import Fifo
from tests.support.polling import eventually
from tests.support.processes import children

from microvm.wire import codec
from microvm.wire.codec import Stream


def taken(messages: list[codec.Message]) -> int:
    """Return the number of output bytes in these messages; no other message may be among them."""
    assert all(isinstance(message, codec.ExecOutput) for message in messages)
    return sum(len(m.data) for m in messages if isinstance(m, codec.ExecOutput))


@pytest.mark.parametrize("credit", [1, 999, 65524, 65525, 200_000])
def test_output_is_limited_to_the_credit(sandboxd: Daemon, credit: int) -> None:
    sandboxd.sh("yes", credit=credit, stderr_credit=1000)
    assert len(sandboxd.read(credit)) == credit
    assert sandboxd.sync() == []


def test_more_credit_brings_more(sandboxd: Daemon) -> None:
    id_ = sandboxd.sh("yes", credit=10)
    sandboxd.read(10)
    for amount in (1, 2, 70_000, 3):
        sandboxd.send(codec.ExecCredit(id_, Stream.STDOUT, amount))
        assert len(sandboxd.read(amount)) == amount
        assert sandboxd.sync() == []


@pytest.mark.parametrize("stalled", [Stream.STDOUT, Stream.STDERR])
def test_stream_without_credit_does_not_delay_the_other(sandboxd: Daemon, stalled: Stream) -> None:
    paid = (0, 200_000) if stalled is Stream.STDOUT else (200_000, 0)
    sandboxd.sh("yes & yes >&2", credit=paid[0], stderr_credit=paid[1])
    got = 0
    while got < 200_000:
        message = sandboxd.receive()
        assert isinstance(message, codec.ExecOutput)
        assert message.stream is not stalled
        got += len(message.data)
    assert sandboxd.sync() == []


def test_credit_for_one_stream_is_not_for_the_other(sandboxd: Daemon) -> None:
    id_ = sandboxd.sh("yes out & yes err >&2", credit=0)
    sandboxd.send(codec.ExecCredit(id_, Stream.STDERR, 8))
    assert sandboxd.read(8) == b"err\nerr\n"
    assert sandboxd.sync() == []


class TestKilled:
    """A command that is killed ends without further credit, because the host may send none."""

    @pytest.mark.parametrize("size", [(0, 0), (24, 80)])
    def test_output_beyond_the_credit_is_dropped(
        self, sandboxd: Daemon, size: tuple[int, int]
    ) -> None:
        id_ = sandboxd.sh("yes", credit=10, size=size)
        if any(size):
            sandboxd.wait_credit()
        sandboxd.read(10)
        sandboxd.comes_to_rest()
        sandboxd.sync()
        sandboxd.send(codec.ExecKill(id_))
        answer = sandboxd.receive()
        if answer == codec.ExecStdinClosed(id_):  # a terminal may close before the command ends
            answer = sandboxd.receive()
        assert answer == codec.ExecResponse(id_, codec.Ending.SIGNALLED, 9)

    def test_output_within_the_credit_arrives(self, sandboxd: Daemon, answer: Fifo) -> None:
        script = f"head -c 60000 /dev/zero; echo err >&2; echo >{answer}; exec sleep 1000"
        id_ = sandboxd.sh(script, credit=0)
        answer.wait()
        sandboxd.send(codec.ExecCredit(id_, Stream.STDOUT, 50_000), codec.ExecKill(id_))
        result = sandboxd.finish(id_)
        assert (len(result.stdout), result.stderr) == (50_000, b"")
        assert result.end == codec.ExecResponse(id_, codec.Ending.SIGNALLED, 9)

    def test_kill_after_the_exit_keeps_the_remaining_output(
        self, sandboxd: Daemon, answer: Fifo
    ) -> None:
        id_ = sandboxd.sh(f"echo out; echo >{answer}; exit 3", credit=0)
        answer.wait()
        eventually(lambda: not children(sandboxd.pid))
        assert sandboxd.sync() == []
        sandboxd.send(codec.ExecKill(id_))
        sandboxd.expect(codec.ExecResponse(id_, codec.Ending.EXITED, 3))

    def test_kill_after_the_exit_drops_no_output_within_the_credit(
        self, sandboxd: Daemon, answer: Fifo
    ) -> None:
        id_ = sandboxd.sh(f"echo out; echo err >&2; echo >{answer}; exit 3", credit=0)
        answer.wait()
        eventually(lambda: not children(sandboxd.pid))
        credit = (codec.ExecCredit(id_, stream, 100) for stream in Stream)
        sandboxd.send(*credit, codec.ExecKill(id_))
        result = sandboxd.finish(id_)
        assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 3)

    def test_terminate_drops_no_output(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.sh(
            "exec 2>/dev/null; trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done",
            credit=3,
        )
        assert sandboxd.read(3) == b"up\n"
        sandboxd.send(codec.ExecTerminate(id_))
        eventually(lambda: not children(sandboxd.pid))
        assert sandboxd.sync() == []
        sandboxd.send(codec.ExecCredit(id_, Stream.STDOUT, 4))
        result = sandboxd.finish(id_)
        assert (result.stdout, result.exit_code) == (b"bye\n", 5)
