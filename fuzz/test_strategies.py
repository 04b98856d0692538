"""The strategies make what they say, and reach all of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from microvm.wire import codec
from microvm.wire.codec import Fault

from .daemon import commands
from .frames import Reader, pieces
from .settings import SETTINGS
from .strategies import Example, Part, examples, faulty, is_safe, messages


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
def test_each_fault_is_made(fault: Fault) -> None:
    @settings(SETTINGS, max_examples=50)
    @given(data=faulty(fault) | faulty(fault, large=True))
    def check(data: bytes) -> None:
        decoder = codec.Decoder("host")
        decoder.receive_data(data)
        with pytest.raises(codec.DecodeError) as caught:
            decoder.next_message()
        assert caught.value.fault is fault

    check()


@settings(SETTINGS, max_examples=100)
@given(message=messages)
def test_valid_messages_are_valid_and_safe(message: codec.Message) -> None:
    decoder = codec.Decoder("host")
    decoder.receive_data(message.encode())
    assert decoder.next_message() == message
    assert is_safe(message)


def test_no_other_command_is_safe() -> None:
    request = codec.ExecRequest(
        1, b"true", b"", (b"true",), (), 0, 0, b"", codec.StdinKind.NULL, 0, 0, 0, 0
    )
    assert is_safe(request)
    assert not is_safe(replace(request, command=b"sh"))
    assert not is_safe(replace(request, argv=(b"sh", b"-c", b"exit 2")))
    assert not is_safe(replace(request, argv=()))
    assert not is_safe(replace(request, cwd=b"/tmp"))
    assert not is_safe(replace(request, env=(b"PATH=/tmp",)))
    assert is_safe(replace(request, stdin_from=codec.StdinKind.HOST, rows=24, columns=80))
    assert not is_safe(replace(request, user=b"nobody"))
    assert is_safe(replace(request, max_processes=1))
    assert not is_safe(replace(request, max_processes=2))
    assert not is_safe(replace(request, max_memory=1))
    assert not is_safe(replace(request, command=b"sh", argv=commands.SIZED.argv))
    assert is_safe(replace(request, command=b"sh", argv=commands.SIZED.argv, rows=24))
    assert not is_safe(codec.Shutdown())


@settings(SETTINGS, max_examples=100)
@given(example=examples())
def test_the_model_reads_the_same_in_any_cut(example: Example) -> None:
    whole, cut = Reader(), Reader()
    expected = [_flat(event.outcome) for event in whole.feed(example.data)]
    found = [
        _flat(event.outcome)
        for piece in pieces(example.data, example.cuts)
        for event in cut.feed(piece)
    ]
    assert found == expected
    assert (cut.dropped, cut.missing()) == (whole.dropped, whole.missing())


def _flat(outcome: object) -> object:
    return str(outcome) if isinstance(outcome, codec.DecodeError) else outcome


def test_an_example_describes_itself() -> None:
    part = Part("valid Ping", codec.Ping(1).encode())
    text = repr(Example((part, part), (3,)))
    assert text == "40 bytes: valid Ping, valid Ping; cut at [3]"
