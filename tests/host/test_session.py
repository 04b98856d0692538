"""Tests of the session without I/O: the messages that it sends and accepts in each state."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from tests.support.sessions import (
    NOW,
    OUTPUT,
    READY,
    TOKEN,
    greeting,
    hear,
    idle,
    new,
    request,
    running,
    said,
)

from microvm.errors import BUILD_AGAIN, ProtocolError, UsageError, VersionMismatch
from microvm.wire import codec
from microvm.wire.codec import Ending, ErrorCode
from microvm.wire.session import Session
from microvm.wire.state import SessionState


def test_frames_of_an_older_session_are_dropped_in_parts() -> None:
    session = greeting()
    older = codec.Pong(TOKEN).encode() * 10_000
    session.receive_data(older + READY.encode())
    parts = 0
    while (event := session.next_event()) is None:
        assert session.is_behind
        parts += 1
    assert isinstance(event, codec.Ready)
    assert parts >= 100
    assert session.next_event() is None
    assert not session.is_behind


@pytest.mark.parametrize("signal", [0, 65, 255])
def test_a_signal_that_there_is_not_ends_no_command(signal: int) -> None:
    session = running()
    with pytest.raises(ProtocolError):
        hear(session, codec.ExecResponse(1, Ending.SIGNALLED, signal))


# -- The handshake ------------------------------------------------------------------------------


def test_hello_contains_our_version_and_digest() -> None:
    (hello,) = said(new().hello())
    assert isinstance(hello, codec.Hello)
    spoken = (codec.VERSION, codec.DIGEST, codec.MAX_BODY)
    assert (hello.version, hello.digest, hello.max_body) == spoken


def test_every_hello_has_a_fresh_nonce() -> None:
    session = Session()
    assert len({said(session.hello())[0] for _ in range(20)}) == 20


def test_frames_of_an_older_session_are_dropped_until_our_ready() -> None:
    session = greeting()
    older: list[codec.Message] = [
        OUTPUT,
        codec.ExecResponse(9, Ending.EXITED, 0),
        codec.Error(3, ErrorCode.BUSY, 16, 0, 0),
        replace(READY, nonce=1, version=99),
        codec.Pong(3),
    ]
    assert hear(session, *older, READY) == [READY]
    assert session.state is SessionState.READY


def test_a_malformed_frame_of_an_older_session_is_an_error() -> None:
    session = greeting()
    session.receive_data(bytes(12))
    with pytest.raises(ProtocolError, match="malformed frame: unknown_type at offset 4"):
        session.next_event()


@pytest.mark.parametrize(
    ("version", "digest", "said"),
    [
        (0, codec.DIGEST, "an older version, of another schema"),
        (codec.VERSION, 0xAB, "the same version, of another schema"),
    ],
    ids=["older", "equal"],
)
def test_guest_of_another_schema_is_refused_with_both(version: int, digest: int, said: str) -> None:
    session = greeting()
    with pytest.raises(VersionMismatch) as caught:
        hear(session, replace(READY, version=version, digest=digest))
    assert str(caught.value) == (
        f"the host speaks version {codec.VERSION} of the protocol, schema {codec.DIGEST:016x}; "
        f"the guest speaks version {version}, schema {digest:016x}: {said} ({BUILD_AGAIN})"
    )
    assert caught.value.host == (codec.VERSION, codec.DIGEST)
    assert caught.value.guest == (version, digest)
    assert session.failed


def test_with_a_newer_guest_it_speaks_its_own_version() -> None:
    session = greeting()
    right = replace(READY, version=codec.VERSION + 1, digest=0xAB)
    assert hear(session, right) == [right]
    assert session.state is SessionState.READY
    assert said(session.ping(TOKEN)) == [codec.Ping(TOKEN)]


def test_keep_needs_a_guest_of_a_newer_version() -> None:
    session = greeting()
    hear(session, replace(READY, version=1, digest=codec.DIGESTS[1]))
    with pytest.raises(UsageError, match=r"speaks version 1 .*microvm image build"):
        session.keep()
    assert said(session.ping(TOKEN)) == [codec.Ping(TOKEN)]


def test_resume_tells_the_time_and_entropy() -> None:
    assert said(idle().resume()) == [codec.Resume(NOW, b"\7" * 64)]


def test_entropy_and_time_are_the_systems_own_by_default() -> None:
    session = Session()
    (hello,) = said(session.hello())
    assert isinstance(hello, codec.Hello)
    hear(session, replace(READY, nonce=hello.nonce))
    before = time.time_ns()
    (first,), (second,) = said(session.resume()), said(session.resume())
    assert isinstance(first, codec.Resume)
    assert isinstance(second, codec.Resume)
    assert before <= first.realtime_ns <= second.realtime_ns <= time.time_ns()
    assert first.entropy != second.entropy


def test_hello_while_a_command_runs_starts_afresh() -> None:
    session = running()
    session.hello()
    assert hear(session, OUTPUT, READY) == [READY]
    (message,) = said(request(session))
    assert isinstance(message, codec.ExecRequest)
    assert message.id == 1


# -- Pings and counters -------------------------------------------------------------------------


# -- Failure ------------------------------------------------------------------------------------


def test_protocol_error_names_the_refused_frame() -> None:
    said = "refused a frame of type 20: unknown_value at offset 12"
    with pytest.raises(ProtocolError, match=said):
        hear(running(), codec.Error(1, ErrorCode.UNKNOWN_VALUE, 20, 12, 1))
    with pytest.raises(ProtocolError, match="refused a frame of type 20: 999 at offset 0"):
        hear(running(), codec.Error(1, 999, 20, 0, 0))  # of a newer guest
