"""Test that the daemon refuses the messages that are out of order in the test vectors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support import vectors
from tests.support.daemon import Daemon
from tests.support.told_messages import message_of
from tests.support.vectors import ConversationVector

from microvm.wire import codec
from microvm.wire.codec import ErrorCode

# The daemon reads in the state `ready` only: after `hello` it does not read before its `ready`, and
# after `shutdown` it reads nothing.
KNOWN = {
    each.name: each
    for each in vectors.conversations(vectors.COMMITTED.read_text())
    if each.name.startswith("ready, ")
    and each.out_of_order is not None
    and each.messages[-1].sender == "host"
    and each.messages[-1].name != "keep"  # not `free`, although no command is running
    and not each.name.endswith("stdin_credit")  # the daemon gives much more credit at once
}


def command(conversation: ConversationVector) -> tuple[bytes, ...]:
    """Return a command that makes the daemon send the messages of the guest."""
    sent = {message.name for message in conversation.messages if message.sender == "guest"}
    if "exec_failed" in sent:
        return (b"nonexistent",)
    closing = b"exec <&-; " if "exec_stdin_closed" in sent else b""
    telling = b"printf x; " if "exec_output" in sent else b""
    return b"sh", b"-c", closing + telling + (b"" if "exec_response" in sent else b"sleep 1000")


def code(conversation: ConversationVector) -> ErrorCode:
    """Return the code of the error with which the daemon refuses the last message."""
    *before, last = conversation.messages
    greeted = max(index for index, each in enumerate(before) if each.name == "hello")
    requested = {each.id for each in before[greeted:] if each.name == "exec_request"}
    return ErrorCode.STALE_ID if last.id in requested else ErrorCode.UNKNOWN_ID


@pytest.mark.parametrize("name", KNOWN)
def test_daemon_refuses_a_message_out_of_order(launch: Callable[[], Daemon], name: str) -> None:
    conversation, daemon = KNOWN[name], launch()
    *before, last = conversation.messages
    argv = command(conversation)
    for sent in before:
        message = message_of(sent, *argv)
        if sent.sender == "host":
            daemon.send(message)
        else:
            others, _ = daemon.receive_until(type(message))
            vectors.agree(not any(isinstance(each, codec.Error) for each in others), sent)
    daemon.send(message_of(last, *argv))
    _, refusal = daemon.receive_until(codec.Error)
    kind = message_of(last).TYPE
    vectors.agree(refusal == codec.Error(last.id, code(conversation), kind, 0, 0), last)
    vectors.agree(not any(isinstance(each, codec.Error) for each in daemon.sync()), last)
    daemon.hello(2)


@pytest.mark.thorough
def test_messages_of_all_kinds_are_refused() -> None:
    assert len({each.messages[-1].name for each in KNOWN.values()}) == 7
    codes = {code(each) for each in KNOWN.values()}
    assert codes == {ErrorCode.UNKNOWN_ID, ErrorCode.STALE_ID}
