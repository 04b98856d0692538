"""Tests of both sides with random conversations: correct ones, and those with one fault."""

from __future__ import annotations

import ctypes
from collections import Counter

import hypothesis
import pytest
from hypothesis import given
from tests.support import vectors
from tests.support.driven_session import DrivenSession
from tests.support.emitted import library
from tests.support.told_messages import message_of

from microvm.errors import ProtocolError
from microvm.wire import codec
from microvm.wire.codec import ErrorCode
from microvm_proto.drawing import Sent

from .conversations import CONVERSATIONS, Past
from .report import ROOT
from .search import batch

_SHIM = """
#include <string.h>
#include "{guest}/stream.c"
#include "{guest}/session.c"

static struct session session;

void daemon_begin(void)
{{
	session_init(&session);
}}

/* Returns the next event, and the code of a refusal behind it. */
int daemon_hear(const uint8_t *data, size_t size)
{{
	static struct frame frame;
	uint32_t slot;
	struct sandboxd_error refusal = {{ 0 }};

	memcpy(session.in.data + session.in.end, data, size);
	session.in.end += size;
	enum session_event event = session_next(&session, &frame, &slot, &refusal);
	return event == SESSION_REFUSAL ? refusal.code : -(int)event;
}}

void daemon_answer(void)
{{
	session_sent(&session, SANDBOXD_TYPE_READY, SANDBOXD_SESSION_CONDITION_OWN_NONCE);
}}

static uint32_t slot_of(uint32_t id)
{{
	uint32_t slot = 0;

	while (session.commands[slot].id != id)
		slot++;
	return slot;
}}

void daemon_end(uint32_t id)
{{
	session_end(&session, slot_of(id));
}}

void daemon_allow(uint32_t id, uint32_t amount)
{{
	session_allow(&session, slot_of(id), amount);
}}
"""
_MORE, _FRAME = 0, -1


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The daemon's session as a library."""
    folder = tmp_path_factory.mktemp("session")
    (folder / "shim.c").write_text(_SHIM.format(guest=ROOT / "guest"))
    return library(folder, "session.so", "-O1")


@batch(100)
@given(sent=CONVERSATIONS.correct())
def test_session_accepts_a_correct_conversation(sent: list[Sent]) -> None:
    driven = DrivenSession()
    for each in sent:
        _exchange(driven, each)


@batch(100)
@given(sent=CONVERSATIONS.faulty())
def test_session_refuses_a_fault_of_each_side(sent: list[Sent]) -> None:
    *before, fault = sent
    # The host's session chooses the ids of its requests. So it cannot send a request with a wrong
    # id, and the test skips these faults.
    hypothesis.assume(fault.sender == "guest" or not isinstance(fault.message, codec.ExecRequest))
    driven = DrivenSession()
    for each in before:
        _exchange(driven, each)
    if fault.sender == "host":
        assert not driven.say(fault.message)
        return
    with pytest.raises(ProtocolError):
        driven.hear(fault.message)


def _exchange(driven: DrivenSession, sent: Sent) -> None:
    """Make the session send or receive a message that is in order, or that it ignores."""
    if sent.sender == "guest":
        assert driven.hear(sent.message) is bool(sent.state)
    elif sent.state:
        assert driven.say(sent.message)


@pytest.mark.thorough
@batch(100)
@given(sent=CONVERSATIONS.correct())
def test_daemon_accepts_a_correct_conversation(daemon: ctypes.CDLL, sent: list[Sent]) -> None:
    daemon.daemon_begin()
    for each in sent:
        assert _heard(daemon, each) == (_FRAME if each.state else _MORE)


@batch(100)
@given(sent=CONVERSATIONS.faulty())
def test_daemon_refuses_a_fault_of_the_host(daemon: ctypes.CDLL, sent: list[Sent]) -> None:
    *before, fault = sent
    states = [each.state for each in before if each.state and not getattr(each.message, "id", 0)]
    if fault.sender == "guest" or states[-1] == "finished":  # the daemon exits after its goodbye
        return
    daemon.daemon_begin()
    for each in before:
        _heard(daemon, each)
    id_, past = getattr(fault.message, "id", 0), Past(before)
    code = ErrorCode.UNKNOWN_ID if id_ > past.last else ErrorCode.STALE_ID
    if isinstance(fault.message, codec.ExecStdin) and states[-1] == "ready" and id_ in past.running:
        code = ErrorCode.OVER_CREDIT
    if not id_:
        code = ErrorCode.BUSY
    assert _heard(daemon, fault) == code


def test_daemon_refuses_the_faults_in_the_vectors(daemon: ctypes.CDLL) -> None:
    refused = Counter[int]()
    for each in vectors.conversations(vectors.COMMITTED.read_text()):
        *before, last = each.messages
        # These vectors are left out: after its goodbye, the daemon exits. It decides itself whether
        # it is free for `keep`, and never gives more credit for input than the maximum.
        if last.sender == "guest" or each.name.startswith("finished, "):
            continue
        if last.name == "keep" or each.name.endswith("maximum of stdin_credit"):
            continue
        daemon.daemon_begin()
        for sent in before:
            _heard(daemon, Sent(sent.sender, message_of(sent), sent.conditions, sent.state))
        event = _heard(daemon, Sent(last.sender, message_of(last), last.conditions, last.state))
        vectors.agree((event > 0) is (each.out_of_order is not None), each.name)
        refused[event] += 1
    assert {ErrorCode.UNKNOWN_ID, ErrorCode.STALE_ID, ErrorCode.OVER_CREDIT} <= {*refused}


def _heard(daemon: ctypes.CDLL, sent: Sent) -> int:
    """Return the event of the daemon's session for a message of the host."""
    match sent.message:
        case _ if sent.sender == "host":
            data = sent.message.encode()
            return int(daemon.daemon_hear(data, ctypes.c_size_t(len(data))))
        case codec.Ready() if sent.state:
            daemon.daemon_answer()
        case codec.Error() if "malformed" in sent.conditions:
            daemon.daemon_hear(b"\xff" * codec.HEADER_SIZE, ctypes.c_size_t(codec.HEADER_SIZE))
        case codec.ExecResponse(id=id_) | codec.ExecFailed(id=id_) if sent.state:
            daemon.daemon_end(id_)
        case codec.ExecStdinCredit(id=id_, amount=amount) if sent.state:
            daemon.daemon_allow(id_, amount)
    return _FRAME if sent.state else _MORE


@pytest.mark.thorough
def test_conversations_reach_every_state_and_many_faults() -> None:
    states, faults = Counter[str](), set[type[codec.Message]]()

    @hypothesis.seed(7)
    @batch(150)
    @given(sent=CONVERSATIONS.faulty())
    def draw(sent: list[Sent]) -> None:
        states.update(each.state for each in sent if each.state)
        faults.add(type(sent[-1].message))

    draw()
    assert {*states} == {*"greeting ready closing finished requested running ended".split()}
    assert len(faults) > 12
