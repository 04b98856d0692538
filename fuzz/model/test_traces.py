"""Tests that recorded conversations are runs of the model, and that those with a fault are not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.daemon import Daemon, build_sanitized, request
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
    binary = build_sanitized(tmp_path_factory.mktemp("sanitized"))
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


def test_failure_of_the_search_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        Spin(schema(), tmp_path).follow("no number of traces")


@pytest.mark.parametrize("name", ["ready", "pong", "exec_output", "exec_response", "goodbye"])
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
    "output without credit": (
        "exec_credit",
        lambda _: [],
        "receives exec_output of id 1 {'stream': '1', 'data': '3'}",
    ),
    "a ready for another hello": (
        "ready",
        lambda each: [with_field(each, "nonce", -1)],
        "receives ready of id 0 {'nonce': '-1'}",
    ),
    "a response about another command": (
        "exec_response",
        lambda each: [each._replace(id=2)],
        "receives exec_response of id 2",
    ),
    "a failure of a command that runs": (
        "exec_response",
        lambda each: [each._replace(name="exec_failed")],
        "receives exec_failed of id 1",
    ),
    "a message about an ended command": (
        "exec_response",
        lambda each: [each, SentMessage("host", "exec_kill", 1, {})],
        "sends exec_kill of id 1",
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
