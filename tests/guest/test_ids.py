"""Tests of the ids of commands in messages."""

from __future__ import annotations

import pytest
from tests.support.daemon import Daemon, request
from tests.support.fifo import Fifo

from microvm.wire import codec
from microvm.wire.codec import ErrorCode

EXEC, KILL = 16, 21

MESSAGES = [
    codec.ExecSignal(1, 15),
    codec.ExecKill(1),
    codec.ExecTerminate(1),
    codec.ExecCredit(1, codec.Stream.STDOUT, 1),
]
"""Messages about the first command of a session."""


def test_a_request_that_cannot_start_is_busy_too(sandboxd: Daemon) -> None:
    sandboxd.sleeper()
    sandboxd.send(request(2, b"nonexistent"))
    sandboxd.expect(codec.Error(2, ErrorCode.BUSY, EXEC, 0, 0))


@pytest.mark.parametrize("id_", [1, 4, 5])
def test_id_that_is_not_higher_is_stale(sandboxd: Daemon, id_: int) -> None:
    sandboxd.send(request(5, b"true"))
    sandboxd.finish(5)
    sandboxd.send(request(id_, b"true"))
    sandboxd.expect(codec.Error(id_, ErrorCode.STALE_ID, EXEC, 0, 0))


def test_id_of_a_failed_start_cannot_be_used_again(sandboxd: Daemon) -> None:
    sandboxd.run(b"nonexistent")
    sandboxd.send(request(1, b"true"))
    sandboxd.expect(codec.Error(1, ErrorCode.STALE_ID, EXEC, 0, 0))


def test_the_highest_id_is_the_last_of_a_session(sandboxd: Daemon) -> None:
    highest = 0xFFFFFFFF
    sandboxd.send(request(highest, b"true"))
    assert sandboxd.finish(highest).exit_code == 0
    sandboxd.send(request(highest, b"true"))
    sandboxd.expect(codec.Error(highest, ErrorCode.STALE_ID, EXEC, 0, 0))
    sandboxd.hello(2)
    assert sandboxd.run(b"true").exit_code == 0


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_message_about_a_finished_command_is_ignored(
    sandboxd: Daemon, fifo: Fifo, message: codec.Message
) -> None:
    """It changes neither the state of the daemon nor the next command."""
    sandboxd.run(b"true")
    sandboxd.send(message)
    assert sandboxd.sync() == []
    id_ = sandboxd.sh(f"read x <{fifo}; echo out", credit=0)
    sandboxd.send(message)
    fifo.release()
    assert sandboxd.sync() == []
    sandboxd.send(codec.ExecCredit(id_, codec.Stream.STDOUT, 4))
    result = sandboxd.finish(id_)
    assert (result.stdout, result.exit_code) == (b"out\n", 0)


def test_session_continues_after_a_refused_frame(sandboxd: Daemon) -> None:
    sandboxd.send(codec.ExecKill(1), codec.Ping(4), codec.ExecKill(2), codec.Ping(5))
    sandboxd.expect(
        codec.Error(1, ErrorCode.UNKNOWN_ID, KILL, 0, 0),
        codec.Pong(4),
        codec.Error(2, ErrorCode.UNKNOWN_ID, KILL, 0, 0),
        codec.Pong(5),
    )
