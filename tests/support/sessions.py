"""Sessions for tests: functions that bring a session into each state, and exchange messages."""

from __future__ import annotations

from subprocess import PIPE
from typing import Any, cast

from microvm.guest.request import request_of
from microvm.options import ExecOptions
from microvm.wire import codec
from microvm.wire.codec import Ending, Stream
from microvm.wire.command_conversation import CommandConversation
from microvm.wire.session import Session

from .options import exec_options

TOKEN = 7
NOW = 1_700_000_000_000_000_000
NONCE = 0x0707070707070707
OUTPUT = codec.ExecOutput(1, Stream.STDOUT, b"x")
RESPONSE = codec.ExecResponse(1, Ending.EXITED, 0)
READY = codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, NONCE)
"""The guest's answer to the `hello` of a session whose random numbers are known."""


def said(data: bytes) -> list[codec.Message]:
    """Decode the bytes that a session has sent, as a guest does. Return the messages."""
    decoder = codec.Decoder("host")
    decoder.receive_data(data)
    messages = []
    while (message := decoder.next_message()) is not None:
        messages.append(message)
    return messages


def hear(session: Session, *messages: codec.Message) -> list[codec.Message]:
    """Give a session these messages of a guest, and return the events that they cause."""
    session.receive_data(b"".join(message.encode() for message in messages))
    events = []
    while (event := session.next_event()) is not None:
        events.append(event)
    return events


def request(session: Session, *, stdin: bool = True) -> bytes:
    return asked(session, b"true", stdin=PIPE if stdin else None)


def asked(session: Session, *argv: str | bytes, **options: Any) -> bytes:
    """Let a session request a command, and return the encoded message."""
    wanted, _ = request_of(argv, exec_options(**cast(ExecOptions, options)))
    return session.exec_request(wanted)[1]


class KnownSession(Session):
    """A session that remembers the conversation about its last command.

    :ivar last: The conversation; not set before the first command.
    """

    last: CommandConversation

    def exec_request(self, request: codec.ExecRequest) -> tuple[CommandConversation, bytes]:
        self.last, frame = super().exec_request(request)
        return self.last, frame


def new() -> KnownSession:
    return KnownSession(clock=lambda: NOW, entropy=lambda size: b"\7" * size)


def greeting() -> KnownSession:
    session = new()
    session.hello()
    return session


def idle() -> KnownSession:
    session = greeting()
    hear(session, READY)
    return session


def running() -> KnownSession:
    session = idle()
    request(session)
    hear(session, OUTPUT)
    return session


def requested() -> KnownSession:
    session = idle()
    request(session)
    return session


def several(*beside: bool, commands: int = 3) -> Session:
    """Return a session that has requested a command for each value of the flag `beside`."""
    session = idle()
    session.commands = commands
    for each in beside:
        ask(session, beside=each)
    return session


def ask(session: Session, *, beside: bool = True) -> codec.ExecRequest:
    """Let a session request a command, and return the request as a guest decodes it."""
    wanted, _ = request_of([b"cat"], exec_options(stdin=PIPE), beside=beside)
    (message,) = said(session.exec_request(wanted)[1])
    assert isinstance(message, codec.ExecRequest)
    return message
