"""Tests of flow control: how many bytes of a command's output and input may be sent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.options import exec_options
from tests.support.peer import PIECE
from tests.support.sessions import (
    hear,
    idle,
    requested,
    running,
    said,
    several,
)

from microvm.errors import ProtocolError, UsageError
from microvm.guest.request import request_of
from microvm.wire import codec
from microvm.wire.codec import Ending, Stream
from microvm.wire.session import WINDOW


@pytest.mark.parametrize("stream", Stream)
def test_a_byte_beyond_the_credit_is_an_error(stream: Stream) -> None:
    session = requested()
    hear(session, *[codec.ExecOutput(1, stream, bytes(PIECE))] * (WINDOW // PIECE))
    with pytest.raises(ProtocolError, match="ExecOutput, which is not allowed now"):
        hear(session, codec.ExecOutput(1, stream, b"x"))


def test_credit_is_given_in_large_pieces() -> None:
    session = running()
    half = WINDOW // 2
    assert session.last.consumed(Stream.STDOUT, half - 1) == b""
    assert said(session.last.consumed(Stream.STDOUT, 1)) == [
        codec.ExecCredit(1, Stream.STDOUT, half)
    ]
    assert session.last.consumed(Stream.STDOUT, 1) == b""


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
