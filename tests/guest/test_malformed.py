"""Tests that malformed frames are refused."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from tests.support import vectors
from tests.support.daemon import Daemon, hello, request
from tests.support.processes import exists

from microvm.wire import codec
from microvm.wire.codec import Fault


def frame(body: bytes, type_: int, *, flags: int = 0, id_: int = 0) -> bytes:
    return struct.pack("<IHHI", len(body), type_, flags, id_) + body


def text(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


def exec_body(**parts: bytes) -> bytes:
    """Return the body of a valid request for a command, with some of its parts replaced."""
    lists = {"argv": bytes(4), "env": bytes(4)}
    rest = bytes(4 + 1 + 2 + 2 + 4 + 8 + 4 + 4 + 1)
    known = {"command": text(b"true"), "cwd": text(b""), **lists, "credit": bytes(8), "rest": rest}
    assert parts.keys() <= known.keys()
    return b"".join((known | parts).values())


def exec_frame(**parts: bytes) -> bytes:
    return frame(exec_body(**parts), EXEC, id_=1)


def items(count: int, *values: bytes) -> bytes:
    return struct.pack("<I", count) + b"".join(text(value) for value in values)


@dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    fault: Fault
    offset: int
    field: int = 0


PING, RESUME, EXEC, SIGNAL, CREDIT = 4, 3, 16, 20, 22
STDIN, RESIZE = 23, 26
FULL = [b"x" * 131068] * 8  # with their lengths, the maximum size of a list
FILLED = 28 + 1048576  # offset behind a full list of arguments
EMPTY = [b""] * 16385
NUL_ITEMS = items(2, b"a", b"b\0")
LOST = text(b"t") + text(b"") + items(2, b"a")
ENTROPY = b"\x41\0\0\0" + bytes(64)

# The end of requests, from the user on.
SOURCE_2 = text(b"") + b"\2" + bytes(16)
NUL_USER = text(b"root\0") + bytes(17)
MORE_ENV = bytes(4 + 17 + 4) + items(262145)
NUL_MORE = bytes(4 + 17) + items(1, b"b\0") + bytes(4)
BESIDE_2 = bytes(4 + 17 + 8) + b"\2"
JOINED_2 = bytes(4 + 17 + 8 + 1) + b"\2"
TOO_MUCH = bytes(4 + 17 + 8 + 1 + 1) + b"xyz"

CASES = [
    Case("a type that nobody has", frame(b"", 999), Fault.UNKNOWN_TYPE, 4),
    Case("the type 0", frame(b"", 0), Fault.UNKNOWN_TYPE, 4),
    Case("a message of the guest", frame(bytes(8), 5), Fault.BAD_DIRECTION, 4),
    Case("output from the host", frame(b"\1x", 17, id_=1), Fault.BAD_DIRECTION, 4),
    Case("flags", frame(bytes(8), PING, flags=1), Fault.RESERVED_FLAGS, 6),
    Case("the highest flag", frame(bytes(8), PING, flags=0x8000), Fault.RESERVED_FLAGS, 6),
    Case("an id where none is", frame(bytes(8), PING, id_=1), Fault.BAD_ID, 8),
    Case("no id where one is", frame(exec_body(), EXEC), Fault.BAD_ID, 8),
    Case("a long body", frame(bytes(9), PING), Fault.BODY_TOO_LONG, 0),
    Case("the longest body", struct.pack("<IHHI", 2**32 - 1, EXEC, 0, 1), Fault.BODY_TOO_LONG, 0),
    Case("one too long", struct.pack("<IHHI", 6299832, EXEC, 0, 1), Fault.BODY_TOO_LONG, 0),
    Case("a short integer", frame(bytes(7), PING), Fault.TRUNCATED, 12, 1),
    Case("an empty body", frame(b"", PING), Fault.TRUNCATED, 12, 1),
    Case("no length", frame(bytes(8), RESUME), Fault.TRUNCATED, 20, 2),
    Case("half a length", frame(bytes(10), RESUME), Fault.TRUNCATED, 20, 2),
    Case("bytes beyond the body", frame(bytes(8) + b"\2\0\0\0x", RESUME), Fault.TRUNCATED, 24, 2),
    Case("a list without its items", frame(LOST, EXEC, id_=1), Fault.TRUNCATED, 30, 3),
    Case("no second credit", exec_frame(credit=bytes(4), rest=b""), Fault.TRUNCATED, 36, 6),
    Case("no user", exec_frame(rest=b""), Fault.TRUNCATED, 40, 7),
    Case("no source", exec_frame(rest=text(b"u")), Fault.TRUNCATED, 45, 8),
    Case("half a size", exec_frame(rest=bytes(6)), Fault.TRUNCATED, 45, 9),
    Case("half a limit", exec_frame(rest=bytes(20)), Fault.TRUNCATED, 53, 12),
    Case("half a new size", frame(bytes(3), RESIZE, id_=1), Fault.TRUNCATED, 14, 2),
    Case("input without an exec", frame(b"x", STDIN), Fault.BAD_ID, 8),
    Case("much input", frame(bytes(65537), STDIN, id_=1), Fault.BODY_TOO_LONG, 0),
    Case("a large size", frame(bytes(5), RESIZE, id_=1), Fault.BODY_TOO_LONG, 0),
    Case("credit for input", frame(bytes(4), 24, id_=1), Fault.BAD_DIRECTION, 4),
    Case("the end of input", frame(b"", 25, id_=1), Fault.BAD_DIRECTION, 4),
    Case("a long user", exec_frame(rest=text(b"u" * 129) + bytes(17)), Fault.TOO_LONG, 40, 7),
    Case("a third source", exec_frame(rest=SOURCE_2), Fault.UNKNOWN_VALUE, 44, 8),
    Case(
        "beside, but neither true nor false", exec_frame(rest=BESIDE_2), Fault.UNKNOWN_VALUE, 69, 15
    ),
    Case(
        "joined, but neither true nor false", exec_frame(rest=JOINED_2), Fault.UNKNOWN_VALUE, 70, 16
    ),
    Case("a NUL in the user", exec_frame(rest=NUL_USER), Fault.EMBEDDED_NUL, 48, 7),
    Case("a long command", exec_frame(command=text(b"x" * 4097)), Fault.TOO_LONG, 12, 1),
    Case("a long argument", exec_frame(argv=items(1, b"x" * 131072)), Fault.TOO_LONG, 28, 3),
    Case("much entropy", frame(bytes(8) + ENTROPY, RESUME), Fault.TOO_LONG, 20, 2),
    Case("too many arguments", exec_frame(argv=items(16385, *EMPTY)), Fault.TOO_MANY, 24, 3),
    Case("too many variables", exec_frame(env=items(2**32 - 1)), Fault.TOO_MANY, 28, 4),
    Case("too many more variables", exec_frame(rest=MORE_ENV), Fault.TOO_MANY, 65, 14),
    Case("a NUL in one more argument", exec_frame(rest=NUL_MORE), Fault.EMBEDDED_NUL, 70, 13),
    Case("too long a list", exec_frame(argv=items(9, *FULL, b"")), Fault.TOTAL_TOO_LONG, FILLED, 3),
    Case("a wrong magic", frame(bytes(32), 1), Fault.UNKNOWN_VALUE, 12, 1),
    Case("a third stream", frame(b"\3" + bytes(4), CREDIT, id_=1), Fault.UNKNOWN_VALUE, 12, 1),
    Case("no stream", frame(bytes(5), CREDIT, id_=1), Fault.UNKNOWN_VALUE, 12, 1),
    Case("a NUL in the command", exec_frame(command=text(b"tr\0e")), Fault.EMBEDDED_NUL, 18, 1),
    Case("a NUL in the folder", exec_frame(cwd=text(b"\0")), Fault.EMBEDDED_NUL, 24, 2),
    Case("a NUL in an argument", exec_frame(argv=NUL_ITEMS), Fault.EMBEDDED_NUL, 38, 3),
    Case("a NUL in a variable", exec_frame(env=items(1, b"A=\0")), Fault.EMBEDDED_NUL, 38, 4),
    Case("more behind a short field", frame(bytes(12) + b"x", RESUME), Fault.TRAILING_BYTES, 24),
    Case("more behind the limits", exec_frame(rest=TOO_MUCH), Fault.TRAILING_BYTES, 71),
]

each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))


def refusal(case: Case) -> codec.Error:
    _, type_, _, id_ = struct.unpack_from("<IHHI", case.data)
    code = codec.ErrorCode(case.fault)
    return codec.Error(id_, code, type_, case.offset, case.field)


def test_every_fault_has_a_case() -> None:
    found = {vector.fault[0] for vector in vectors.load(vectors.COMMITTED) if vector.fault}
    assert {case.fault for case in CASES} == found


@each
def test_error_has_kind_offset_and_field(sandboxd: Daemon, case: Case) -> None:
    sandboxd.send(case.data)
    sandboxd.expect(refusal(case))


@each
def test_codec_of_the_host_reports_the_same_error(case: Case) -> None:
    decoder = codec.Decoder("host")
    decoder.receive_data(case.data)
    with pytest.raises(codec.DecodeError) as caught:
        decoder.next_message()
    error = caught.value
    assert (error.fault, error.offset, error.field_number) == (case.fault, case.offset, case.field)


def test_the_error_is_the_same_byte_by_byte(sandboxd: Daemon) -> None:
    for nonce, case in enumerate(CASES, 2):
        if len(case.data) < 100:
            sandboxd.send_each(*(bytes([byte]) for byte in case.data))
            sandboxd.expect(refusal(case))
            sandboxd.hello(nonce)


@each
def test_everything_is_dropped_until_a_hello(sandboxd: Daemon, case: Case) -> None:
    echo = request(1, b"sh", b"-c", b"echo no")
    sandboxd.send(case.data, codec.Ping(1), echo, codec.Shutdown(), case.data)
    sandboxd.expect(refusal(case))
    sandboxd.hello(2)
    assert sandboxd.sync() == []
    status = sandboxd.status()
    assert (status.frames_seen, status.frames_refused, status.execs) == (4, 1, 0)


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


@pytest.mark.thorough
def test_a_frame_that_is_not_whole_has_no_effect(sandboxd: Daemon) -> None:
    whole = request(1, b"true").encode()
    sandboxd.send(codec.Ping(1), whole[:-1])
    sandboxd.expect(codec.Pong(1))
    sandboxd.send(whole[-1:], codec.Ping(2))
    before, _ = sandboxd.receive_until(codec.Pong)
    assert all(isinstance(message, codec.ExecResponse) for message in before)
