"""Tests of the session without I/O: the messages that it sends and accepts in each state."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from subprocess import PIPE, STDOUT
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.options import exec_options

from microvm.errors import BUILD_AGAIN, Busy, GuestDied, ProtocolError, UsageError, VersionMismatch
from microvm.guest.request import request_of
from microvm.options import ExecOptions
from microvm.wire import codec
from microvm.wire.codec import Ending, ErrorCode, GoodbyeReason, Stage, Stream
from microvm.wire.session import WINDOW, Session
from microvm.wire.state import CommandState, SessionState

TOKEN = 7
NOW = 1_700_000_000_000_000_000
NONCE = 0x0707070707070707
OUTPUT = codec.ExecOutput(1, Stream.STDOUT, b"x")
STATUS = codec.Status(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
RESPONSE = codec.ExecResponse(1, Ending.EXITED, 0)
GOODBYE = codec.Goodbye(GoodbyeReason.SHUTDOWN)
READY = codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, NONCE)
"""The answer to the `hello` of a session with known entropy."""


def said(data: bytes) -> list[codec.Message]:
    """Return the messages in these bytes of the host, as a guest decodes them."""
    decoder = codec.Decoder("host")
    decoder.receive_data(data)
    messages = []
    while (message := decoder.next_message()) is not None:
        messages.append(message)
    return messages


def hear(session: Session, *messages: codec.Message) -> list[codec.Message]:
    """Return the events of a session after these messages of a guest."""
    session.receive_data(b"".join(message.encode() for message in messages))
    events = []
    while (event := session.next_event()) is not None:
        events.append(event)
    return events


def request(session: Session, *, stdin: bool = True) -> bytes:
    return asked(session, b"true", stdin=PIPE if stdin else None)


def asked(session: Session, *argv: str | bytes, **options: Any) -> bytes:
    """Return the messages of a session that requests a command."""
    wanted, _ = request_of(argv, exec_options(**cast(ExecOptions, options)))
    return session.exec_request(wanted)


def new() -> Session:
    return Session(clock=lambda: NOW, entropy=lambda size: b"\7" * size)


def greeting() -> Session:
    session = new()
    session.hello()
    return session


def idle() -> Session:
    session = greeting()
    hear(session, READY)
    return session


def running() -> Session:
    session = idle()
    request(session)
    hear(session, OUTPUT)
    return session


def failed() -> Session:
    session = running()
    with pytest.raises(ProtocolError):
        hear(session, codec.Pong(TOKEN))
    return session


def requested() -> Session:
    session = idle()
    request(session)
    return session


def ended() -> Session:
    session = running()
    hear(session, RESPONSE)
    return session


def closing() -> Session:
    session = running()
    session.shutdown()
    return session


def finished() -> Session:
    session = idle()
    hear(session, GOODBYE)
    return session


STATES = {
    "new": (new, SessionState.NEW, CommandState.NEW),
    "greeting": (greeting, SessionState.GREETING, CommandState.NEW),
    "idle": (idle, SessionState.READY, CommandState.NEW),
    "requested": (requested, SessionState.READY, CommandState.REQUESTED),
    "running": (running, SessionState.READY, CommandState.RUNNING),
    "ended": (ended, SessionState.READY, CommandState.ENDED),
    "closing": (closing, SessionState.CLOSING, CommandState.RUNNING),
    "finished": (finished, SessionState.FINISHED, CommandState.NEW),
}
"""The sessions of the tests: how each is made, and its states."""

MAKERS = {"failed": failed, **{name: make for name, (make, _, _) in STATES.items()}}


@pytest.mark.parametrize("name", STATES)
def test_a_session_can_be_brought_into_every_state(name: str) -> None:
    make, state, command = STATES[name]
    session = make()
    assert (session.state, session.command) == (state, command)
    assert not session.failed


# -- What the guest says ------------------------------------------------------------------------

OF_COMMAND = {"requested", "running", "closing"}
OF_SESSION = OF_COMMAND | {"idle", "ended"}

# The sessions in which a message is valid. Before the guest is ready, and after a failure, other
# messages are dropped. Otherwise they are errors.
HEARD: dict[str, tuple[codec.Message, set[str]]] = {
    "ready, ours": (READY, {"greeting"}),
    "ready, of another": (replace(READY, nonce=1), set()),
    "output": (OUTPUT, OF_COMMAND),
    "output without data": (codec.ExecOutput(1, Stream.STDOUT, b""), set()),
    "output of another id": (codec.ExecOutput(2, Stream.STDOUT, b"x"), set()),
    "response": (RESPONSE, OF_COMMAND),
    "response of another id": (codec.ExecResponse(2, Ending.EXITED, 0), set()),
    "failure to start": (codec.ExecFailed(1, Stage.LOOKUP, 2), {"requested"}),
    "failure of another id": (codec.ExecFailed(2, Stage.LOOKUP, 2), set()),
    "credit for input": (codec.ExecStdinCredit(1, 5), OF_COMMAND),
    "credit for input of another id": (codec.ExecStdinCredit(2, 5), set()),
    "credit of nothing": (codec.ExecStdinCredit(1, 0), set()),
    "the end of input": (codec.ExecStdinClosed(1), OF_COMMAND),
    "the end of input of another id": (codec.ExecStdinClosed(2), set()),
    "pong that nobody asked for": (codec.Pong(TOKEN), set()),
    "status that nobody asked for": (STATUS, set()),
    "goodbye": (GOODBYE, OF_SESSION),
    "error": (codec.Error(0, ErrorCode.TRUNCATED, 4, 12, 1), set()),
    "busy": (codec.Error(1, ErrorCode.BUSY, codec.ExecRequest.TYPE, 0, 0), set()),
}


@pytest.mark.parametrize("state", MAKERS)
@pytest.mark.parametrize("name", HEARD)
def test_message_is_accepted_dropped_or_refused_by_state(state: str, name: str) -> None:
    session = MAKERS[state]()
    message, states = HEARD[name]
    if state in states:
        assert hear(session, message) == [message]
    elif state in {"new", "greeting", "failed"}:
        assert hear(session, message) == []
    else:
        with pytest.raises(ProtocolError):
            hear(session, message)
        assert session.failed


@pytest.mark.parametrize("message", [codec.ExecStdinCredit(1, 5), codec.ExecStdinClosed(1)])
def test_input_that_nobody_feeds_is_neither_paid_for_nor_ended(message: codec.Message) -> None:
    session = idle()
    request(session, stdin=False)
    with pytest.raises(ProtocolError):
        hear(session, message)


@pytest.mark.parametrize("message", [codec.ExecStdinCredit(1, 5), codec.ExecStdinClosed(1)])
def test_nothing_is_said_of_input_after_its_end(message: codec.Message) -> None:
    session = running()
    hear(session, codec.ExecStdinClosed(1))
    with pytest.raises(ProtocolError):
        hear(session, message)
    session = idle()
    asked(session, b"sh", tty=(24, 80))
    assert hear(session, codec.ExecStdinCredit(1, 5)) == [codec.ExecStdinCredit(1, 5)]


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


# -- What the host says -------------------------------------------------------------------------

Kind = type[codec.Message]
Say = Callable[[Session], bytes]
BETWEEN = {"idle", "ended"}
READY_STATES = {*BETWEEN, "requested", "running"}

# The methods that send a message, and the sessions in which they do. In other sessions they fail,
# but methods of a command send nothing.
SAYS: list[tuple[Kind, Say, set[str]]] = [
    (codec.Hello, Session.hello, {"new", "greeting", *READY_STATES}),
    (codec.Resume, Session.resume, READY_STATES),
    (codec.Ping, lambda session: session.ping(TOKEN), READY_STATES),
    (codec.StatusRequest, Session.status_request, READY_STATES),
    (codec.Shutdown, Session.shutdown, READY_STATES),
    (codec.Keep, Session.keep, BETWEEN),
    (codec.ExecRequest, request, BETWEEN),
]
SAYS_OF_COMMAND: list[tuple[Kind, Say]] = [
    (codec.ExecSignal, lambda session: session.exec_signal(15)),
    (codec.ExecKill, Session.exec_kill),
    (codec.ExecTerminate, Session.exec_terminate),
    (codec.ExecStdin, lambda session: b"".join(session.exec_stdin(b""))),
    (codec.ExecResize, lambda session: session.exec_resize(24, 80)),
    (codec.ExecCredit, lambda session: session.consumed(Stream.STDOUT, WINDOW)),
]


@pytest.mark.parametrize("state", MAKERS)
@pytest.mark.parametrize(("kind", "say", "states"), SAYS)
def test_host_sends_messages_only_in_their_states(
    state: str, kind: Kind, say: Say, states: set[str]
) -> None:
    session = MAKERS[state]()
    if state in states:
        assert [type(message) for message in said(say(session))] == [kind]
    elif state == "finished" and kind not in {codec.Hello, codec.Keep, codec.ExecRequest}:
        assert said(say(session)) == []
    elif state == "finished":
        with pytest.raises(GuestDied):
            say(session)
    else:
        busy = kind in {codec.ExecRequest, codec.Keep} and state in OF_COMMAND
        with pytest.raises(Busy if busy else ProtocolError):
            say(session)


@pytest.mark.parametrize("state", MAKERS)
@pytest.mark.parametrize(("kind", "say"), SAYS_OF_COMMAND)
def test_messages_of_a_command_need_a_command(state: str, kind: Kind, say: Say) -> None:
    messages = said(say(MAKERS[state]()))
    assert [type(message) for message in messages] == [kind] * (state in {"requested", "running"})


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


def test_bytes_before_the_first_hello_are_dropped() -> None:
    session = new()
    session.receive_data(OUTPUT.encode() + OUTPUT.encode()[:5])
    assert session.next_event() is None
    session.hello()
    session.receive_data(OUTPUT.encode()[5:])
    assert hear(session, READY) == [READY]


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


@pytest.mark.parametrize("answer", [codec.Pong(TOKEN), STATUS], ids=["ping", "status"])
def test_hello_forgets_pending_requests(answer: codec.Message) -> None:
    session = idle()
    session.ping(TOKEN)
    session.status_request()
    session.hello()
    hear(session, READY)
    with pytest.raises(ProtocolError):
        hear(session, answer)


# -- Commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [codec.ExecResponse(1, Ending.EXITED, 3), codec.ExecFailed(1, Stage.EXEC, 13)],
    ids=["response", "failure"],
)
def test_a_command_that_has_ended_makes_room_for_the_next_id(end: codec.Message) -> None:
    session = requested()
    assert hear(session, end) == [end]
    assert session.state is SessionState.READY
    (message,) = said(request(session))
    assert isinstance(message, codec.ExecRequest)
    assert message.id == 2


def test_out_of_memory_is_valid_only_with_a_memory_limit() -> None:
    end = codec.ExecResponse(1, Ending.OUT_OF_MEMORY, 9)
    session = idle()
    asked(session, b"a", max_memory=1 << 20)
    assert hear(session, end) == [end]
    with pytest.raises(ProtocolError, match="ExecResponse, which is not allowed now"):
        hear(running(), end)


def test_busy_leaves_the_running_command_alone() -> None:
    session = running()
    with pytest.raises(Busy):
        request(session)
    end = codec.ExecResponse(1, Ending.EXITED, 0)
    assert hear(session, OUTPUT, end) == [OUTPUT, end]


def test_a_signal_is_sent_to_the_command_that_runs() -> None:
    session = running()
    assert said(session.exec_signal(15)) == [codec.ExecSignal(1, 15)]
    assert said(session.exec_kill()) == [codec.ExecKill(1)]


@pytest.mark.parametrize("signal", [-1, 256])
def test_a_signal_that_no_frame_can_carry_is_a_usage_error(signal: int) -> None:
    with pytest.raises(UsageError, match=f"no signal has the number {signal}"):
        running().exec_signal(signal)


def test_nothing_is_said_about_a_command_that_has_ended() -> None:
    session = running()
    hear(session, codec.ExecResponse(1, Ending.EXITED, 0))
    assert session.exec_signal(15) == b""
    assert session.exec_kill() == b""
    assert session.consumed(Stream.STDOUT, WINDOW) == b""


def test_output_after_the_response_is_an_error() -> None:
    session = running()
    with pytest.raises(ProtocolError, match="ExecOutput, which is not allowed now"):
        hear(session, codec.ExecResponse(1, Ending.EXITED, 0), OUTPUT)


# -- Pings and counters -------------------------------------------------------------------------


def test_each_ping_is_answered_once() -> None:
    session = idle()
    session.ping(1)
    session.ping(2)
    answers: list[codec.Message] = [codec.Pong(2), codec.Pong(1)]
    assert hear(session, *answers) == answers
    with pytest.raises(ProtocolError):
        hear(session, codec.Pong(1))


def test_each_status_request_is_answered_once() -> None:
    session = running()
    session.status_request()
    assert hear(session, STATUS) == [STATUS]
    with pytest.raises(ProtocolError):
        hear(session, STATUS)


# -- Failure ------------------------------------------------------------------------------------


def test_protocol_error_names_the_refused_frame() -> None:
    said = "refused a frame of type 20: unknown_value at offset 12"
    with pytest.raises(ProtocolError, match=said):
        hear(running(), codec.Error(1, ErrorCode.UNKNOWN_VALUE, 20, 12, 1))
    with pytest.raises(ProtocolError, match="refused a frame of type 20: 999 at offset 0"):
        hear(running(), codec.Error(1, 999, 20, 0, 0))  # of a newer guest


def test_events_before_a_malformed_frame_are_delivered() -> None:
    session = running()
    session.receive_data(OUTPUT.encode() + bytes(12))
    assert session.next_event() == OUTPUT
    with pytest.raises(ProtocolError, match="malformed frame"):
        session.next_event()
    assert session.failed


def test_nothing_is_let_through_after_a_failure() -> None:
    session = running()
    session.receive_data(codec.Pong(TOKEN).encode() + OUTPUT.encode())
    with pytest.raises(ProtocolError):
        session.next_event()
    assert hear(session, OUTPUT) == []


# -- Credits ------------------------------------------------------------------------------------

PIECE = 65536


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
    session.consumed(Stream.STDOUT, WINDOW // 2 - 1)
    hear(session, codec.ExecResponse(1, Ending.EXITED, 0))
    request(session)
    assert session.consumed(Stream.STDOUT, 1) == b""


def test_credit_is_given_in_large_pieces() -> None:
    session = running()
    half = WINDOW // 2
    assert session.consumed(Stream.STDOUT, half - 1) == b""
    assert said(session.consumed(Stream.STDOUT, 1)) == [codec.ExecCredit(1, Stream.STDOUT, half)]
    assert session.consumed(Stream.STDOUT, 1) == b""


def test_each_stream_is_paid_for_alone() -> None:
    session = running()
    assert session.consumed(Stream.STDOUT, WINDOW // 2 - 1) == b""
    assert session.consumed(Stream.STDERR, WINDOW // 2 - 1) == b""


@given(data=st.data(), size=st.integers(1, 4 * WINDOW))
@settings(max_examples=25, deadline=None)
def test_random_reads_keep_credit_within_the_window(data: st.DataObject, size: int) -> None:
    session = requested()
    reads = st.integers(1, WINDOW) | st.sampled_from([1, WINDOW // 2 - 1, WINDOW // 2, WINDOW])
    left, unread, credit = size, 0, WINDOW
    while left or unread:
        if left and credit and (not unread or data.draw(st.booleans())):
            piece = min(left, credit, PIECE)
            # Output that was read, but got no new credit yet, must never stop the guest.
            assert hear(session, codec.ExecOutput(1, Stream.STDOUT, bytes(piece)))
            left, unread, credit = left - piece, unread + piece, credit - piece
        else:
            taken = min(unread, data.draw(reads))
            assert taken, "the guest waits for credit, and the reader for output"
            unread -= taken
            for message in said(session.consumed(Stream.STDOUT, taken)):
                assert isinstance(message, codec.ExecCredit)
                assert message.amount >= WINDOW // 2
                credit += message.amount
        assert unread + credit <= WINDOW


# -- Input --------------------------------------------------------------------------------------


def test_a_request_gets_an_id_and_a_window_for_each_stream() -> None:
    session = idle()
    wanted, _ = request_of([b"sh"], exec_options(user="me:1", tty=(24, 80)))
    expected = replace(wanted, id=1, stdout_credit=WINDOW, stderr_credit=WINDOW)
    assert said(session.exec_request(wanted)) == [expected]


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        ([], {}),
        ([b"a", b"b\0"], {}),
        (["\ud800"], {}),
        ([b"a" * 131072], {}),
        ([b"a"] * (16384 + 262144 + 1), {}),
        ([b"a" * 131071] * 24, {}),
        *[
            ([b"a"], options)
            for options in (
                {"command": b"a\0b"},
                {"command": b"a" * 4097},
                {"env": {b"A": b"\0"}},
                {"env": {b"A\0": b""}},
                {"env": {b"": b"x"}},
                {"env": {b"A=B": b"x"}},
                {"cwd": b"/\0"},
                {"user": b"a\0b"},
                {"user": b"u" * 129},
                {"stdin": STDOUT},
                {"tty": (65536, 80)},
                {"tty": (24, -1)},
                {"tty": (0, 80)},
                {"max_processes": -1},
                {"max_processes": 2**32},
                {"max_memory": 2**64},
                {"max_memory": -1},
            )
        ],
    ],
    ids=lambda value: repr(value)[:40],
)
def test_invalid_request_is_refused(argv: list[str | bytes], options: dict[str, Any]) -> None:
    session = idle()
    with pytest.raises(UsageError):
        asked(session, *argv, **options)
    assert session.state is SessionState.READY
    (message,) = said(request(session))
    assert message.id == 1  # type: ignore[union-attr]


def test_there_is_no_credit_for_input_at_first() -> None:
    session = running()
    assert session.stdin_credit == 0
    with pytest.raises(UsageError, match="1 bytes are more than the credit of 0"):
        session.exec_stdin(b"x")


def test_input_is_paid_for_in_any_pieces() -> None:
    session = running()
    hear(session, codec.ExecStdinCredit(1, 3), codec.ExecStdinCredit(1, 2))
    assert session.stdin_credit == 5
    assert said(b"".join(session.exec_stdin(b"ab"))) == [codec.ExecStdin(1, b"ab")]
    assert said(b"".join(session.exec_stdin(memoryview(b"c")))) == [codec.ExecStdin(1, b"c")]
    assert session.stdin_credit == 2
    with pytest.raises(UsageError):
        session.exec_stdin(b"def")
    assert session.stdin_credit == 2
    assert said(b"".join(session.exec_stdin(b"de"))) == [codec.ExecStdin(1, b"de")]
    assert said(b"".join(session.exec_stdin(b""))) == [codec.ExecStdin(1, b"")]


def test_credit_beyond_1_mib_is_lost() -> None:
    session = running()
    hear(session, *[codec.ExecStdinCredit(1, (1 << 20) - 1)] * 2)
    assert session.stdin_credit == 1 << 20


def test_a_command_that_takes_no_more_has_no_credit() -> None:
    session = running()
    hear(session, codec.ExecStdinCredit(1, 5), codec.ExecStdinClosed(1))
    assert session.stdin_credit == 0
    with pytest.raises(UsageError):
        session.exec_stdin(b"x")
    assert said(b"".join(session.exec_stdin(b""))) == [codec.ExecStdin(1, b"")]


def test_credit_for_input_ends_with_its_command() -> None:
    session = running()
    hear(session, codec.ExecStdinCredit(1, 5), codec.ExecResponse(1, Ending.EXITED, 0))
    assert session.exec_stdin(b"x") == ()
    request(session)
    assert session.stdin_credit == 0


@pytest.mark.parametrize("size", [(-1, 80), (24, 65536)])
def test_a_size_that_no_terminal_has_is_refused(size: tuple[int, int]) -> None:
    session = running()
    with pytest.raises(UsageError):
        session.exec_resize(*size)
    assert session.command is CommandState.RUNNING


def test_a_resize_says_the_size() -> None:
    assert said(running().exec_resize(50, 132)) == [codec.ExecResize(1, 50, 132)]


def test_an_over_credit_from_the_guest_is_the_end() -> None:
    session = running()
    with pytest.raises(ProtocolError, match="over_credit"):
        hear(session, codec.Error(1, ErrorCode.OVER_CREDIT, codec.ExecStdin.TYPE, 0, 0))
    assert session.failed
