"""Test that the host's order of a file transfer agrees with the test vectors of conversations."""

from __future__ import annotations

import pytest
from tests.support import vectors
from tests.support.told_transfers import messages_of, possible

from microvm.guest.order import Order
from microvm.wire import files
from microvm.wire.transfer import TRANSFER_GUEST, TRANSFER_HOST, TRANSFER_HOST_IGNORED

KNOWN = possible()
TABLES = {"host": TRANSFER_HOST, "guest": TRANSFER_GUEST}


@pytest.mark.parametrize("name", KNOWN)
def test_order_agrees_with_a_conversation(name: str) -> None:
    conversation, order = KNOWN[name], Order()
    messages = messages_of(conversation)
    for index, (sent, message) in enumerate(zip(conversation.messages, messages, strict=True)):
        if index == conversation.out_of_order:
            with pytest.raises(ValueError, match=f"`{sent.name}` is out of order"):
                order.follow(message, TABLES[sent.sender])
        elif sent.state is None:
            assert sent.sender == "host"
            assert type(message) in TRANSFER_HOST_IGNORED[order.state]
        else:
            order.follow(message, TABLES[sent.sender])
            assert order.state.name.lower() == sent.state


def test_all_conversations_but_one_are_possible() -> None:
    assert len(KNOWN) == len(vectors.conversations(vectors.FILES.read_text())) - 1
    kinds = {type(message) for each in KNOWN.values() for message in messages_of(each)}
    assert kinds == {*files.Message.__args__}
