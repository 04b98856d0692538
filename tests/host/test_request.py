"""Tests that requests contain the given options, or are refused before anything is sent."""

from __future__ import annotations

from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import Any

import pytest
from tests.support.peer import Peer, greeted

from microvm.errors import UsageError
from microvm.guest.guest import Guest
from microvm.guest.run import run
from microvm.options import ExecOptions
from microvm.wire import codec

NULL, HOST = codec.StdinKind.NULL, codec.StdinKind.HOST


async def test_text_is_sent_in_the_file_system_encoding(guest: Guest, peer: Peer) -> None:
    guest.exec(["é", b"\xff", "\udcff"], command="/bin/é", env={"É": "ü"}, cwd=Path("/tmp/é"))
    request = await peer.expect(codec.ExecRequest)
    assert request.command == b"/bin/\xc3\xa9"
    assert request.argv == (b"\xc3\xa9", b"\xff", b"\xff")
    assert request.env == (b"\xc3\x89=\xc3\xbc",)
    assert request.cwd == b"/tmp/\xc3\xa9"


async def test_long_lists_continue_in_the_second_field(guest: Guest, peer: Peer) -> None:
    env = {f"V{number}": "" for number in range(16384 + 3)}
    guest.exec(["x" * 65536] * 17, command="true", env=env)
    request = await peer.expect(codec.ExecRequest)
    assert (len(request.argv), len(request.more_argv)) == (15, 2)
    assert (len(request.env), request.more_env) == (16384, (b"V16384=", b"V16385=", b"V16386="))


async def test_options_replace_defaults_and_single_variables() -> None:
    usual: ExecOptions = {"env": {"A": "1", "B": "2"}, "cwd": "/srv", "user": "app", "timeout": 9}
    cases: list[tuple[ExecOptions, tuple[bytes, ...], bytes, bytes]] = [
        ({}, (b"A=1", b"B=2"), b"/srv", b"app"),
        ({"env": None, "cwd": None, "user": None}, (b"A=1", b"B=2"), b"/srv", b"app"),
        ({"env": {b"B": b"3", b"C": b""}}, (b"A=1", b"B=3", b"C="), b"/srv", b"app"),
        ({"cwd": "", "user": 0}, (b"A=1", b"B=2"), b"", b"0"),
    ]
    async with greeted(defaults=usual) as (guest, peer):
        for options, env, cwd, user in cases:
            process = guest.exec(["true"], **options)
            request = await peer.expect(codec.ExecRequest)
            assert (request.env, request.cwd, request.user) == (env, cwd, user)
            await peer.exit(0)
            await process.wait()


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({}, {"stdin_from": NULL, "rows": 0, "columns": 0}),
        ({"stdin": None}, {"stdin_from": NULL}),
        ({"stdin": DEVNULL}, {"stdin_from": NULL}),
        ({"stdin": PIPE}, {"stdin_from": HOST}),
        ({"stderr": PIPE}, {"joined": False}),
        ({"stderr": STDOUT}, {"joined": True}),
        ({"tty": True}, {"rows": 24, "columns": 80}),
        ({"tty": False}, {"rows": 0, "columns": 0}),
        ({"tty": (1, 2)}, {"rows": 1, "columns": 2}),
        ({"command": ""}, {"command": b"true"}),
        ({"max_processes": 7, "max_memory": "8M"}, {"max_processes": 7, "max_memory": 8 << 20}),
        *(({"user": user}, {"user": b"me"}) for user in ("me", b"me")),
        *(({"user": user}, {"user": str(user).encode()}) for user in ("me:us", "1:2", 1000)),
    ],
    ids=str,
)
async def test_options_become_fields(guest: Guest, peer: Peer, options: Any, fields: Any) -> None:
    process = guest.exec(["true"], **options)
    request = await peer.expect(codec.ExecRequest)
    assert {name: getattr(request, name) for name in fields} == fields
    has_input = request.stdin_from is HOST or request.rows > 0
    assert (process.stdin is not None) == has_input


@pytest.mark.parametrize("line", ["echo $A", b"echo $A"])
async def test_a_shell_runs_a_command_line(guest: Guest, peer: Peer, line: str | bytes) -> None:
    process = guest.exec(line, shell=True)
    request = await peer.expect(codec.ExecRequest)
    assert (request.command, request.argv) == (b"/bin/sh", (b"/bin/sh", b"-c", b"echo $A"))
    assert process.args == ["/bin/sh", "-c", line]


async def test_a_terminal_is_resized(guest: Guest, peer: Peer) -> None:
    process = await peer.started(guest.exec(["sh"], tty=True))
    process.resize(50, 60)
    assert await peer.hear() == codec.ExecResize(1, 50, 60)
    with pytest.raises(UsageError):
        process.resize(-1, 60)


@pytest.mark.parametrize(
    ("argv", "options", "says"),
    [
        ("echo hello", {}, "a list of arguments"),
        (b"ls", {}, "a list of arguments.*set shell=True"),
        (["ls"], {"shell": True}, "argv must be the command line: str or bytes"),
        (["echo", 5], {}, "neither str, bytes nor a path"),
        (["true"], {"env": {"A": None}}, "the value of .A., of type NoneType, is not text"),
        (["true"], {"max_processes": 1 << 32}, "max_processes: 4294967296 is not"),
        (["true"], {"max_memory": 64}, "max_memory: 64 is too little"),
        (["true"], {"timeout": "5 s"}, "timeout: '5 s' is not a duration"),
        (["true"], {"tty": (1, 2, 3)}, "tty"),
        (["true"], {"stderr": DEVNULL}, "stderr: it must be subprocess.PIPE, STDOUT or None"),
        (["true"], {"tty": (1, 1 << 16)}, "tty: 65536 is not"),
        (["true"], {"input": 5}, "input: 5 is neither str nor bytes"),
        (["true"], {"encoding": "hex"}, "encoding: 'hex' is not a text encoding"),
        (["true"], {"errors": "no"}, "errors: unknown error handler name 'no'"),
        (["true"], {"text": True, "newline": "\n"}, 'newline: it must be "" or None'),
        (["true"], {"newline": ""}, "newline has no effect without text mode"),
        (["true"], {"grace": 1}, "timeout"),
        (["true"], {"input": b"x", "stdin": PIPE}, "stdin"),
    ],
)
async def test_usage_errors_are_raised_before_anything_is_sent(
    guest: Guest, peer: Peer, argv: Any, options: Any, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        await run(guest, argv, **options)
    assert await peer.hears_nothing()
