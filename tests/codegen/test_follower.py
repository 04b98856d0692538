"""Tests of the follower of conversations, which finds messages that are out of order."""

from __future__ import annotations

import re
import tracemalloc
from copy import copy

import pytest

from microvm_proto.conversation_rules import MessageOrder, SentMessage
from microvm_proto.follower import MAX_IDS, Follower
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

from .common import ROOT
from .test_conversations import EXAMPLE, schema_of

COUNTED = re.sub(r"\[\[conversation.request\]\]\n.*\n.*\n", "", EXAMPLE).replace(
    '"tell", next = "idle"', '"tell"'
)
"""A conversation whose credit limits the answers; their number is not limited."""

IN_ORDER, IGNORED, REFUSAL, OUT_OF_ORDER = MessageOrder


@pytest.fixture(scope="module")
def schema() -> Schema:
    return read_schema(ROOT / "protocol/sandboxd.toml")


def message(text: str, **fields: object) -> SentMessage:
    """Return a message from its sender, its name and its id, if it has one."""
    sender, name, *ids = text.split()
    return SentMessage(sender, name, int(ids[0]) if ids else 0, fields)


def follow(follower: Follower, *texts: str) -> list[MessageOrder]:
    return [follower.follow(message(text)).verdict for text in texts]


GREETING = ["host hello", "guest ready", "host ping", "guest pong"]


def test_a_message_out_of_order_may_be_refused_once(schema: Schema) -> None:
    follower = Follower(schema, lambda name, _: name == "own_nonce")
    follow(follower, *GREETING)
    texts = ["guest error 9", "host exec_kill 9", "guest error 8", "guest error 9", "guest error 9"]
    refused = [OUT_OF_ORDER, OUT_OF_ORDER, OUT_OF_ORDER, REFUSAL, OUT_OF_ORDER]
    assert follow(follower, *texts) == refused
    assert follower.states == {"ready"}


def test_unknown_conditions_leave_several_states_possible(schema: Schema) -> None:
    follower = Follower(schema)
    follow(follower, *GREETING, "host exec_kill 9")
    assert follow(follower, "guest error 9") == [IN_ORDER]
    assert follower.states == {"ready", "searching"}
    assert follow(follower, "host ping", "guest pong") == [IN_ORDER] * 2
    assert follower.states == {"ready"}


def test_a_side_does_not_send_what_its_own_copy_ignores(schema: Schema) -> None:
    texts = [*GREETING, "host hello", "guest pong"]
    assert follow(Follower(schema, side="host"), *texts)[-1] is IGNORED
    assert follow(Follower(schema, side="guest"), *texts)[-1] is OUT_OF_ORDER


def test_counters_are_never_negative_and_stop_at_their_maximum() -> None:
    limited = COUNTED.replace('name = "credit"', 'name = "credit"\nmax = 10')
    follower = Follower(schema_of(limited), lambda *_: False)
    assert follow(follower, "client ask") == [IN_ORDER]
    told = [follower.follow(message("server tell", data=bytes(99))).verdict for _ in range(2)]
    assert told == [IN_ORDER] * 2, "the credit is unknown, because the field `room` is"
    follower = Follower(schema_of(limited), lambda *_: False)
    assert follower.follow(message("client ask", room=40)).verdict is IN_ORDER
    verdict, why = follower.follow(message("server tell", data=b"12345678901"))
    assert (verdict, why) == (OUT_OF_ORDER, "it takes 11 from `credit`, which is 10")
    told = [follower.follow(message("server tell", data=bytes(each))).verdict for each in (4, 6, 1)]
    assert told == [IN_ORDER, IN_ORDER, OUT_OF_ORDER]


def test_messages_of_one_side_need_no_answers_and_no_requests(schema: Schema) -> None:
    guest = Follower(schema, side="guest", alone=True)
    texts = ["guest ready", "guest pong", "guest pong", "guest exec_response 1"]
    assert follow(guest, *texts) == [IN_ORDER] * 4
    assert follow(guest, "guest exec_response 1") == [OUT_OF_ORDER]
    assert follow(guest, "guest ready", "guest exec_response 1") == [IN_ORDER] * 2
    assert follow(guest, "guest goodbye", "guest pong", "guest ready") == [
        IN_ORDER,
        OUT_OF_ORDER,
        OUT_OF_ORDER,
    ]


def test_messages_of_one_side_have_to_begin_a_session(schema: Schema) -> None:
    for text in ("host exec_request 1", "host ping"):
        host = Follower(schema, side="host", alone=True)
        verdict, why = host.follow(message(text))
        assert verdict is OUT_OF_ORDER
        assert why == "in the state `new` of `session`, the host sends only `hello`"
        assert follow(host, "host hello", text) == [IN_ORDER] * 2


def test_after_lost_messages_every_state_is_possible(schema: Schema) -> None:
    follower = Follower(schema, side="guest")
    follower.lose()
    assert follow(follower, "guest exec_output 7", "guest pong") == [IN_ORDER] * 2
    assert follow(follower, "guest exec_response 7") == [IN_ORDER]
    assert follow(follower, "guest exec_response 7") == [OUT_OF_ORDER]
    assert follow(follower, "host hello", "guest ready", "guest pong")[-1] is OUT_OF_ORDER


def test_a_copy_of_a_follower_is_independent(schema: Schema) -> None:
    follower = Follower(schema)
    follow(follower, *GREETING, "host exec_request 1")
    other = copy(follower)
    assert follow(other, "guest exec_failed 1", "host exec_kill 2") == [IN_ORDER, OUT_OF_ORDER]
    assert (follower.states_of(1), other.states_of(1)) == ({"requested"}, {"ended"})
    assert follow(follower, "guest exec_stdin_closed 2") == [OUT_OF_ORDER]


def test_a_refusal_belongs_to_the_copy_that_saw_the_message(schema: Schema) -> None:
    follower = Follower(schema, lambda condition, _: condition == "own_nonce")
    follow(follower, "host hello", "guest ready", "host shutdown")
    assert follow(copy(follower), "host ping", "guest error") == [OUT_OF_ORDER, REFUSAL]
    other = copy(follower)
    assert follow(copy(follower), "host ping") == [OUT_OF_ORDER]
    assert follow(other, "guest error") == [OUT_OF_ORDER]


@pytest.mark.parametrize("count", [3_000, pytest.param(1_000_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("alone", [False, True])
def test_hostile_stream_of_ids_takes_bounded_memory(
    schema: Schema, count: int, *, alone: bool
) -> None:
    follower = Follower(schema, side="host", alone=alone)
    follow(follower, "host hello", *([] if alone else ["guest ready"]))
    tracemalloc.start()
    for id_ in range(1, count + 1):
        assert follower.follow(SentMessage("host", "exec_request", id_)).verdict is IN_ORDER
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20
    assert follow(follower, f"host exec_request {count}") == [OUT_OF_ORDER]
    assert follow(follower, f"host exec_request {count - MAX_IDS}") == [IN_ORDER]  # forgotten
