"""Tests that malformed frames are refused. The frames are written by hand, without the codec."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from tests.support.daemon import Daemon, hello, request
from tests.support.processes import exists

from microvm.wire import codec
from microvm.wire.codec import Fault

PING, RESUME, EXEC, CREDIT = 4, 3, 16, 22


def frame(body: bytes, type_: int, *, flags: int = 0, id_: int = 0) -> bytes:
    return struct.pack("<IHHI", len(body), type_, flags, id_) + body


def text(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


def items(count: int, *values: bytes) -> bytes:
    return struct.pack("<I", count) + b"".join(text(value) for value in values)


def exec_frame(command: bytes = b"true", argv: bytes = bytes(4), rest: bytes = bytes(38)) -> bytes:
    """Return a request for a command with given arguments. The rest begins behind the credit."""
    return frame(text(command) + text(b"") + argv + bytes(4 + 8) + rest, EXEC, id_=1)


@dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    fault: Fault
    offset: int
    field: int = 0


FULL = items(9, *[b"x" * 131068] * 8, b"")  # one byte longer than the longest list
CASES = [
    Case("a type that nobody has", frame(b"", 999), Fault.UNKNOWN_TYPE, 4),
    Case("a message of the guest", frame(bytes(8), 5), Fault.BAD_DIRECTION, 4),
    Case("the highest flag", frame(bytes(8), PING, flags=0x8000), Fault.RESERVED_FLAGS, 6),
    Case("no id where one is", frame(b"", EXEC), Fault.BAD_ID, 8),
    Case("one too long", struct.pack("<IHHI", 6299832, EXEC, 0, 1), Fault.BODY_TOO_LONG, 0),
    Case("a short integer", frame(bytes(7), PING), Fault.TRUNCATED, 12, 1),
    Case("bytes beyond the body", frame(bytes(8) + b"\2\0\0\0x", RESUME), Fault.TRUNCATED, 24, 2),
    Case("a long user", exec_frame(rest=text(b"u" * 129) + bytes(34)), Fault.TOO_LONG, 40, 7),
    Case("a long argument", exec_frame(argv=items(1, b"x" * 131072)), Fault.TOO_LONG, 28, 3),
    Case("too many arguments", exec_frame(argv=items(16385)), Fault.TOO_MANY, 24, 3),
    Case("too long a list", exec_frame(argv=FULL), Fault.TOTAL_TOO_LONG, 28 + 1048576, 3),
    Case("no stream", frame(bytes(5), CREDIT, id_=1), Fault.UNKNOWN_VALUE, 12, 1),
    Case("a NUL in the command", exec_frame(command=b"tr\0e"), Fault.EMBEDDED_NUL, 18, 1),
    Case("more behind the limits", exec_frame(rest=bytes(39)), Fault.TRAILING_BYTES, 71),
]

each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))


def refusal(case: Case) -> codec.Error:
    _, type_, _, id_ = struct.unpack_from("<IHHI", case.data)
    code = codec.ErrorCode(case.fault)
    return codec.Error(id_, code, type_, case.offset, case.field)


def test_every_fault_has_a_case() -> None:
    # The others are faults of types and framings that this protocol lacks.
    assert {case.fault for case in CASES} == {*range(1, Fault.TRAILING_BYTES + 1)}


@each
def test_codec_of_the_host_reports_the_same_error(case: Case) -> None:
    decoder = codec.Decoder("host")
    decoder.receive_data(case.data)
    with pytest.raises(codec.DecodeError) as caught:
        decoder.next_message()
    error = caught.value
    assert (error.fault, error.offset, error.field_number) == (case.fault, case.offset, case.field)


@each
def test_everything_is_dropped_until_a_hello(sandboxd: Daemon, case: Case) -> None:
    echo = request(1, b"sh", b"-c", b"echo no")
    sandboxd.send(case.data, codec.Ping(1), echo, codec.Shutdown(), case.data)
    sandboxd.expect(refusal(case))
    sandboxd.hello(2)
    assert sandboxd.sync() == []
    status = sandboxd.status()
    assert (status.frames_seen, status.frames_refused, status.execs) == (4, 1, 0)


def test_the_error_is_the_same_byte_by_byte(sandboxd: Daemon) -> None:
    for nonce, case in enumerate(CASES, 2):
        if len(case.data) < 100:
            sandboxd.send_each(*(bytes([byte]) for byte in case.data))
            sandboxd.expect(refusal(case))
            sandboxd.hello(nonce)


def test_the_running_command_is_killed_by_the_hello_that_follows(sandboxd: Daemon) -> None:
    pid = sandboxd.sleeper()
    sandboxd.send(b"garbage that is long enough")
    assert isinstance(sandboxd.receive(), codec.Error)
    assert exists(pid)
    sandboxd.hello(2)
    assert not exists(pid)
    assert sandboxd.run(b"true").exit_code == 0


def test_a_hello_right_behind_the_fault_is_found(sandboxd: Daemon) -> None:
    for nonce, case in enumerate(CASES, 2):
        sandboxd.send(case.data, hello(nonce))
        sandboxd.expect(refusal(case))
        assert isinstance(sandboxd.receive(), codec.Ready)
