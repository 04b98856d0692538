"""Test that the host's session agrees with the test vectors of conversations."""

from __future__ import annotations

import pytest
from tests.support import vectors
from tests.support.daemon import request
from tests.support.driven_session import DrivenSession
from tests.support.told_messages import message_of
from tests.support.vectors import ConversationVector

from microvm.errors import ProtocolError
from microvm.wire import codec

KNOWN = {each.name: each for each in vectors.conversations(vectors.COMMITTED.read_text())}

IMPOSSIBLE = (
    "beyond stdout_credit",  # less credit than a session always gives
    "beyond stderr_credit",
    "with another id",  # a session chooses the ids itself
    "ended: exec_request by host of an id",
)
"""Endings of the names of conversations in which no session can be."""


@pytest.mark.parametrize("name", [name for name in KNOWN if not name.endswith(IMPOSSIBLE)])
def test_session_agrees_with_a_conversation(name: str) -> None:
    conversation = KNOWN[name]
    if at := refused_at(conversation):
        # The session never makes a mistake. So each `error` of the guest is one.
        conversation = ConversationVector(name, conversation.messages[: at + 1], at)
    driven = DrivenSession()
    for index, sent in enumerate(conversation.messages):
        message, is_wrong = message_of(sent), index == conversation.out_of_order
        is_ignored = sent.state is None and not is_wrong
        if sent.sender == "guest":
            try:
                taken: bool | None = driven.hear(message)
            except ProtocolError:
                taken = None
            vectors.agree(taken is (None if is_wrong else not is_ignored), sent)
            continue
        if is_wrong and sent.name == "keep":  # it is not `free`, because a command runs
            driven.say(request(1, b"true"))
        # A session sends no small amounts of credit, and no messages that the guest would ignore.
        if sent.name != "exec_credit":
            vectors.agree(driven.say(message) is not (is_wrong or is_ignored), sent)
    if name.endswith(", forgotten"):
        vectors.agree(driven.say(request(1, b"true")), name)


def refused_at(conversation: ConversationVector) -> int:
    """Return the index of the first `error` that is in order; 0 if there is none."""
    errors = (
        index
        for index, sent in enumerate(conversation.messages)
        if sent.name == "error" and sent.state is not None
    )
    return next(errors, 0)


def test_most_conversations_are_possible() -> None:
    possible = [name for name in KNOWN if not name.endswith(IMPOSSIBLE)]
    assert len(possible) > 0.9 * len(KNOWN)
    kinds = {type(message_of(sent)) for each in KNOWN.values() for sent in each.messages}
    assert kinds == {*codec.Message.__args__}
