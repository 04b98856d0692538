"""The strategies only produce harmless commands, and `is_safe` recognises the others."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings

from microvm.wire import codec

from .daemon import commands
from .search import SETTINGS
from .strategies import is_safe, messages


@settings(SETTINGS, max_examples=100)
@given(message=messages)
def test_messages_are_safe(message: codec.Message) -> None:
    assert is_safe(message)


def test_no_other_command_is_safe() -> None:
    request = codec.ExecRequest(
        1, b"true", b"", (b"true",), (), 0, 0, b"", codec.StdinKind.NULL, 0, 0, 0, 0
    )
    assert is_safe(request)
    assert not is_safe(replace(request, command=b"sh"))
    assert not is_safe(replace(request, argv=(b"sh", b"-c", b"exit 2")))
    assert not is_safe(replace(request, argv=()))
    assert is_safe(replace(request, argv=(), more_argv=request.argv))
    assert not is_safe(replace(request, more_argv=(b"--help",)))
    assert not is_safe(replace(request, cwd=b"/tmp"))
    assert not is_safe(replace(request, env=(b"PATH=/tmp",)))
    assert not is_safe(replace(request, more_env=(b"PATH=/tmp",)))
    assert is_safe(replace(request, stdin_from=codec.StdinKind.HOST, rows=24, columns=80))
    assert not is_safe(replace(request, user=b"nobody"))
    assert is_safe(replace(request, max_processes=1))
    assert not is_safe(replace(request, max_processes=2))
    assert not is_safe(replace(request, max_memory=1))
    assert not is_safe(replace(request, command=b"sh", argv=commands.SIZED.argv))
    assert is_safe(replace(request, command=b"sh", argv=commands.SIZED.argv, rows=24))
    assert not is_safe(codec.Shutdown())
