"""Tests that requests contain the given options, or are refused before anything is sent."""

from __future__ import annotations

from dataclasses import replace
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


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        ([], {}),
        (["a\0b"], {}),
        (["\ud800"], {}),
        (["a"], {"env": {"A=B": "c"}}),
        (["a"], {"env": {"A": "\0"}}),
        (["a"], {"cwd": "/\0"}),
        (["a" * 200_000], {}),
    ],
    ids=["empty", "NUL", "surrogate", "name", "NUL in env", "NUL in cwd", "too long"],
)
async def test_a_command_that_cannot_be_encoded_is_not_sent(
    guest: Guest, peer: Peer, argv: list[str], options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        guest.exec(argv, **options)
    guest.exec(["true"])
    assert (await peer.expect(codec.ExecRequest)).id == 1


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


async def test_standard_input_is_empty_by_default(guest: Guest, peer: Peer) -> None:
    for options in ({}, {"stdin": None}, {"stdin": DEVNULL}):
        process = guest.exec(["cat"], **options)
        assert process.stdin is None
        assert (await peer.expect(codec.ExecRequest)).stdin_from is codec.StdinKind.NULL
        await peer.exit(0)
        await process.wait()


async def test_options_become_fields_of_the_request(guest: Guest, peer: Peer) -> None:
    options: dict[str, Any] = {"user": 1000, "tty": (5, 6), "max_processes": 7, "max_memory": "8M"}
    process = guest.exec(["sh"], **options)
    request = await peer.expect(codec.ExecRequest)
    assert request.user == b"1000"
    assert (request.rows, request.columns) == (5, 6)
    assert (request.max_processes, request.max_memory) == (7, 8 << 20)
    assert process.stdin is not None
    process.resize(50, 60)
    assert await peer.hear() == codec.ExecResize(1, 50, 60)
    with pytest.raises(UsageError):
        process.resize(-1, 60)


@pytest.mark.parametrize(
    ("tty", "size"), [(True, (24, 80)), (False, (0, 0)), ((1, 2), (1, 2))], ids=str
)
async def test_size_of_terminal(guest: Guest, peer: Peer, tty: Any, size: tuple[int, int]) -> None:
    process = guest.exec(["sh"], tty=tty)
    request = await peer.expect(codec.ExecRequest)
    assert (request.rows, request.columns) == size
    assert (process.stdin is not None) == bool(tty)


async def test_an_empty_command_is_the_first_argument(guest: Guest, peer: Peer) -> None:
    guest.exec(["true"], command="")
    assert (await peer.expect(codec.ExecRequest)).command == b"true"


@pytest.mark.parametrize("user", ["me", b"me", "me:us", "1:2"], ids=str)
async def test_a_user_by_name(guest: Guest, peer: Peer, user: str | bytes) -> None:
    guest.exec(["sh"], user=user)
    text = user if isinstance(user, bytes) else user.encode()
    assert (await peer.expect(codec.ExecRequest)).user == text


@pytest.mark.parametrize(
    "options",
    [
        {"stdin": STDOUT},
        {"tty": (0, 80)},
        {"tty": (70000, 80)},
        {"user": "a\0"},
        {"max_memory": -1},
    ],
    ids=str,
)
async def test_invalid_option_is_refused(guest: Guest, peer: Peer, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        guest.exec(["true"], **options)
    guest.exec(["true"])
    assert (await peer.expect(codec.ExecRequest)).id == 1


@pytest.mark.parametrize(
    ("argv", "options", "says"),
    [
        ("echo hello", {}, "a list of arguments"),
        (b"ls", {}, "a list of arguments"),
        (["echo", 5], {}, "neither str, bytes nor a path"),
        (["a", None], {}, "neither str, bytes nor a path"),
        (["true"], {"env": {"A": None}}, "the value of .A., of type NoneType, is not text"),
        (["true"], {"max_output": -1}, "max_output"),
        (["true"], {"max_processes": "4"}, "max_processes"),
        (["true"], {"max_processes": 1 << 32}, "max_processes: 4294967296 is not"),
        (["true"], {"max_memory": -1}, "max_memory: -1 is not a size"),
        (["true"], {"max_memory": 64}, "max_memory: 64 is too little"),
        (["true"], {"timeout": "5 s"}, "timeout: '5 s' is not a duration"),
        (["true"], {"timeout": 0}, "timeout: 0 is not a positive duration"),
        (["true"], {"tty": (1, 2, 3)}, "tty"),
        (["true"], {"tty": "yes"}, "tty"),
        (["true"], {"tty": (-1, 80)}, "tty: -1 is not"),
        (["true"], {"tty": (1, 1 << 16)}, "tty: 65536 is not"),
        (["true"], {"tty": (True, 80)}, "tty: True is not"),
        (["true"], {"input": 5}, "input: 5 is neither str nor bytes"),
        (["true"], {"encoding": 5}, "encoding: "),
        (["true"], {"encoding": "hex"}, "encoding: 'hex' is not a text encoding"),
        (["true"], {"errors": 5}, "errors: "),
        (["true"], {"errors": "no"}, "errors: unknown error handler name 'no'"),
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


async def test_option_maxima_are_those_of_the_protocol(guest: Guest, peer: Peer) -> None:
    guest.exec(["sh"], max_processes=(1 << 32) - 1, tty=((1 << 16) - 1, (1 << 16) - 1))
    request = await peer.expect(codec.ExecRequest)
    assert request.max_processes == (1 << 32) - 1
    assert (request.rows, request.columns) == ((1 << 16) - 1, (1 << 16) - 1)
    for field, most in {"max_processes": 1 << 32, "rows": 1 << 16, "columns": 1 << 16}.items():
        with pytest.raises(codec.EncodeError, match=field):
            replace(request, **{field: most}).encode()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("timout", r"did you mean 'timeout'\?$"), ("shell", "its options are command,")],
)
async def test_an_unknown_keyword_is_refused(guest: Guest, name: str, hint: str) -> None:
    with pytest.raises(TypeError, match=rf"^run\(\) has no option '{name}'; {hint}"):
        await run(guest, ["true"], **{name: 1})  # type: ignore[arg-type]


async def test_a_path_is_an_argument(guest: Guest, peer: Peer) -> None:
    process = guest.exec([Path("/bin/true")])  # type: ignore[list-item]
    assert (await peer.expect(codec.ExecRequest)).argv == (b"/bin/true",)
    assert process._command.name == "/bin/true"
