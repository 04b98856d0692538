"""Tests that the trace of a daemon accepts its correct messages, and rejects wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from fuzz.model.traces import TraceModel
from tests.support.daemon import hello, request
from tests.support.recording import recordings
from tests.support.trace import DaemonTrace, OutOfOrder

from microvm.wire import codec
from microvm.wire.codec import ErrorCode, Fault

READY = codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, 7)
RUN = request(1, b"true")
ENDED = codec.ExecResponse(1, codec.Ending.EXITED, 0)
BROKEN = codec.Ping(1).encode()[:4] + b"\xff" * 8


def refused(code: Fault | ErrorCode, id_: int = 0) -> codec.Error:
    return codec.Error(id_, ErrorCode(code), 0, 0, 0)


def follow(*messages: codec.Message | bytes) -> DaemonTrace:
    """Return the trace of a session: bytes and messages of the host, and messages of the guest."""
    trace = DaemonTrace()
    for each in (hello(7), READY, *messages):
        if isinstance(each, bytes):
            trace.sent(each)
        elif isinstance(each, _HOST):
            trace.sent(each.encode())
        else:
            trace.received(each)
    return trace


_HOST = (
    codec.Ping
    | codec.Keep
    | codec.Shutdown
    | codec.ExecRequest
    | codec.ExecKill
    | codec.ExecStdin
    | codec.ExecCredit
)
PING, PONG = codec.Ping(1), codec.Pong(1)
OUTPUT = codec.ExecOutput(1, codec.Stream.STDOUT, b"x")
MORE = codec.ExecCredit(1, codec.Stream.STDOUT, 1)
BUSY = refused(ErrorCode.BUSY)
SECOND, OVER = request(2, b"true"), replace(ENDED, id=2)
CREDIT, INPUT = codec.ExecStdinCredit(1, 5), codec.ExecStdin(1, b"12345")

CORRECT: dict[str, Sequence[codec.Message | bytes]] = {
    "requests wait while a command ends": [RUN, PING, PING, OUTPUT, PONG, ENDED, PONG],
    "a kill may arrive too late": [RUN, codec.ExecKill(1), ENDED, PING, PONG],
    "a keep may arrive in time or not": [RUN, codec.Keep(), BUSY, ENDED, codec.Keep(), PING, PONG],
    "a keep behind the end": [RUN, codec.Keep(), ENDED, PING, PONG],
    "credit for output": [replace(RUN, stdout_credit=1), OUTPUT, MORE, OUTPUT, ENDED, MORE],
    "credit that may arrive late": [replace(RUN, stdout_credit=1), MORE, OUTPUT, ENDED, PING, PONG],
    "input and its credit": [RUN, CREDIT, INPUT, CREDIT, INPUT, ENDED, INPUT, PING, PONG],
    "a malformed frame": [RUN, BROKEN, OUTPUT, refused(Fault.UNKNOWN_TYPE, 0xFFFFFFFF), ENDED],
    "a search": [BROKEN, PING, refused(Fault.UNKNOWN_TYPE, 0xFFFFFFFF), hello(7), READY],
    "an old id, which is ignored": [SECOND, OVER, codec.ExecKill(1), PING, PONG],
    "an old id after a shutdown, which may be refused": [
        *(SECOND, OVER, codec.Shutdown(), codec.ExecKill(1)),
        refused(ErrorCode.STALE_ID, 1),
    ],
    "a session that has ended": [RUN, hello(7), OUTPUT, READY, RUN, OUTPUT],
}
WRONG: dict[str, Sequence[codec.Message | bytes]] = {
    "answer without a request": [PING, PONG, PONG],
    "two responses": [RUN, ENDED, ENDED],
    "output after the response": [RUN, ENDED, OUTPUT],
    "message of a command that was not requested": [OUTPUT],
    "output of the session before": [RUN, hello(7), READY, OUTPUT],
    "nonce of another hello": [hello(8), READY],
    "answer to another ping": [PING, codec.Pong(2)],
    "refusal of a correct message": [PING, BUSY],
    "response to a busy request": [RUN, request(2, b"true"), replace(ENDED, id=2)],
    "forgotten refusal": [codec.ExecKill(2), PING, PONG],
    "refusal of input": [RUN, CREDIT, INPUT, refused(ErrorCode.OVER_CREDIT, 1)],
    "forgotten refusal of input": [RUN, CREDIT, INPUT, INPUT, PING, PONG],
    "refusal of another id": [codec.ExecKill(2), refused(ErrorCode.UNKNOWN_ID, 3)],
    "forgotten answer": [PING, RUN, ENDED],
    "output beyond its credit": [replace(RUN, stdout_credit=1), OUTPUT, OUTPUT],
    "output beyond more credit": [replace(RUN, stdout_credit=1), MORE, OUTPUT, OUTPUT, OUTPUT],
    "fault of a frame that is not malformed": [PING, refused(Fault.UNKNOWN_TYPE)],
    "refusal of an old id": [SECOND, OVER, codec.ExecKill(1), refused(ErrorCode.STALE_ID, 1)],
    "answer while it searches": [BROKEN, PING, refused(Fault.UNKNOWN_TYPE, 0xFFFFFFFF), PONG],
}


BEYOND = {
    "answer to another ping",
    "forgotten refusal",
    "forgotten refusal of input",
    "refusal of another id",
    "refusal of an old id",
}
"""The wrong conversations that the model does not reject. The model has no tokens, and its host
sends no message out of order, so the guest has nothing to refuse."""


@pytest.mark.parametrize("messages", CORRECT.values(), ids=CORRECT)
def test_correct_messages_are_accepted(messages: Sequence[codec.Message | bytes]) -> None:
    follow(*messages)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_messages_are_rejected(name: str, trace_model: TraceModel) -> None:
    follow(*WRONG[name][:-1])
    with recordings() as recorded, pytest.raises(OutOfOrder):
        follow(*WRONG[name])
    assert bool(trace_model.search(recorded).rejected) is (name not in BEYOND)


def test_credit_before_a_flood_leaves_few_possible_states() -> None:
    most = (1 << 32) - 1  # any credit beyond it is lost
    credit = [codec.ExecCredit(1, stream, most) for stream in codec.Stream]
    trace = follow(RUN, OUTPUT, *credit, PING, *[OUTPUT] * 500)
    assert len(trace.states) <= len([*credit, PING]) + 1


SILENT: dict[str, Sequence[codec.Message | bytes]] = {
    "an answered ping": [PING, PONG],
    "a command that runs": [PING, RUN, PONG],
    "a kill that arrives too late": [RUN, ENDED, codec.ExecKill(1)],
    "a ping while the daemon searches": [BROKEN, refused(Fault.UNKNOWN_TYPE, 0xFFFFFFFF), PING],
    "a shutdown": [codec.Shutdown(), codec.Goodbye(codec.GoodbyeReason.SHUTDOWN)],
}
UNANSWERED: dict[str, Sequence[codec.Message | bytes]] = {
    "a ping": [PING],
    "a second ping": [PING, PING, PONG],
    "a ping while a command runs": [RUN, PING, OUTPUT],
    "a hello": [hello(8)],
    "a malformed frame": [BROKEN],
    "a kill of an unknown command": [codec.ExecKill(2)],
}


@pytest.mark.parametrize("messages", SILENT.values(), ids=SILENT)
def test_silence_is_accepted_after_all_answers(messages: Sequence[codec.Message | bytes]) -> None:
    follow(*messages).fell_silent()


@pytest.mark.parametrize("messages", UNANSWERED.values(), ids=UNANSWERED)
def test_silence_is_rejected_before_an_answer(messages: Sequence[codec.Message | bytes]) -> None:
    trace = follow(*messages)
    with pytest.raises(OutOfOrder, match="silence is out of order"):
        trace.fell_silent()
