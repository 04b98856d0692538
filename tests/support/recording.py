"""Records conversations, so that the model of the protocol can judge them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from microvm.wire import codec
from microvm_proto.conversation_rules import SentMessage

from .side_copy import name_of

_FIELDS = ("nonce", "code", "stream", "data", "amount", "stdout_credit", "stderr_credit", "beside")
"""The fields that the model knows."""

_MOST = 15_000
"""Maximum number of recorded messages of a conversation. The search takes 0.1 MB for each."""

_lists: list[list[Recording]] = []
"""The lists of the active calls of `recordings`."""


@dataclass(slots=True)
class Recording:
    """The messages of a conversation, in the order in which the host has sent or received them.

    :ivar real: The sides that are the real programs. A test plays any other side.
    :ivar is_first: True if the guest had no conversation before.
    :ivar messages: The messages. Their field `data` is a number of bytes. A malformed frame of the
        host has no name.
    :ivar test: Name of the test that has begun the conversation.
    """

    real: frozenset[str]
    is_first: bool
    messages: list[SentMessage] = field(default_factory=list)
    test: str = field(default_factory=lambda: os.environ.get("PYTEST_CURRENT_TEST", ""))

    def __post_init__(self) -> None:
        """Add the recording to the list of the last active `recordings`."""
        if _lists:
            _lists[-1].append(self)

    def add(self, sender: str, message: codec.Message | None) -> None:
        """Add a message, or None for a malformed frame, unless the recording is long already."""
        if len(self.messages) >= _MOST:
            return
        if message is None:
            self.messages.append(SentMessage(sender, "", 0, {}))
            return
        fields = {name: getattr(message, name) for name in _FIELDS if hasattr(message, name)}
        if "data" in fields:
            fields["data"] = len(fields["data"])
        id_ = getattr(message, "id", 0)
        self.messages.append(SentMessage(sender, name_of(message.TYPE), id_, fields))


@contextmanager
def recordings() -> Iterator[list[Recording]]:
    """Context manager that yields a list of the conversations that begin in it."""
    found: list[Recording] = []
    _lists.append(found)
    try:
        yield found
    finally:
        _lists[:] = [each for each in _lists if each is not found]
