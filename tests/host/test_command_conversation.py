"""Tests of the conversations about commands in a session: one command, and several at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support.options import exec_options
from tests.support.sessions import (
    READY,
    RESPONSE,
    ask,
    asked,
    greeting,
    hear,
    idle,
    request,
    running,
    said,
    several,
)

from microvm.errors import BUILD_AGAIN, Busy, ProtocolError, UsageError
from microvm.guest.request import request_of
from microvm.wire import codec
from microvm.wire.codec import Ending
from microvm.wire.session import WINDOW, Session
from microvm.wire.state import SessionState


def test_a_request_gets_an_id_and_a_window_for_each_stream() -> None:
    session = idle()
    wanted, _ = request_of([b"sh"], exec_options(user="me:1", tty=(24, 80)))
    expected = replace(wanted, id=1, stdout_credit=WINDOW, stderr_credit=WINDOW)
    assert said(session.exec_request(wanted)[1]) == [expected]


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        ([], {}),
        ([b"a", b"b\0"], {}),
        ([b"a" * 131072], {}),
        ([b"a"] * (16384 + 262144 + 1), {}),
        ([b"a" * 131071] * 24, {}),
        *[
            ([b"a"], options)
            for options in (
                {"command": b"a" * 4097},
                {"env": {b"A": b"\0"}},
                {"env": {b"": b"x"}},
                {"env": {b"A=B": b"x"}},
                {"cwd": b"/\0"},
                {"user": b"u" * 129},
                {"tty": (0, 80)},
            )
        ],
    ],
    ids=lambda value: repr(value)[:40],
)
def test_invalid_request_is_refused(argv: list[str | bytes], options: dict[str, Any]) -> None:
    session = idle()
    with pytest.raises(UsageError):
        asked(session, *argv, **options)
    assert session.state is SessionState.READY
    (message,) = said(request(session))
    assert message.id == 1  # type: ignore[union-attr]


def test_out_of_memory_is_valid_only_with_a_memory_limit() -> None:
    end = codec.ExecResponse(1, Ending.OUT_OF_MEMORY, 9)
    session = idle()
    asked(session, b"a", max_memory=1 << 20)
    assert hear(session, end) == [end]
    with pytest.raises(ProtocolError, match="ExecResponse, which is not allowed now"):
        hear(running(), end)


@pytest.mark.parametrize("signal", [-1, 256])
def test_a_signal_that_no_frame_can_carry_is_a_usage_error(signal: int) -> None:
    with pytest.raises(UsageError, match=f"no signal has the number {signal}"):
        running().last.signal(signal)


# -- Several commands ---------------------------------------------------------------------------


@pytest.mark.parametrize("commands", [1, 2, 3, 64])
def test_as_many_commands_run_as_the_option_permits(commands: int) -> None:
    session = several(commands=commands)
    requests = [ask(session) for _ in range(commands)]
    assert [request.id for request in requests] == [*range(1, commands + 1)]
    assert all(request.beside for request in requests)
    parts = [WINDOW // min(count, 4) for count in range(1, commands + 1)]
    assert [request.stdout_credit for request in requests] == parts
    assert [request.stderr_credit for request in requests] == parts
    with pytest.raises(Busy, match=f"the machine runs {commands} command.*, the most that"):
        ask(session)
    hear(session, RESPONSE)
    assert ask(session).id == commands + 1


@pytest.mark.parametrize("first", [True, False])
def test_a_command_that_is_alone_permits_no_other(first: bool) -> None:
    session = several(first)
    with pytest.raises(Busy, match="no other command may run now"):
        ask(session, beside=not first)
    hear(session, RESPONSE)
    assert ask(session, beside=not first).id == 2


def test_busy_lists_what_runs_and_names_the_option() -> None:
    with pytest.raises(Busy) as caught:
        ask(several(True, True, commands=2))
    assert str(caught.value) == (
        "the machine runs 2 commands (cat, cat), the most that it may run at once "
        "(MicroVM(commands=N), or --commands N, permits more)"
    )
    with pytest.raises(Busy, match=r"^the machine runs 5 commands, the most that it may run at"):
        ask(several(*[True] * 5, commands=5))
    with pytest.raises(Busy) as caught:
        ask(several(*[True] * 64, commands=64))
    assert not caught.value.hint


def test_busy_names_a_command_by_its_first_argument() -> None:
    session = idle()
    asked(session, "the transfer of /file", command="/proc/1/fd/5")
    with pytest.raises(Busy, match=r"runs 1 command \(the transfer of /file\)"):
        asked(session, "true")


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_older_guest_runs_one_command_at_a_time(version: int) -> None:
    session = greeting()
    session.commands = 3
    hear(session, replace(READY, version=version, digest=codec.DIGESTS[version]))
    wanted, _ = request_of([b"cat"], exec_options(), beside=True)
    frame = session.exec_request(wanted)[1]
    alone = replace(wanted, id=1, stdout_credit=WINDOW, stderr_credit=WINDOW, beside=False)
    assert frame == alone.encode(version)
    with pytest.raises(Busy) as caught:
        session.exec_request(wanted)
    runs = "the machine runs 1 command (cat), and its image supports only one at a time"
    assert str(caught.value) == f"{runs} ({BUILD_AGAIN})"


def test_processes_are_kept_only_if_no_command_runs() -> None:
    session = several(True, True)
    hear(session, RESPONSE)
    with pytest.raises(Busy, match=r"runs 1 command \(cat\), so its processes cannot be kept"):
        session.keep()
    hear(session, replace(RESPONSE, id=2))
    assert said(session.keep()) == [codec.Keep()]


@pytest.mark.parametrize("end", [Session.hello, Session.shutdown])
def test_the_end_of_a_session_is_the_end_of_all_conversations(
    end: Callable[[Session], bytes],
) -> None:
    session = several(True, True)
    conversations = [*session.running.values()]
    end(session)
    assert {conversation.kill() for conversation in conversations} == {b""}
