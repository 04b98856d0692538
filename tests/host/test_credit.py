"""Tests of flow control: how many bytes of a command's output and input may be sent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.options import exec_options
from tests.support.peer import PIECE
from tests.support.sessions import (
    ask,
    hear,
    idle,
    request,
    requested,
    running,
    said,
    several,
)

from microvm.errors import ProtocolError, UsageError
from microvm.guest.request import request_of
from microvm.wire import codec
from microvm.wire.codec import Ending, ErrorCode, Stream
from microvm.wire.session import WINDOW


def test_the_guest_may_fill_the_window_of_both_streams() -> None:
    session = requested()
    for stream in Stream:
        full = [codec.ExecOutput(1, stream, bytes(PIECE))] * (WINDOW // PIECE)
        assert len(hear(session, *full)) == WINDOW // PIECE


@pytest.mark.parametrize("stream", Stream)
def test_a_byte_beyond_the_credit_is_an_error(stream: Stream) -> None:
    session = requested()
    hear(session, *[codec.ExecOutput(1, stream, bytes(PIECE))] * (WINDOW // PIECE))
    with pytest.raises(ProtocolError, match="ExecOutput, which is not allowed now"):
        hear(session, codec.ExecOutput(1, stream, b"x"))


def test_a_frame_that_is_only_partly_paid_for_is_an_error() -> None:
    session = running()
    hear(session, *[codec.ExecOutput(1, Stream.STDOUT, bytes(PIECE - 1))] * (WINDOW // PIECE))
    left = WINDOW // PIECE
    with pytest.raises(ProtocolError):
        hear(session, codec.ExecOutput(1, Stream.STDOUT, bytes(left + 1)))


def test_each_command_starts_with_a_full_window() -> None:
    session = requested()
    full = [codec.ExecOutput(1, Stream.STDOUT, bytes(PIECE))] * (WINDOW // PIECE)
    hear(session, *full, codec.ExecResponse(1, Ending.EXITED, 0))
    request(session)
    again = codec.ExecOutput(2, Stream.STDOUT, b"x")
    assert hear(session, again) == [again]


def test_pending_credit_ends_with_its_command() -> None:
    session = running()
    session.last.consumed(Stream.STDOUT, WINDOW // 2 - 1)
    hear(session, codec.ExecResponse(1, Ending.EXITED, 0))
    request(session)
    assert session.last.consumed(Stream.STDOUT, 1) == b""


def test_credit_is_given_in_large_pieces() -> None:
    session = running()
    half = WINDOW // 2
    assert session.last.consumed(Stream.STDOUT, half - 1) == b""
    assert said(session.last.consumed(Stream.STDOUT, 1)) == [
        codec.ExecCredit(1, Stream.STDOUT, half)
    ]
    assert session.last.consumed(Stream.STDOUT, 1) == b""


def test_each_stream_is_paid_for_alone() -> None:
    session = running()
    assert session.last.consumed(Stream.STDOUT, WINDOW // 2 - 1) == b""
    assert session.last.consumed(Stream.STDERR, WINDOW // 2 - 1) == b""


@given(data=st.data(), size=st.integers(1, 4 * WINDOW))
@settings(max_examples=25, deadline=None)
def test_random_reads_keep_credit_within_the_window(data: st.DataObject, size: int) -> None:
    session = requested()
    reads = st.integers(1, WINDOW) | st.sampled_from([1, WINDOW // 2 - 1, WINDOW // 2, WINDOW])
    left, unread, credit = size, 0, WINDOW
    while left or unread:
        if left and credit and (not unread or data.draw(st.booleans())):
            piece = min(left, credit, PIECE)
            # The host may delay new credit after reads, but never so long that the guest must stop.
            assert hear(session, codec.ExecOutput(1, Stream.STDOUT, bytes(piece)))
            left, unread, credit = left - piece, unread + piece, credit - piece
        else:
            taken = min(unread, data.draw(reads))
            assert taken, "the guest waits for credit, and the reader for output"
            unread -= taken
            for message in said(session.last.consumed(Stream.STDOUT, taken)):
                assert isinstance(message, codec.ExecCredit)
                assert message.amount >= WINDOW // 2
                credit += message.amount
        assert unread + credit <= WINDOW


@pytest.mark.parametrize("stream", Stream)
def test_no_command_has_the_credit_of_another(stream: Stream) -> None:
    session = several(True, True, commands=2)
    first, second = session.running.values()
    hear(session, *[codec.ExecOutput(2, stream, bytes(PIECE))] * (WINDOW // 2 // PIECE))
    hear(session, *[codec.ExecOutput(1, stream, bytes(PIECE))] * (WINDOW // PIECE))
    assert said(second.consumed(stream, WINDOW // 2)) == [codec.ExecCredit(2, stream, WINDOW // 2)]
    assert first.consumed(stream, WINDOW // 2) == b""
    assert hear(session, codec.ExecOutput(1, Stream(3 - stream), b"x"))
    with pytest.raises(ProtocolError, match="ExecOutput, which is not allowed now"):
        hear(session, codec.ExecOutput(1, stream, b"x"))


def test_a_command_that_is_alone_has_all_credit() -> None:
    session = several()
    assert ask(session, beside=False).stdout_credit == WINDOW


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_commands_beside_each_other_share_the_window(data: st.DataObject) -> None:
    session = idle()
    session.commands = codec.MAX_COMMANDS
    wanted = replace(request_of([b"true"], exec_options())[0], beside=True)
    unpaid: dict[int, int] = {}  # by id: the credit plus the unread output
    for _ in range(data.draw(st.integers(1, 200))):
        act = data.draw(st.sampled_from(["begin", "begin", "read", "end"]))
        if act == "begin" and len(unpaid) < codec.MAX_COMMANDS:
            conversation, frame = session.exec_request(wanted)
            (sent,) = said(frame)
            assert isinstance(sent, codec.ExecRequest)
            unpaid[conversation.id] = sent.stdout_credit
            assert sent.stdout_credit == WINDOW // min(len(unpaid), 4)
        elif act == "end" and unpaid:
            id_ = data.draw(st.sampled_from(list(unpaid)))
            hear(session, codec.ExecResponse(id_, Ending.EXITED, 0))
            del unpaid[id_]
        elif act == "read" and unpaid:
            id_ = data.draw(st.sampled_from(list(unpaid)))
            taken = data.draw(st.integers(unpaid[id_] // 2, unpaid[id_]))
            unpaid[id_] -= taken
            for message in said(session.running[id_].consumed(Stream.STDOUT, taken)):
                assert isinstance(message, codec.ExecCredit)
                unpaid[id_] += message.amount
                assert unpaid[id_] == WINDOW // min(len(unpaid), 4)
            assert unpaid[id_] > 0
        assert sum(unpaid.values()) < 18 * WINDOW


# -- Input --------------------------------------------------------------------------------------


def test_there_is_no_credit_for_input_at_first() -> None:
    session = running()
    assert session.last.stdin_credit == 0
    with pytest.raises(UsageError, match="1 bytes are more than the credit of 0"):
        session.last.stdin(b"x")


def test_input_is_paid_for_in_any_pieces() -> None:
    session = running()
    hear(session, codec.ExecStdinCredit(1, 3), codec.ExecStdinCredit(1, 2))
    assert session.last.stdin_credit == 5
    assert said(b"".join(session.last.stdin(b"ab"))) == [codec.ExecStdin(1, b"ab")]
    assert said(b"".join(session.last.stdin(memoryview(b"c")))) == [codec.ExecStdin(1, b"c")]
    assert session.last.stdin_credit == 2
    with pytest.raises(UsageError):
        session.last.stdin(b"def")
    assert session.last.stdin_credit == 2
    assert said(b"".join(session.last.stdin(b"de"))) == [codec.ExecStdin(1, b"de")]
    assert said(b"".join(session.last.stdin(b""))) == [codec.ExecStdin(1, b"")]


def test_credit_beyond_1_mib_is_lost() -> None:
    session = running()
    hear(session, *[codec.ExecStdinCredit(1, (1 << 20) - 1)] * 2)
    assert session.last.stdin_credit == 1 << 20


def test_a_command_that_takes_no_more_has_no_credit() -> None:
    session = running()
    hear(session, codec.ExecStdinCredit(1, 5), codec.ExecStdinClosed(1))
    assert session.last.stdin_credit == 0
    with pytest.raises(UsageError):
        session.last.stdin(b"x")
    assert said(b"".join(session.last.stdin(b""))) == [codec.ExecStdin(1, b"")]


def test_credit_for_input_ends_with_its_command() -> None:
    session = running()
    hear(session, codec.ExecStdinCredit(1, 5), codec.ExecResponse(1, Ending.EXITED, 0))
    assert session.last.stdin(b"x") == ()
    request(session)
    assert session.last.stdin_credit == 0


def test_an_over_credit_from_the_guest_is_the_end() -> None:
    session = running()
    with pytest.raises(ProtocolError, match="over_credit"):
        hear(session, codec.Error(1, ErrorCode.OVER_CREDIT, codec.ExecStdin.TYPE, 0, 0))
    assert session.failed
