"""Tests of the host's side of the protocol with the guest's program for connections."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import vectors
from tests.support.stream_messages import message_of

from microvm.errors import ProtocolError, UsageError
from microvm.wire import streams
from microvm.wire.stream_session import (
    WINDOW,
    StreamSession,
    check_guest_port,
    check_server,
)
from microvm.wire.streams import (
    Accept,
    Connect,
    Connected,
    Credit,
    Data,
    Eof,
    Listen,
    Reset,
)

KNOWN = {each.name: each for each in vectors.conversations(vectors.STREAMS.read_text())}

IMPOSSIBLE = (
    "beyond guest_credit",  # a session gives more credit than these conversations
    "more than the maximum of guest_credit",
    "by host of an id with another id",  # a session chooses the ids itself
    "by host with another id",
    "closed: connect by host",
    "closed: listen by host",
    "closed: accept by host",
)
"""Endings of the names of conversations that a session cannot have."""


class DrivenStreams:
    """A session that a test drives by the messages of both sides."""

    def __init__(self) -> None:
        self.session = StreamSession()

    def say(self, message: streams.Message) -> bool:
        """Make the session send a message, and return True unless it refuses to send it."""
        session, id_ = self.session, message.id
        match message:
            case Connect(port=port):
                return session.connect(port)[0] == id_
            case Listen(port=port):
                return session.listen(port)[0] == id_
            case Accept(listener=listener):
                return session.accept(listener)[0] == id_
            case Data(data=data) if len(data) > session.credit(id_) or not session.credit(id_):
                return False
            case Data(data=data):
                return bool(session.data(id_, bytes(data)))
            case Eof():
                return bool(session.eof(id_))
            case Reset():
                return bool(session.reset(id_))
            case Credit(amount=amount):
                return bool(session.consumed(id_, amount))
        return False

    def hear(self, message: streams.Message) -> bool:
        """Pass a message of the guest to the session, and return True unless it was dropped."""
        self.session.receive_data(message.encode())
        return self.session.next_event() is not None


@pytest.mark.parametrize("name", [name for name in KNOWN if not name.endswith(IMPOSSIBLE)])
def test_session_agrees_with_a_vector(name: str) -> None:
    conversation = KNOWN[name]
    driven = DrivenStreams()
    for index, sent in enumerate(conversation.messages):
        message, is_wrong = message_of(sent), index == conversation.out_of_order
        is_ignored = sent.state is None and not is_wrong
        if sent.sender == "host":
            if not is_ignored and sent.name != "credit":  # it sends no small amounts of credit
                assert driven.say(message) is not is_wrong
        elif is_wrong:
            with pytest.raises(ProtocolError):
                driven.hear(message)
        else:
            assert driven.hear(message) is not is_ignored


def test_most_vectors_are_possible() -> None:
    possible = [name for name in KNOWN if not name.endswith(IMPOSSIBLE)]
    assert len(possible) > 0.8 * len(KNOWN)


def test_credit_is_given_for_many_bytes_at_a_time() -> None:
    driven = DrivenStreams()
    driven.say(Connect(1, WINDOW, 80, b""))
    driven.hear(Connected(1, 10))
    assert driven.session.consumed(1, WINDOW // 2 - 1) == b""
    assert driven.session.consumed(1, 1) == Credit(1, WINDOW // 2).encode()
    assert driven.session.consumed(2, WINDOW) == b""


def test_credit_of_the_guest_has_a_maximum() -> None:
    driven = DrivenStreams()
    driven.say(Connect(1, WINDOW, 80, b""))
    driven.hear(Connected(1, 10))
    driven.hear(Credit(1, 0xFFFFFFFF))
    assert driven.session.credit(1) == 0xFFFFFFFF
    with pytest.raises(UsageError, match="2 bytes are more than the credit of 0"):
        driven.session.data(2, b"xx")


@pytest.mark.parametrize("server", [0, 65536, -1, 2.5, None, "", "x" * 108, "a\0b", "\ud800"])
def test_invalid_server_is_a_usage_error(server: Any) -> None:
    with pytest.raises(UsageError, match="the guest cannot connect to"):
        check_server(server)


@pytest.mark.parametrize("port", [65536, -1, 2.5, None, "80"])
def test_invalid_port_of_a_guest_is_a_usage_error(port: Any) -> None:
    check_guest_port(0)
    with pytest.raises(UsageError, match="the guest cannot listen on port"):
        check_guest_port(port)
