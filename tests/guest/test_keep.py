"""Tests of processes that survive a hello which keeps them, and no other hello."""

from __future__ import annotations

import pytest
from tests.support.daemon import Daemon
from tests.support.fifo import Fifo

from microvm.wire import codec
from microvm.wire.codec import ErrorCode


def leave(daemon: Daemon, fifo: Fifo, answer: Fifo) -> None:
    """Leave a process that on request writes to its output, and reports the result."""
    script = f"(trap '' PIPE; read x <{fifo}; echo lost; echo $? >{answer}) 2>/dev/null &"
    assert daemon.run_sh(script).exit_code == 0


@pytest.mark.parametrize("event", ["hello", "command", "resume"])
def test_keep_is_valid_until_the_next_event(
    sandboxd: Daemon, fifo: Fifo, answer: Fifo, event: str
) -> None:
    leave(sandboxd, fifo, answer)
    sandboxd.send(codec.Keep(), codec.Keep())
    if event == "hello":
        sandboxd.hello(3)
    elif event == "command":
        sandboxd.run(b"nonexistent")
    else:
        sandboxd.send(codec.Resume(0, b""))
    sandboxd.hello(2)
    fifo.release()
    assert answer.wait() == b"1\n"


def test_kept_session_starts_with_new_ids_and_version(sandboxd: Daemon) -> None:
    sandboxd.run(b"true")
    sandboxd.send(codec.Keep(), codec.Hello(1, codec.DIGESTS[1], 0, 7))
    assert isinstance(sandboxd.receive(), codec.Ready)
    sandboxd.send(codec.Keep())
    error = sandboxd.receive()
    assert isinstance(error, codec.Error)
    assert error.code is ErrorCode.UNKNOWN_TYPE
    sandboxd.hello(3)
    assert sandboxd.run(b"true").exit_code == 0  # this command has the id 1
