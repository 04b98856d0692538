"""Tests that recorded conversations are runs of the model, and that those with a fault are not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.daemon import Daemon, request, sanitized_daemon
from tests.support.recording import Recording, recordings

from microvm.wire import codec
from microvm_proto.conversation_rules import SentMessage

from ..host.acts import Say
from ..host.harness import play
from ..host.known_scripts import ASKED, ENDED, lasting, output
from ..report import schema
from .spin import Spin
from .traces import TraceModel


@pytest.fixture(scope="module")
def of_daemon(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A conversation with the real daemon, which uses all of the credit that it gets."""
    binary = sanitized_daemon(tmp_path_factory)
    with recordings() as found, closing(Daemon(binary)) as daemon:
        daemon.hello()
        daemon.send(codec.Ping(1))
        daemon.receive_until(codec.Pong)
        fed = codec.StdinKind.HOST
        daemon.send(replace(request(1, b"cat"), stdin_from=fed, stdout_credit=3))
        daemon.receive_until(codec.ExecStdinCredit)
        daemon.send(codec.ExecStdin(1, b"abcdef"))
        daemon.receive_until(codec.ExecOutput)
        daemon.send(codec.ExecCredit(1, codec.Stream.STDOUT, 3))
        daemon.receive_until(codec.ExecOutput)
        daemon.send(codec.ExecStdin(1, b""))
        daemon.receive_until(codec.ExecResponse)
        daemon.send(codec.Shutdown())
        daemon.receive_until(codec.Goodbye)
    (recording,) = found
    return recording


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Record a conversation in which the real daemon runs two commands, and refuses a third one."""
    binary = sanitized_daemon(tmp_path_factory)
    with recordings() as found, closing(Daemon(binary)) as daemon:
        daemon.hello()
        for id_ in (1, 2):
            fed = replace(request(id_, b"cat"), beside=True, stdin_from=codec.StdinKind.HOST)
            daemon.send(replace(fed, stdout_credit=3))
            daemon.receive_until(codec.ExecStdinCredit)
        daemon.send(request(3, b"true"))
        daemon.receive_until(codec.Error)
        for id_ in (2, 1):
            daemon.send(codec.ExecStdin(id_, b"abc"))
            daemon.receive_until(codec.ExecOutput)
        for id_ in (1, 2):
            daemon.send(codec.ExecKill(id_))
            daemon.receive_until(codec.ExecResponse)
        daemon.send(codec.Keep())
        daemon.send(codec.Shutdown())
        daemon.receive_until(codec.Goodbye)
    (recording,) = found
    return recording


def of_both(messages: list[SentMessage]) -> Recording:
    """Return a recording in which both sides count as real, so no message may be out of order."""
    with recordings():
        return Recording(frozenset({"host", "guest"}), is_first=True, messages=messages)


def test_recorded_conversations_are_runs(of_daemon: Recording, trace_model: TraceModel) -> None:
    with recordings() as found:
        play(lasting(*ASKED, Say(output()), ENDED))
    result = trace_model.search([of_daemon, *found])
    assert not result.rejected
    # The request grants different credit to the two streams, so it counts as two events.
    assert result.events > len(of_daemon.messages) + 5


def test_one_wrong_recording_of_thousands_is_rejected(trace_model: TraceModel) -> None:
    hello, ready = (
        SentMessage(side, name, 0, {"nonce": 1})
        for side, name in (("host", "hello"), ("guest", "ready"))
    )
    right, wrong = [hello, ready], [hello, ready, ready]
    result = trace_model.search(map(of_both, [*[right] * 2500, wrong, *[right] * 500]))
    assert (result.events, len(result.rejected)) == (3001 * 2, 1)


@pytest.mark.parametrize("answers", [1, 2])
def test_each_hello_with_a_repeated_nonce_is_answered(
    answers: int, trace_model: TraceModel
) -> None:
    hello, ready = (
        SentMessage(side, name, 0, {"nonce": 3})
        for side, name in (("host", "hello"), ("guest", "ready"))
    )
    with recordings():
        repeated = Recording(frozenset({"guest"}), is_first=True, messages=[hello, hello])
    repeated.messages.extend([ready] * answers)
    assert not trace_model.search([repeated]).rejected


@pytest.mark.thorough
def test_failure_of_the_search_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        Spin(schema(), tmp_path).follow("no number of traces", 3)


@pytest.mark.parametrize("name", ["ready", "exec_response"])
def test_message_too_many_is_rejected(
    name: str, of_daemon: Recording, trace_model: TraceModel
) -> None:
    at = next(n for n, each in enumerate(of_daemon.messages) if each.name == name)
    messages = of_daemon.messages
    wrong = of_both([*messages[: at + 1], *messages[at:]])
    (reason,) = trace_model.search([wrong]).rejected
    assert f"the host receives {name} of id" in reason.splitlines()[0]


Change = Callable[[SentMessage], list[SentMessage]]
CHANGES: dict[str, tuple[str, Change, str]] = {
    "a request that is not answered": ("pong", lambda _: [], "receives exec_stdin_credit of id 1"),
    "output beyond its credit": (
        "exec_output",
        lambda each: [with_field(each, "data", 4)],
        "receives exec_output of id 1 {'stream': '1', 'data': '4'}",
    ),
    "input beyond its credit": (
        "exec_stdin",
        lambda each: [with_field(each, "data", 1 << 21)],
        "sends exec_stdin of id 1 {'data': '2097152'}",
    ),
    "a response about another command": (
        "exec_response",
        lambda each: [each._replace(id=2)],
        "receives exec_response of id 2",
    ),
    "an id that is used twice": (
        "exec_response",
        lambda each: [
            each,
            SentMessage("host", "exec_request", 1, {"stdout_credit": 0, "stderr_credit": 0}),
        ],
        "sends exec_request of id 1",
    ),
}


def with_field(message: SentMessage, name: str, value: int) -> SentMessage:
    return message._replace(fields={**message.fields, name: value})


@pytest.mark.parametrize("fault", CHANGES)
def test_fault_is_rejected(fault: str, of_daemon: Recording, trace_model: TraceModel) -> None:
    name, change, reason = CHANGES[fault]
    at = next(n for n, each in enumerate(of_daemon.messages) if each.name == name)
    messages = [*of_daemon.messages]
    messages[at : at + 1] = change(messages[at])
    recording = of_both(messages)
    (rejected,) = trace_model.search([recording]).rejected
    assert f", the host {reason}" in rejected.splitlines()[0]


def test_commands_at_once_are_runs(of_two: Recording, trace_model: TraceModel) -> None:
    result = trace_model.search([of_two])
    assert not result.rejected
    assert result.events > len(of_two.messages)


def test_id_of_an_earlier_session_is_unknown(trace_model: TraceModel) -> None:
    def session(nonce: int, *ids: int) -> Iterator[SentMessage]:
        yield SentMessage("host", "hello", 0, {"nonce": nonce})
        yield SentMessage("guest", "ready", 0, {"nonce": nonce})
        for id_ in ids:
            yield SentMessage("host", "exec_request", id_, {"stdout_credit": 0, "stderr_credit": 0})
            yield SentMessage("guest", "exec_failed", id_, {})

    # The last command runs. In the model, it has the id that command 9 had before.
    later = [*session(2, *range(1, 9))][:-1]
    unknown = [
        SentMessage("host", "exec_kill", 9, {}),
        SentMessage("guest", "error", 9, {"code": codec.ErrorCode.UNKNOWN_ID}),
    ]
    both = of_both([*session(1, 9), *later, *unknown])
    assert "the host sends exec_kill of id 9" in trace_model.search([both]).rejected[0]
    played = replace(both, real=frozenset({"guest"}))
    assert not trace_model.search([played]).rejected


ANSWER_AND_KILL_OF_SECOND = {("exec_response", 2), ("exec_kill", 2)}
Many = Callable[[list[SentMessage]], list[SentMessage]]
CHANGES_OF_TWO: dict[str, tuple[Many, str]] = {
    "a second command while one without `beside` runs": (
        lambda all_: changed(all_, "exec_request", 1, {"beside": False}),
        "receives exec_stdin_credit of id 2",
    ),
    "a refusal of a command that may run": (
        lambda all_: changed(all_, "exec_request", 3, {"beside": True}),
        "receives error of id 3",
    ),
    "a keep while a command runs": (
        lambda all_: [
            each for each in all_ if (each.name, each.id) not in ANSWER_AND_KILL_OF_SECOND
        ],
        "sends keep of id 0",
    ),
}


def changed(
    messages: list[SentMessage], name: str, id_: int, fields: dict[str, object]
) -> list[SentMessage]:
    return [
        each._replace(fields={**each.fields, **fields})
        if (each.name, each.id) == (name, id_)
        else each
        for each in messages
    ]


@pytest.mark.parametrize("fault", CHANGES_OF_TWO)
def test_fault_of_two_commands_is_rejected(
    fault: str, of_two: Recording, trace_model: TraceModel
) -> None:
    change, reason = CHANGES_OF_TWO[fault]
    (rejected,) = trace_model.search([of_both(change(of_two.messages))]).rejected
    assert f", the host {reason}" in rejected.splitlines()[0]


@pytest.mark.thorough
@pytest.mark.parametrize("number", [codec.MAX_COMMANDS, codec.MAX_COMMANDS + 1])
def test_number_of_commands_at_once_is_limited(number: int, trace_model: TraceModel) -> None:
    credit = {"stdout_credit": 0, "stderr_credit": 0, "beside": True}
    ids = range(1, number + 1)
    messages = [
        SentMessage("host", "hello", 0, {"nonce": 1}),
        SentMessage("guest", "ready", 0, {"nonce": 1}),
        *(SentMessage("host", "exec_request", id_, credit) for id_ in ids),
        *(SentMessage("guest", "exec_stdin_closed", id_, {}) for id_ in ids),
    ]
    rejected = trace_model.search([of_both(messages)]).rejected
    assert len(rejected) == (number > codec.MAX_COMMANDS)
