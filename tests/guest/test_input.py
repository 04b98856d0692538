"""Tests of the standard input of commands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from random import Random

import pytest
from tests.support.daemon import Daemon, Result, hello, shipped_build
from tests.support.fifo import Fifo
from tests.support.polling import eventually
from tests.support.processes import memory, open_files

from microvm.wire import codec

ROOM = 16 * codec.ExecStdin.MAX_BODY
"""Number of bytes of input that the daemon buffers for a command that does not read."""

PIPE = 1 << 20
"""Number of bytes that the pipe of the command buffers in addition."""


def pumped(daemon: Daemon, id_: int, blocks: Iterable[bytes]) -> Iterator[codec.Message]:
    """Send data and its end as credit allows; return the messages until the command ends."""
    source = iter(blocks)
    rest, credit, ended = memoryview(b""), 0, False
    while True:
        while (rest or not ended) and credit:
            if not rest:
                rest = memoryview(next(source, b""))
                ended = not rest
            size = min(len(rest), credit, codec.ExecStdin.MAX_BODY)
            daemon.send(codec.ExecStdin(id_, rest[:size]))
            rest, credit = rest[size:], credit - size
        match message := daemon.receive():
            case codec.ExecStdinCredit(amount=amount):
                assert amount > 0
                credit += amount
                assert credit <= ROOM
            case codec.ExecOutput():
                yield message
            case codec.ExecResponse() | codec.ExecFailed():
                yield message
                return
            case _:
                yield message
                rest, ended = rest[:0], True


def pump(daemon: Daemon, id_: int, data: bytes) -> Result:
    """Send data as `pumped` does, and return the output."""
    output: dict[codec.Stream, list[bytes]] = {stream: [] for stream in codec.Stream}
    others: list[codec.Message] = []
    for message in pumped(daemon, id_, [data]):
        match message:
            case codec.ExecOutput(stream=stream):
                output[stream].append(bytes(message.data))
            case codec.ExecResponse() | codec.ExecFailed():
                out, err = (b"".join(output[stream]) for stream in codec.Stream)
                return Result(out, err, message, others)
            case _:
                others.append(message)
    raise AssertionError("there is an end")


def credits_in(messages: list[codec.Message]) -> int:
    """Return the sum of the credit in these messages."""
    return sum(m.amount for m in messages if isinstance(m, codec.ExecStdinCredit))


def fill(daemon: Daemon, id_: int) -> int:
    """Send input to a command that does not read, until no credit is left."""
    fed, credit = 0, daemon.wait_credit()
    while credit:
        daemon.feed(id_, bytes(credit))
        fed += credit
        credit = credits_in(daemon.sync() + daemon.sync())
    return fed


class TestFeeding:
    """Tests that the input arrives."""

    def test_input_is_read_by_the_command(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.start(b"cat", fed=True)
        assert sandboxd.wait_credit() > 0
        sandboxd.feed(id_, b"hello\0\xff")
        assert sandboxd.read(7) == b"hello\0\xff"
        sandboxd.feed(id_, b"again")
        assert sandboxd.read(5) == b"again"
        sandboxd.end_input(id_)
        result = sandboxd.finish(id_)
        assert (result.exit_code, result.stdout, result.others) == (0, b"", [])

    def test_cat_returns_32_mib_unchanged(self, sandboxd: Daemon) -> None:
        data = Random(4).randbytes(1 << 20) * 32
        result = pump(sandboxd, sandboxd.start(b"cat", fed=True), data)
        assert result.exit_code == 0
        assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()
        assert result.others == []

    @shipped_build  # the memory of the sanitizers grows
    @pytest.mark.long
    def test_cat_returns_a_gibibyte_in_constant_memory(self, sandboxd: Daemon) -> None:
        block, sent, received = Random(4).randbytes(1 << 20), hashlib.sha256(), hashlib.sha256()

        def blocks() -> Iterator[bytes]:
            for number in range(1024):
                data = block[number:] + block[:number]
                sent.update(data)
                yield data

        before = memory(sandboxd.pid, "VmSize")
        for message in pumped(sandboxd, sandboxd.start(b"cat", fed=True), blocks()):
            if isinstance(message, codec.ExecOutput):
                received.update(message.data)
        assert received.digest() == sent.digest()
        assert memory(sandboxd.pid, "VmSize") == before

    def test_input_of_any_size_waits_for_the_reader(self, sandboxd: Daemon, fifo: Fifo) -> None:
        id_ = sandboxd.sh(f"read x <{fifo}; sha256sum", fed=True)
        random, sent, credit = Random(5), hashlib.sha256(), 0
        for number in range(100):
            if number == 70:
                assert credit < 65536, "the pipe and the room behind it are full"
                fifo.release()
            credit += credits_in(sandboxd.sync())
            data = random.randbytes(min(random.randrange(1, 65537), credit))
            if data:
                sent.update(data)
                sandboxd.feed(id_, data)
                credit -= len(data)
        sandboxd.end_input(id_)
        assert sandboxd.finish(id_).stdout.split()[0].decode() == sent.hexdigest()


class TestCredit:
    """The daemon never gives credit for more input than it can store."""

    def test_the_first_follows_the_start_and_is_large(self, sandboxd: Daemon) -> None:
        sandboxd.start(b"sleep", b"1000", fed=True)
        assert ROOM // 2 <= sandboxd.wait_credit() < ROOM
        assert sandboxd.sync() == []

    def test_a_command_that_reads_nothing_is_sent_a_room_and_a_pipe(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.start(b"sleep", b"1000", fed=True)
        assert ROOM - 2 <= fill(sandboxd, id_) <= ROOM + PIPE

    def test_credit_is_sent_in_large_pieces(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.start(b"cat", fed=True, credit=0xFFFFFFFF)
        credit = sandboxd.wait_credit()
        amounts, copied = [], 0
        for fed in range(1000, 3 * ROOM, 1000):
            sandboxd.feed(id_, bytes(1000))
            while copied < fed:
                match sandboxd.receive():
                    case codec.ExecStdinCredit(amount=amount):
                        amounts.append(amount)
                        assert credit + sum(amounts) - fed <= ROOM
                    case codec.ExecOutput(data=data):
                        copied += len(data)
                    case other:
                        pytest.fail(str(other))
        assert min(amounts) >= ROOM // 2
        assert 3 <= len(amounts) <= 6

    def test_none_after_the_end(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.start(b"cat", fed=True)
        credit = sandboxd.wait_credit()
        sandboxd.feed(id_, bytes(credit))
        sandboxd.end_input(id_)
        result = sandboxd.finish(id_)
        assert len(result.stdout) == credit
        # Input in transit before the end was read may result in credit.
        assert credits_in(result.others) < ROOM


class TestEndOfInput:
    """Tests of commands and hosts that end before the input does."""

    def test_closed_input_is_reported_once(self, sandboxd: Daemon, fifo: Fifo) -> None:
        id_ = sandboxd.sh(f"exec <&-; echo closed; read x <{fifo}; echo end", fed=True)
        credit = sandboxd.wait_credit()
        before, closed = sandboxd.receive_until(codec.ExecStdinClosed)
        assert closed.id == id_
        assert all(isinstance(m, codec.ExecOutput) for m in before)
        sandboxd.feed(id_, bytes(credit))
        sandboxd.end_input(id_)
        fifo.release()
        result = sandboxd.finish(id_)
        assert result.exit_code == 0
        assert result.stdout.endswith(b"end\n")
        assert result.others == []

    def test_input_closed_with_much_pending(self, sandboxd: Daemon, fifo: Fifo) -> None:
        wait = f"read x <{fifo}"
        id_ = sandboxd.sh(f"head -c 1 >/dev/null; {wait}; exec <&-; {wait}", fed=True)
        sandboxd.feed(id_, bytes(sandboxd.wait_credit()))
        assert all(isinstance(m, codec.ExecStdinCredit) for m in sandboxd.sync())
        fifo.release()
        sandboxd.receive_until(codec.ExecStdinClosed)
        fifo.release()
        result = sandboxd.finish(id_)
        assert (result.exit_code, result.others) == (0, [])

    def test_a_closed_input_costs_nothing(self, sandboxd: Daemon) -> None:
        sandboxd.sh("exec <&-; exec sleep 1000", fed=True)
        sandboxd.receive_until(codec.ExecStdinClosed)
        sandboxd.comes_to_rest()

    def test_a_command_that_exits_with_megabytes_to_come(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.sh("head -c 10", fed=True)
        result = pump(sandboxd, id_, b"x" * (4 << 20))
        assert (result.exit_code, result.stdout) == (0, b"x" * 10)
        assert result.others in ([], [codec.ExecStdinClosed(id_)])
        assert sandboxd.run(b"true").exit_code == 0

    def test_a_command_that_reads_nothing_and_exits(self, sandboxd: Daemon) -> None:
        for _ in range(20):
            id_ = sandboxd.start(b"true", fed=True)
            sandboxd.wait_credit()
            sandboxd.send(codec.ExecStdin(id_, bytes(65536)), codec.ExecStdin(id_, bytes(65536)))
            sandboxd.end_input(id_)
            result = sandboxd.finish(id_)
            assert result.exit_code == 0
            assert result.others in ([], [codec.ExecStdinClosed(id_)])

    def test_a_background_reader_does_not_delay_the_end(self, sandboxd: Daemon) -> None:
        # By default, the input of a background job of a shell is /dev/null.
        id_ = sandboxd.sh("exec 3<&0; sleep 1000 <&3 & echo $!", fed=True)
        result = sandboxd.finish(id_)
        assert result.exit_code == 0
        assert result.others in ([], [codec.ExecStdinCredit(id_, ROOM - 2)])
        killed = sandboxd.finish(sandboxd.sh(f"kill {result.stdout.decode()}"))
        assert killed.exit_code == 0

    def test_kill_is_obeyed_without_room_for_input(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.start(b"sleep", b"1000", fed=True)
        fill(sandboxd, id_)
        sandboxd.sync()
        sandboxd.comes_to_rest()
        sandboxd.kill(id_)

    def test_a_failure_to_start_gives_no_credit(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.start(b"nonexistent", fed=True)
        result = sandboxd.finish(id_)
        assert isinstance(result.end, codec.ExecFailed)
        assert result.others == []
        assert sandboxd.sync() == []

    def test_new_session_closes_the_input_of_the_old_one(self, sandboxd: Daemon) -> None:
        streams = (999, 999, b"", codec.StdinKind.HOST)
        fed = codec.ExecRequest(1, b"cat", b"", (b"cat",), (), *streams, 0, 0, 0, 0)
        for nonce in range(100):
            # The command after the hello starts as soon as the previous command is killed.
            sandboxd.send(hello(nonce), fed)
            _, ready = sandboxd.receive_until(codec.Ready)
            assert ready.nonce == nonce
            sandboxd.wait_credit()
            assert sandboxd.sync() == []
        sandboxd.send(codec.ExecStdin(1, b"fed"), codec.ExecStdin(1, b""))
        assert sandboxd.finish(1).stdout == b"fed"

    @pytest.mark.thorough
    def test_host_that_never_reads_takes_no_processor_time(
        self, sandboxd: Daemon, fifo: Fifo, answer: Fifo
    ) -> None:
        script = f"read x <{fifo}; exec <&-; echo >{answer}; exec sleep 1000"
        sandboxd.sh(script, fed=True, credit=0)
        sandboxd.wait_credit()
        sandboxd.fill(codec.Ping(1).encode())
        fifo.release()
        answer.wait()
        sandboxd.comes_to_rest()

    def test_no_descriptors_are_lost(self, sandboxd: Daemon) -> None:
        sandboxd.finish(sandboxd.start(b"true", fed=True))
        before = len(open_files(sandboxd.pid))
        for number in range(50):
            id_ = sandboxd.start(b"true" if number % 2 else b"nonexistent", fed=True)
            if number % 3 == 0:
                sandboxd.end_input(id_)
            sandboxd.finish(id_)
        eventually(lambda: len(open_files(sandboxd.pid)) <= before)
