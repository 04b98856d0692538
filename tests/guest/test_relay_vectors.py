"""Tests of relay with the test vectors of the protocol for connections."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import vectors
from tests.support.relay import AT_ONCE, RelayProcess, accept, client, listening, port_of
from tests.support.stream_messages import message_of
from tests.support.vectors import ConversationVector

from microvm.wire import streams
from microvm.wire.streams import (
    Accept,
    Accepted,
    Connect,
    Connected,
    Data,
    Eof,
    Listen,
    Listening,
    NotAccepted,
    NotListening,
    Refused,
    Reset,
)

KNOWN = vectors.conversations(vectors.STREAMS.read_text())

WRONG = {
    each.name: each
    for each in KNOWN
    if each.out_of_order is not None
    and each.messages[-1].sender == "host"
    and ("guest", "credit") not in {(sent.sender, sent.name) for sent in each.messages}
    and not each.name.endswith(("beyond host_credit", "more than the maximum of host_credit"))
}
"""Conversations whose last message is a mistake of the host. Conversations about little credit are
left out, because the program gives much credit at a time."""


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Path]:
    """A Unix socket to which nobody can connect yet, because its queue is full."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(path))
        server.listen(0)
        client.connect(str(path))
        yield path


class Replay:
    """A conversation between a test and the program, with a server for each stream."""

    def __init__(self, relay: RelayProcess, conversation: ConversationVector, slow: Path) -> None:
        self.relay, self.slow = relay, slow
        self.listener, self.port = relay.listen()
        self.answers = {sent.name for sent in conversation.messages if sent.sender == "guest"}
        self.stack = ExitStack()
        self.server = self.stack.enter_context(listening())

    def say(self, message: streams.Message) -> None:
        """Send a message of the host. Adapt a request so that it gets the vector's answer."""
        refuses = not self.answers.isdisjoint({"refused", "not_listening", "not_accepted"})
        match message:
            case Connect():
                path = b"/none" if refuses else bytes(self.slow)
                port = port_of(self.server) if "connected" in self.answers else 0
                message = replace(message, credit=10, port=port, path=b"" if port else path)
            case Listen() if refuses:
                message = replace(message, port=port_of(self.server))
            case Accept():
                message = replace(message, credit=10, listener=0 if refuses else self.listener)
        self.relay.send(self._shifted(message))

    def hear(self, message: streams.Message) -> None:
        """Let the server or client do what makes the guest send this message, and wait for it."""
        match message:
            case Connected():
                self.peer = self.stack.enter_context(accept(self.server))
            case Accepted():
                self.peer = self.stack.enter_context(client(self.port))
            case Data(data=data):
                self.peer.sendall(data)
            case Eof():
                self.peer.shutdown(socket.SHUT_WR)
            case Reset():
                self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                self.peer.close()
            case _:
                assert isinstance(message, Refused | Listening | NotListening | NotAccepted)
        self.relay.next(type(message), self._shifted(message).id)

    def _shifted(self, message: streams.Message) -> streams.Message:
        """Return the message with a higher id, because the listener already has the first id."""
        return replace(message, id=self.listener + message.id)


def test_every_mistake_of_the_host_ends_the_program(shipped: Path, slow: Path) -> None:
    assert len(WRONG) > 15
    for name, conversation in WRONG.items():
        relay = RelayProcess(shipped.with_name("relay"))
        replay = Replay(relay, conversation, slow)
        with closing(replay.stack), closing(relay):
            for sent in conversation.messages:
                (replay.say if sent.sender == "host" else replay.hear)(message_of(sent))
            assert relay.exit() == (1, "relay: a message is out of order\n"), name


def test_every_malformed_frame_ends_the_program(shipped: Path) -> None:
    known = [each for each in vectors.load(vectors.STREAMS) if each.sender == "host" and each.fault]
    assert len(known) > 20
    for vector in known:
        relay = RelayProcess(shipped.with_name("relay"))
        with closing(relay):
            relay.send_bytes(vector.frame)
            assert relay.exit() == (1, "relay: a frame is malformed\n"), vector.name
