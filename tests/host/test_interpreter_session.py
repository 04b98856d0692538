"""Tests of the host's side of the protocol with an interpreter in the guest."""

from __future__ import annotations

import pytest
from fuzz.generated import random_messages
from hypothesis import given
from hypothesis import strategies as st
from tests.support import vectors
from tests.support.interpreter_messages import RESULT, message_of

from microvm.errors import ProtocolError, UsageError
from microvm.wire import interpreter as wire
from microvm.wire.interpreter import MAX_TEXT, Decoder, Message, Output, Stream
from microvm.wire.interpreter_session import WINDOW, InterpreterSession

any_ = random_messages("interpreter")

KNOWN = {each.name: each for each in vectors.conversations(vectors.INTERPRETER.read_text())}

IMPOSSIBLE = (
    "beyond guest_credit",  # a session gives more credit than these conversations
    "piece by host",  # a session sends pieces only together with the message that completes them
)
"""Last words of the names of test vectors whose messages a session never sends itself."""


class DrivenInterpreter:
    """A session that a test drives by the messages of both sides."""

    def __init__(self) -> None:
        self.session = InterpreterSession()

    def say(self, message: Message) -> bool:
        """Make the session send a message, and return True unless it refuses to send it."""
        session = self.session
        match message:
            case wire.Run(code=code):
                return bool(session.run(bytes(code).decode()))
            case wire.Assign(name=name, json=json):
                return bool(session.assign(name, bytes(json).decode()))
            case wire.Fetch(name=name):
                return bool(session.fetch(name))
            case wire.Renew(seed=seed):
                return bool(session.renew(seed))
            case wire.Answer(question=question, given=is_given, line=line):
                return bool(session.answer(question, line if is_given else None))
            case wire.Interrupt():
                return bool(session.interrupt())
            case wire.KillStarted():
                return bool(session.kill_started())
        assert isinstance(message, wire.Kill)
        return bool(session.kill())

    def hear(self, message: Message) -> bool:
        """Pass a message of the guest to the session. Return True if the session reports it."""
        self.session.receive_data(message.encode())
        heard = self.session.next_event() is not None
        self.session.credit()
        return heard


@pytest.mark.parametrize("name", [name for name in KNOWN if not name.endswith(IMPOSSIBLE)])
def test_session_agrees_with_a_vector(name: str) -> None:
    conversation = KNOWN[name]
    driven = DrivenInterpreter()
    for index, sent in enumerate(conversation.messages):
        message, is_wrong = message_of(sent), index == conversation.out_of_order
        is_ignored = sent.state is None and not is_wrong
        if sent.sender == "host":
            # A session sends credit and pieces itself.
            if not is_ignored and sent.name not in {"credit", "piece"}:
                assert driven.say(message) is not is_wrong
        elif is_wrong:
            with pytest.raises(ProtocolError):
                driven.hear(message)
        else:
            assert driven.hear(message) is (sent.name != "piece" and not is_ignored)


def test_most_vectors_are_possible() -> None:
    possible = [name for name in KNOWN if not name.endswith(IMPOSSIBLE)]
    assert len(possible) > 0.8 * len(KNOWN)


def text(most: int = 100) -> st.SearchStrategy[bytes]:
    return st.text(max_size=most).map(lambda drawn: drawn.encode()[:most])


@given(st.lists(any_.FRAMES["guest"] | st.binary(max_size=30), max_size=20))
def test_hostile_guest_causes_only_protocol_errors(frames: list[bytes]) -> None:
    session = ready()
    session.run("1")
    stored = 0
    try:
        for frame in frames:
            session.receive_data(frame)
            while (event := session.next_event()) is not None:
                stored += len(event.data) if isinstance(event, Output | wire.Display) else 0
    except ProtocolError:
        pass
    assert stored <= WINDOW


def ready() -> InterpreterSession:
    """Return a session whose guest is ready and has credit."""
    session = InterpreterSession()
    session.receive_data(wire.Ready(wire.DIGEST).encode())
    assert session.next_event() == wire.Ready(wire.DIGEST)
    assert session.credit() == wire.Credit(WINDOW).encode()
    return session


def hear(session: InterpreterSession, *messages: Message) -> list[Message]:
    """Pass messages of the guest to a session, and return the events."""
    events = []
    for message in messages:
        session.receive_data(message.encode())
        if (event := session.next_event()) is not None:
            events.append(event)
        session.credit()
    return events


@pytest.mark.parametrize("size", [0, 1, (1 << 15), (1 << 15) + 1, 100_000, MAX_TEXT])
def test_long_code_is_sent_in_pieces(size: int) -> None:
    frames = ready().run("x" * size)
    decoder = Decoder("host")
    decoder.receive_data(frames)
    code = b""
    while (message := decoder.next_message()) is not None:
        assert isinstance(message, wire.Piece | wire.Run)
        assert message.offset == len(code)
        code += bytes(message.data if isinstance(message, wire.Piece) else message.code)
    assert code == b"x" * size


@pytest.mark.parametrize("code", ["x" * (MAX_TEXT + 1), "é" * (MAX_TEXT // 2 + 1), "'\ud800'"])
def test_code_that_cannot_be_sent_is_a_usage_error(code: str) -> None:
    session = ready()
    with pytest.raises(UsageError, match=r"^the code of a cell "):
        session.run(code)
    assert session.run("1") == wire.Run(0, b"1").encode()


@pytest.mark.parametrize("line", ["x" * 65_001, "\ud800"])
def test_line_that_cannot_be_sent_is_refused(line: str) -> None:
    session = ready()
    session.run("input()")
    assert hear(session, wire.Ask(7, False, "?")) == [wire.Ask(7, False, "?")]
    assert session.answer(7, line) == wire.Answer(7, False, "").encode()


def test_pieces_are_joined_with_the_rest_of_a_value() -> None:
    session = ready()
    session.fetch("x")
    done = wire.Value(6, b"4]")
    assert hear(session, wire.Piece(0, b"[1,"), wire.Piece(3, b"2, "), done) == [done]
    assert (session.text, session.size) == (b"[1,2, 4]", 8)


def test_piece_at_0_begins_a_new_text() -> None:
    session = ready()
    session.fetch("x")
    hear(session, wire.Piece(0, b"lost"), wire.Piece(0, b"["), wire.Value(1, b"]"))
    assert session.text == b"[]"


@pytest.mark.parametrize("offset", [1, 3, 1000, 0xFFFFFFFF])
def test_piece_at_another_offset_is_refused(offset: int) -> None:
    session = ready()
    session.fetch("x")
    with pytest.raises(ProtocolError, match="a piece of a text that is out of order"):
        hear(session, wire.Piece(0, b"ab"), wire.Piece(offset, b"c"))


def test_display_is_stored_up_to_the_limit() -> None:
    session = ready()
    session.run("1", max_display=MAX_TEXT + 5)
    chunk, offset = bytes(65_000), 0
    while offset < 2 * MAX_TEXT:
        assert hear(session, wire.Piece(offset, chunk)) == []
        offset += len(chunk)
    hear(session, wire.Display(True, False, "image/png", offset, b"end"))
    assert len(session.text) == MAX_TEXT + 5
    assert session.size == offset + 3


def test_value_beyond_the_maximum_is_refused() -> None:
    session = ready()
    session.run("1", max_display=2 * MAX_TEXT)
    chunk, offset = bytes(65_000), 0
    while offset <= MAX_TEXT:
        hear(session, wire.Piece(offset, chunk))
        offset += len(chunk)
    with pytest.raises(ProtocolError, match="a text that is longer than the maximum"):
        hear(session, RESULT.__replace__(offset=offset))


def test_output_without_credit_is_refused() -> None:
    session = ready()
    session.run("1")
    output = Output(Stream.STDERR, bytes(WINDOW // 8))
    session.receive_data(output.encode() * 8)
    for _ in range(8):
        assert session.next_event() == output
    session.receive_data(Output(Stream.STDOUT, b"x").encode())
    with pytest.raises(ProtocolError, match="more data than the host allows"):
        session.next_event()


def test_credit_is_given_for_many_bytes_at_a_time() -> None:
    session = ready()
    session.run("1")
    session.receive_data(Output(Stream.STDOUT, bytes(65_000)).encode() * 3)
    for _ in range(2):
        session.next_event()
        assert session.credit() == b""
    session.next_event()
    assert session.credit() == wire.Credit(195_000).encode()
    assert session.credit() == b""
