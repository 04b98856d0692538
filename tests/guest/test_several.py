"""Tests of several commands that run at once."""

from __future__ import annotations

import fcntl
import os
import termios
from array import array
from hashlib import sha256
from typing import Any

import pytest
from tests.support.daemon import Daemon, request
from tests.support.fifo import Fifo
from tests.support.polling import eventually
from tests.support.processes import children, exists, open_files

from microvm.wire import codec
from microvm.wire.codec import MAX_COMMANDS, ErrorCode, Stream

KEEP, EXEC, KILL, STDIN = 11, 16, 21, 23
FRAME = 65523
"""Maximum number of bytes of output in a frame."""

LARGE, SHARE = 1 << 20, 65536
"""Maximum credit for a command's input, in bytes: in slot 0 (LARGE), and in all other slots."""


def beside(sandboxd: Daemon, script: str, **options: Any) -> int:
    """Start a shell script that may run beside other commands. Return the command's id."""
    return sandboxd.sh(script, beside=True, **options)


def fed(sandboxd: Daemon, script: str, **options: Any) -> int:
    """Start a script that reads its input, and wait until the daemon gives credit for it."""
    id_ = beside(sandboxd, script, fed=True, **options)
    before, credit = sandboxd.receive_until(codec.ExecStdinCredit)
    assert (before, credit.id) == ([], id_)
    return id_


def busy(id_: int, type_: int = EXEC) -> codec.Error:
    return codec.Error(id_, ErrorCode.BUSY, type_, 0, 0)


class TestBesideOthers:
    def test_two_commands_exchange_data(self, sandboxd: Daemon, fifo: Fifo) -> None:
        """Each command waits for data of the other command."""
        writer = beside(sandboxd, f"echo hello >{fifo}; echo written; exit 1")
        reader = beside(sandboxd, f"read x <{fifo}; echo $x >&2; exit 2")
        wrote, read = sandboxd.finish_all(writer, reader)
        assert (wrote.stdout, wrote.stderr, wrote.exit_code) == (b"written\n", b"", 1)
        assert (read.stdout, read.stderr, read.exit_code) == (b"", b"hello\n", 2)

    def test_64_commands_run_and_the_next_is_busy(self, sandboxd: Daemon) -> None:
        ids = [fed(sandboxd, f"read x; echo {number} $x") for number in range(MAX_COMMANDS)]
        refused = MAX_COMMANDS + 1
        sandboxd.send(request(refused, b"true", beside=True))
        sandboxd.expect(busy(refused))
        for id_ in reversed(ids):
            sandboxd.feed(id_, b"in\n")
        results = sandboxd.finish_all(*ids)
        assert [result.stdout for result in results] == [
            b"%d in\n" % number for number in range(MAX_COMMANDS)
        ]
        sandboxd.send(request(refused + 1, b"true", beside=True))
        assert sandboxd.finish(refused + 1).exit_code == 0

    def test_a_command_that_ends_makes_room(self, sandboxd: Daemon) -> None:
        ids = [fed(sandboxd, "read x") for _ in range(MAX_COMMANDS)]
        for id_ in ids[20], ids[-1], ids[0]:
            sandboxd.feed(id_, b"\n")
            sandboxd.finish(id_)
        more = [fed(sandboxd, "read x; exit 7") for _ in range(3)]
        sandboxd.send(request(more[-1] + 1, b"true", beside=True))
        sandboxd.expect(busy(more[-1] + 1))
        for id_ in more:
            sandboxd.feed(id_, b"\n")
            assert sandboxd.finish(id_).exit_code == 7
        sandboxd.hello(2)

    def test_command_that_cannot_start_makes_room(self, sandboxd: Daemon) -> None:
        before = sandboxd.status()
        id_ = fed(sandboxd, "read x; exit 7")
        for _ in range(2 * MAX_COMMANDS):
            failed = sandboxd.finish(sandboxd.start(b"nonexistent", beside=True))
            assert isinstance(failed.end, codec.ExecFailed)
        sandboxd.feed(id_, b"\n")
        assert sandboxd.finish(id_).exit_code == 7
        assert sandboxd.status().descriptors == before.descriptors

    def test_nothing_is_left(self, sandboxd: Daemon) -> None:
        before = sandboxd.status()
        for _ in range(3):
            ids = [beside(sandboxd, "echo out; echo err >&2") for _ in range(16)]
            for result in sandboxd.finish_all(*ids):
                assert (result.stdout, result.stderr) == (b"out\n", b"err\n")
        after = sandboxd.status()
        assert (after.descriptors, after.zombies) == (before.descriptors, 0)
        assert after.execs == before.execs + 48


class TestAlone:
    def test_command_that_is_alone_is_busy_beside_others(self, sandboxd: Daemon) -> None:
        id_ = fed(sandboxd, "cat")
        sandboxd.send(request(id_ + 1, b"true"))
        sandboxd.expect(busy(id_ + 1))
        sandboxd.end_input(id_)
        assert sandboxd.finish(id_).exit_code == 0

    def test_others_are_busy_beside_a_command_that_is_alone(
        self, sandboxd: Daemon, fifo: Fifo
    ) -> None:
        id_ = sandboxd.sh(f"read x <{fifo}")
        sandboxd.send(request(id_ + 1, b"true", beside=True))
        sandboxd.expect(busy(id_ + 1))
        fifo.release()
        assert sandboxd.finish(id_).exit_code == 0

    def test_keep_is_busy_while_any_command_runs(self, sandboxd: Daemon) -> None:
        first, second = fed(sandboxd, "cat"), fed(sandboxd, "cat")
        for id_ in first, second:
            sandboxd.send(codec.Keep())
            sandboxd.expect(busy(0, KEEP))
            sandboxd.end_input(id_)
            sandboxd.finish(id_)
        sandboxd.send(codec.Keep())
        assert sandboxd.sync() == []

    def test_a_hello_ends_all(self, sandboxd: Daemon) -> None:
        for _ in range(5):
            sandboxd.sh("exec sleep 1000", beside=True)
        sandboxd.sync()
        sandboxd.hello(2)
        assert children(sandboxd.pid) == []
        assert sandboxd.run(b"true").exit_code == 0

    @pytest.mark.thorough
    @pytest.mark.parametrize("reason", codec.GoodbyeReason)
    def test_the_end_kills_all(self, sandboxd: Daemon, reason: codec.GoodbyeReason) -> None:
        ids = [beside(sandboxd, "echo $$; exec sleep 1000") for _ in range(3)]
        pids = [int(sandboxd.read(1)) for _ in ids]
        if reason is codec.GoodbyeReason.SHUTDOWN:
            sandboxd.send(codec.Shutdown())
        else:
            sandboxd.stream.shutdown(1)
        sandboxd.expect(codec.Goodbye(reason))
        sandboxd.expect_end()
        eventually(lambda: not any(map(exists, pids)))


class TestIdsOfSeveral:
    """Tests that a message affects only the command whose id it has."""

    def test_ids_are_not_reused(self, sandboxd: Daemon) -> None:
        ids = [fed(sandboxd, "cat") for _ in range(3)]
        sandboxd.end_input(ids[1])
        sandboxd.finish(ids[1])
        for id_ in ids:
            sandboxd.send(request(id_, b"true", beside=True))
            sandboxd.expect(codec.Error(id_, ErrorCode.STALE_ID, EXEC, 0, 0))
        sandboxd.send(codec.ExecKill(ids[-1] + 1))
        sandboxd.expect(codec.Error(ids[-1] + 1, ErrorCode.UNKNOWN_ID, KILL, 0, 0))
        for id_ in ids[0], ids[2]:
            sandboxd.end_input(id_)
        assert [end.exit_code for end in sandboxd.finish_all(ids[0], ids[2])] == [0, 0]

    def test_messages_about_ended_commands_are_ignored(self, sandboxd: Daemon) -> None:
        """A message about an ended command does not disturb the next command in the same slot."""
        first, ended = fed(sandboxd, "cat"), fed(sandboxd, "cat")
        sandboxd.end_input(ended)
        sandboxd.finish(ended)
        later = fed(sandboxd, "trap '' TERM; cat; exit 3")
        sandboxd.send(
            *(codec.ExecSignal(ended, 15), codec.ExecTerminate(ended), codec.ExecKill(ended)),
            *(codec.ExecStdin(ended, b"x"), codec.ExecStdin(ended, b"")),
            codec.ExecCredit(ended, Stream.STDOUT, 1),
        )
        assert sandboxd.sync() == []
        for id_ in first, later:
            sandboxd.feed(id_, b"%d" % id_)
            sandboxd.end_input(id_)
        results = sandboxd.finish_all(first, later)
        assert [(end.stdout, end.exit_code) for end in results] == [
            (b"%d" % first, 0),
            (b"%d" % later, 3),
        ]

    def test_a_signal_reaches_only_its_command(self, sandboxd: Daemon) -> None:
        ids = [beside(sandboxd, "echo up; exec sleep 1000") for _ in range(3)]
        for _ in ids:
            assert sandboxd.read(3) == b"up\n"
        sandboxd.send(codec.ExecSignal(ids[1], 10))
        assert sandboxd.finish(ids[1]).end == codec.ExecResponse(ids[1], codec.Ending.SIGNALLED, 10)
        sandboxd.send(codec.ExecTerminate(ids[0]))
        assert sandboxd.finish(ids[0]).end == codec.ExecResponse(ids[0], codec.Ending.SIGNALLED, 15)
        sandboxd.kill(ids[2])

    def test_kill_needs_no_credit_and_disturbs_nobody(self, sandboxd: Daemon) -> None:
        flood = beside(sandboxd, "yes & yes >&2", credit=0)
        stuck = beside(sandboxd, "exec yes", credit=0)
        sandboxd.kill(stuck)
        sandboxd.send(codec.ExecCredit(flood, Stream.STDOUT, 5))
        assert sandboxd.read(5) == b"y\ny\ny"
        sandboxd.kill(flood)

    def test_each_command_has_its_own_terminal(self, sandboxd: Daemon) -> None:
        sizes = [(24, 80), (50, 132), (3, 7)]
        ids = [fed(sandboxd, "stty -echo; read x; stty size", size=size) for size in sizes]
        sandboxd.send(codec.ExecResize(ids[2], 4, 8))
        for id_ in ids:
            sandboxd.feed(id_, b"\n")
        results = sandboxd.finish_all(*ids)
        assert [end.stdout.split() for end in results] == [
            [b"24", b"80"],
            [b"50", b"132"],
            [b"4", b"8"],
        ]


class TestCreditOfSeveral:
    """Tests that each output stream of each command has its own credit."""

    def test_credit_is_for_one_command(self, sandboxd: Daemon) -> None:
        first = beside(sandboxd, "exec yes first", credit=0)
        second = beside(sandboxd, "exec yes second", credit=0)
        sandboxd.send(codec.ExecCredit(second, Stream.STDOUT, 7))
        assert sandboxd.read(7) == b"second\n"
        assert sandboxd.sync() == []
        sandboxd.send(codec.ExecCredit(first, Stream.STDOUT, 6))
        assert sandboxd.read(6) == b"first\n"
        assert sandboxd.sync() == []


class TestInputOfSeveral:
    """Tests that each command has its own input, and its own credit for the input."""

    def test_credit_is_1_mib_in_the_first_slot_only(self, sandboxd: Daemon) -> None:
        for most in (LARGE, SHARE, SHARE):
            beside(sandboxd, "exec sleep 1000", fed=True)
            assert most // 2 < sandboxd.wait_credit() <= most

    def test_input_reaches_only_its_command(self, sandboxd: Daemon) -> None:
        data = {fed(sandboxd, "cat"): os.urandom(60_000) for _ in range(8)}
        for at in range(0, 60_000, 1000):
            for id_, each in data.items():
                sandboxd.feed(id_, each[at : at + 1000])
        for id_ in data:
            sandboxd.end_input(id_)
        results = sandboxd.finish_all(*data)
        assert [end.stdout for end in results] == [*data.values()]

    def test_input_that_waits_is_kept_apart(self, sandboxd: Daemon, fifo: Fifo) -> None:
        """No command reads, until the daemon's input buffers of all commands are full."""
        ids = [beside(sandboxd, f"read x <{fifo}; sha256sum", fed=True) for _ in range(4)]
        data = dict.fromkeys(ids, b"")
        for _ in range(2000):
            gained = False
            for message in sandboxd.sync():
                assert isinstance(message, codec.ExecStdinCredit)
                piece = os.urandom(message.amount)
                data[message.id] += piece
                sandboxd.feed(message.id, piece)
                gained = True
            if not gained and all(len(each) > 2 * SHARE for each in data.values()):
                break
        most = [3 * LARGE, *[3 * SHARE] * 3]  # a full buffer, and a pipe with twice its size
        assert all(len(data[id_]) <= limit for id_, limit in zip(ids, most, strict=True))
        for id_ in ids:
            sandboxd.end_input(id_)
            fifo.release()
        sums = [end.stdout.split()[0] for end in sandboxd.finish_all(*ids)]
        assert sums == [sha256(each).hexdigest().encode() for each in data.values()]

    def test_input_beyond_the_credit_of_one_is_refused(self, sandboxd: Daemon) -> None:
        first, second = fed(sandboxd, "cat"), beside(sandboxd, "exec sleep 1000")
        sandboxd.send(codec.ExecStdin(second, b"x"))
        sandboxd.expect(codec.Error(second, ErrorCode.OVER_CREDIT, STDIN, 0, 0))
        sandboxd.feed(first, b"x")
        sandboxd.end_input(first)
        assert sandboxd.finish(first).stdout == b"x"

    def test_a_command_that_is_alone_has_1_mib(self, sandboxd: Daemon) -> None:
        for _ in range(2):
            id_ = sandboxd.sh("cat", fed=True)
            assert sandboxd.wait_credit() > 1 << 19
            sandboxd.end_input(id_)
            sandboxd.finish(id_)
            other = fed(sandboxd, "cat")
            sandboxd.end_input(other)
            sandboxd.finish(other)


def floods(sandboxd: Daemon, count: int) -> list[int]:
    """Start commands that write as much as they can to both streams, but have no credit."""
    return [beside(sandboxd, "yes & exec yes >&2", credit=0) for _ in range(count)]


def wait_for_output(sandboxd: Daemon, streams: int) -> None:
    """Wait until this number of streams has at least one frame of output in their pipes."""
    assert sandboxd.sync() == []
    eventually(lambda: sum(size > FRAME for size in held(sandboxd.pid).values()) == streams)


def held(pid: int) -> dict[str, int]:
    """Return the number of bytes in each pipe of a process."""
    sizes = {}
    for number, target in open_files(pid).items():
        if target.startswith("pipe:"):
            fd = os.open(f"/proc/{pid}/fd/{number}", os.O_RDONLY | os.O_NONBLOCK)
            size = array("i", [0])
            fcntl.ioctl(fd, termios.FIONREAD, size)
            os.close(fd)
            sizes[target] = size[0]
    return sizes


def credit(id_: int, size: int) -> list[codec.ExecCredit]:
    """Return messages that give a command credit of `size` bytes for each output stream."""
    return [codec.ExecCredit(id_, stream, size) for stream in Stream]


def receive_output(sandboxd: Daemon, count: int) -> list[codec.ExecOutput]:
    """Receive this number of frames, all of which contain output."""
    received = []
    for _ in range(count):
        before, output = sandboxd.receive_until(codec.ExecOutput)
        assert before == []
        received.append(output)
    return received


class TestTurns:
    """Tests that commands with output take turns, so that a flood delays no other command.

    The daemon reads all bytes of one `send` together. So it knows the credit of all commands before
    it sends output.
    """

    def test_floods_alternate(self, sandboxd: Daemon) -> None:
        ids = floods(sandboxd, 4)
        for _ in range(10):
            wait_for_output(sandboxd, 8)
            sandboxd.send(*(message for id_ in ids for message in credit(id_, FRAME)))
            first, second = receive_output(sandboxd, 4), receive_output(sandboxd, 4)
            assert {message.id for message in first} == {*ids}
            for one, other in zip(first, second, strict=True):
                assert one.id == other.id
                assert one.stream is not other.stream

    @pytest.mark.parametrize("place", [0, 1])
    def test_flood_delays_output_by_at_most_one_frame(self, sandboxd: Daemon, place: int) -> None:
        ids = floods(sandboxd, 2)
        flood, other = ids[place], ids[1 - place]
        for _ in range(10):
            wait_for_output(sandboxd, 4)
            sandboxd.send(*credit(flood, 5 * FRAME), codec.ExecCredit(other, Stream.STDOUT, 1))
            messages = receive_output(sandboxd, 2)
            assert other in [message.id for message in messages]
            left = 10 * FRAME + 1 - sum(len(message.data) for message in messages)
            assert len(sandboxd.read(left)) == left

    def test_frames_without_output_precede_the_next_output(self, sandboxd: Daemon) -> None:
        ids = floods(sandboxd, 2)
        for token in range(10):
            wait_for_output(sandboxd, 4)
            sandboxd.send(*credit(ids[0], 1), *credit(ids[1], 1), codec.Ping(token))
            sandboxd.expect(codec.Pong(token))
            receive_output(sandboxd, 4)

    @pytest.mark.thorough
    def test_flood_does_not_delay_the_end_of_a_terminal(self, sandboxd: Daemon) -> None:
        beside(sandboxd, "yes & exec yes >&2")
        id_ = beside(sandboxd, "echo out", size=(24, 80))
        output = b""
        while not isinstance(message := sandboxd.receive(), codec.ExecResponse):
            if isinstance(message, codec.ExecOutput) and message.id == id_:
                output += message.data
        assert (message.id, output) == (id_, b"out\r\n")
