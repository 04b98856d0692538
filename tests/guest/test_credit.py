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
def test_what_is_paid_for_comes_and_no_more(sandboxd: Daemon, credit: int) -> None:
    sandboxd.sh("yes", credit=credit, stderr_credit=1000)
    assert len(sandboxd.read(credit)) == credit
    assert sandboxd.sync() == []


def test_nothing_comes_without(sandboxd: Daemon, answer: Fifo) -> None:
    sandboxd.sh(f"echo out; echo err >&2; echo >{answer}", credit=0)
    answer.wait()
    assert sandboxd.sync() == []


def test_a_command_that_writes_nothing_needs_none(sandboxd: Daemon) -> None:
    assert sandboxd.finish(sandboxd.sh("exit 9", credit=0)).exit_code == 9


def test_more_credit_brings_more(sandboxd: Daemon) -> None:
    id_ = sandboxd.sh("yes", credit=10)
    sandboxd.read(10)
    for amount in (1, 2, 70_000, 3):
        sandboxd.send(codec.ExecCredit(id_, Stream.STDOUT, amount))
        assert len(sandboxd.read(amount)) == amount
        assert sandboxd.sync() == []


def test_the_response_waits_until_all_is_paid_for(sandboxd: Daemon) -> None:
    id_ = sandboxd.sh("head -c 1000 /dev/zero", credit=0)
    for _ in range(10):
        assert sandboxd.sync() == []
        sandboxd.send(codec.ExecCredit(id_, Stream.STDOUT, 100))
        sandboxd.read(100)
    assert sandboxd.finish(id_).exit_code == 0


def test_exactly_enough_is_enough(sandboxd: Daemon) -> None:
    result = sandboxd.finish(sandboxd.sh("head -c 1000 /dev/zero", credit=1000))
    assert (len(result.stdout), result.exit_code) == (1000, 0)


@pytest.mark.parametrize("stalled", [Stream.STDOUT, Stream.STDERR])
def test_a_stream_without_does_not_hold_up_the_other(sandboxd: Daemon, stalled: Stream) -> None:
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


def test_both_streams_get_their_turn(sandboxd: Daemon) -> None:
    id_ = sandboxd.sh("yes & yes >&2")
    amounts = dict.fromkeys(Stream, 0)
    while min(amounts.values()) < 1 << 20:
        message = sandboxd.receive()
        assert isinstance(message, codec.ExecOutput)
        amounts[message.stream] += len(message.data)
        assert max(amounts.values()) < 64 << 20
    sandboxd.send(codec.ExecKill(id_))


def test_a_sum_beyond_four_gibibytes_is_no_less(sandboxd: Daemon) -> None:
    id_ = sandboxd.sh("head -c 1000000 /dev/zero", credit=0)
    for _ in range(3):
        sandboxd.send(codec.ExecCredit(id_, Stream.STDOUT, 0xFFFFFFFF))
    assert len(sandboxd.finish(id_).stdout) == 1_000_000


def test_credit_of_zero_is_no_credit(sandboxd: Daemon, answer: Fifo) -> None:
    id_ = sandboxd.sh(f"echo out; echo >{answer}", credit=0)
    answer.wait()
    sandboxd.send(codec.ExecCredit(id_, Stream.STDOUT, 0))
    assert sandboxd.sync() == []


def test_everything_else_goes_on_while_both_are_stalled(sandboxd: Daemon) -> None:
    id_ = sandboxd.sh("yes & yes >&2; exit 1", credit=10)
    sandboxd.read(20)
    assert sandboxd.sync() == []
    assert sandboxd.status().execs == 1
    sandboxd.kill(id_)


class TestKilled:
    """A command that is killed ends without further credit, because the host may send none."""

    @pytest.mark.parametrize("size", [(0, 0), (24, 80)])
    def test_what_is_not_paid_for_is_dropped(self, sandboxd: Daemon, size: tuple[int, int]) -> None:
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

    def test_what_is_paid_for_comes(self, sandboxd: Daemon, answer: Fifo) -> None:
        script = f"head -c 60000 /dev/zero; echo err >&2; echo >{answer}; exec sleep 1000"
        id_ = sandboxd.sh(script, credit=0)
        answer.wait()
        sandboxd.send(codec.ExecCredit(id_, Stream.STDOUT, 50_000), codec.ExecKill(id_))
        result = sandboxd.finish(id_)
        assert (len(result.stdout), result.stderr) == (50_000, b"")
        assert result.end == codec.ExecResponse(id_, codec.Ending.SIGNALLED, 9)

    def test_one_that_has_ended_by_itself_keeps_its_end(
        self, sandboxd: Daemon, answer: Fifo
    ) -> None:
        id_ = sandboxd.sh(f"echo out; echo >{answer}; exit 3", credit=0)
        answer.wait()
        eventually(lambda: not children(sandboxd.pid))
        assert sandboxd.sync() == []
        sandboxd.send(codec.ExecKill(id_))
        sandboxd.expect(codec.ExecResponse(id_, codec.Ending.EXITED, 3))

    def test_to_terminate_drops_nothing(self, sandboxd: Daemon) -> None:
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
