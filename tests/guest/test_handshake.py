"""Tests of the hello that starts a session."""

from __future__ import annotations

import pytest
from tests.support.daemon import Daemon, hello, request
from tests.support.processes import exists

from microvm.wire import codec

HELLO_START = hello(0)[:20]  # the header and the magic


def ready(nonce: int) -> codec.Ready:
    return codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce)


def test_ready_has_version_digest_and_limit(daemon_process: Daemon) -> None:
    assert daemon_process.hello(0x1122334455667788) == ready(0x1122334455667788)


def test_a_hello_comes_in_any_two_pieces(daemon_process: Daemon) -> None:
    for cut in range(1, len(hello(0))):
        data = hello(cut)
        daemon_process.send_each(data[:cut], data[cut:])
        _, answer = daemon_process.receive_until(codec.Ready)
        assert answer.nonce == cut


@pytest.mark.parametrize(
    "garbage",
    [
        b"x",
        b"garbage" * 100,
        bytes(1000),
        b" " * 1000,
        bytes(range(256)),
        codec.Ping(1).encode(),
        request(1, b"true").encode(),
        b"\xff" * 300_000,
        b"\xff" * 3_000_000,
    ],
    ids=lambda garbage: f"{len(garbage)}-{garbage[:2].hex()}",
)
def test_bytes_before_the_first_hello_are_dropped(daemon_process: Daemon, garbage: bytes) -> None:
    daemon_process.send(garbage)
    daemon_process.hello()
    status = daemon_process.status()
    assert (status.bytes_dropped, status.frames_seen) == (len(garbage), 2)
    assert status.frames_refused == 0


@pytest.mark.parametrize("length", range(1, len(HELLO_START)))
def test_beginning_of_a_hello_is_not_answered(daemon_process: Daemon, length: int) -> None:
    daemon_process.send(HELLO_START[:length])
    daemon_process.hello()
    assert daemon_process.status().bytes_dropped == length


@pytest.mark.parametrize("at", range(len(HELLO_START)))
def test_hello_with_one_wrong_byte_is_not_answered(daemon_process: Daemon, at: int) -> None:
    wrong = bytearray(hello(9))
    wrong[at] ^= 0x80
    daemon_process.send(bytes(wrong))
    daemon_process.hello()
    assert daemon_process.status().bytes_dropped == len(wrong)


def test_hello_in_dropped_bytes_is_recognized_by_its_nonce(daemon_process: Daemon) -> None:
    daemon_process.send(b"garbage", hello(666), b"garbage", hello(1))
    daemon_process.expect(ready(666))
    before, answer = daemon_process.receive_until(codec.Ready)
    assert [type(message) for message in before] == [codec.Error]
    assert answer.nonce == 1


@pytest.mark.parametrize("version", [0, 2, 0xFFFFFFFF])
def test_host_of_another_version_is_answered(daemon_process: Daemon, version: int) -> None:
    daemon_process.send(codec.Hello(version, 0, 0, 5))
    daemon_process.expect(ready(5))


def test_frames_behind_a_hello_in_one_piece_are_answered(daemon_process: Daemon) -> None:
    daemon_process.send(hello(1), codec.Ping(2))
    daemon_process.expect(ready(1), codec.Pong(2))


def test_every_hello_of_many_is_answered(daemon_process: Daemon) -> None:
    nonces = range(1000)  # as many as it reads before its first answer
    daemon_process.send(*map(hello, nonces))
    for nonce in nonces:
        daemon_process.expect(ready(nonce))


def test_hello_kills_the_running_command_before_the_answer(sandboxd: Daemon) -> None:
    before = sandboxd.status()
    pid = sandboxd.sleeper()
    sandboxd.hello(2)
    assert not exists(pid)
    assert sandboxd.status().descriptors == before.descriptors


def test_hello_kills_a_stopped_command(sandboxd: Daemon) -> None:
    pid = sandboxd.sleeper()
    sandboxd.send(codec.ExecSignal(1, 19))
    sandboxd.hello(2)
    assert not exists(pid)


def test_frames_behind_a_hello_that_kills_are_answered(sandboxd: Daemon) -> None:
    pid = sandboxd.sleeper()
    sandboxd.send(hello(2), codec.Ping(3))
    assert isinstance(sandboxd.receive(), codec.Ready)
    assert not exists(pid)
    sandboxd.expect(codec.Pong(3))


def test_resume_is_ignored_outside_a_machine(sandboxd: Daemon) -> None:
    sandboxd.send(codec.Resume(0, bytes(64)), codec.Resume(0, b""))
    assert sandboxd.sync() == []
