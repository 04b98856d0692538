"""Tests of the protocol's codec: valid and invalid frames of the specification, cut anywhere."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import struct
import tracemalloc
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fuzz import messages as random_messages
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microvm.wire import codec
from microvm.wire.codec import (
    DecodeError,
    Decoder,
    EncodeError,
    Ending,
    ErrorCode,
    Fault,
    GoodbyeReason,
    Message,
    Stage,
    StdinKind,
    Stream,
)

HEADER = 12
MAGIC = 0x0A6D766F7263696D


def frame(number: int, body: bytes = b"", *, about: int = 0, flags: int = 0) -> bytes:
    """Return a frame that is encoded without the codec."""
    return struct.pack("<IHHI", len(body), number, flags, about) + body


def block(data: bytes) -> bytes:
    """Return bytes after their length."""
    return struct.pack("<I", len(data)) + data


def blocks(*items: bytes) -> bytes:
    return struct.pack("<I", len(items)) + b"".join(map(block, items))


def request(
    command: bytes = block(b"sh"),
    cwd: bytes = block(b""),
    argv: bytes = blocks(b"sh"),
    env: bytes = blocks(),
    credit: bytes = struct.pack("<II", 1, 2),
    user: bytes = block(b""),
    rest: bytes = bytes(1 + 2 + 2 + 4 + 8),
    more: bytes = bytes(4 + 4),
    beside: bytes = b"\1",
    joined: bytes = b"\1",
) -> bytes:
    return command + cwd + argv + env + credit + user + rest + more + beside + joined


def decode(sender: str, *pieces: bytes) -> Iterator[Message]:
    """Decode a stream in pieces, and check that each message is returned as early as possible."""
    decoder = Decoder(sender)
    for piece in pieces:
        decoder.receive_data(piece)
        while (message := decoder.next_message()) is not None:
            yield message


LAYOUT = "<QIQIQ"
VALID_FROM_HOST: dict[str, tuple[Message, bytes]] = {
    "hello": (codec.Hello(1, 2, 3, 4), frame(1, struct.pack(LAYOUT, MAGIC, 1, 2, 3, 4))),
    "resume": (codec.Resume(258, b"\0x"), frame(3, b"\2\1" + bytes(6) + block(b"\0x"))),
    "resume, without entropy": (codec.Resume(0, b""), frame(3, bytes(12))),
    "ping": (codec.Ping(0x0102030405060708), frame(4, b"\x08\7\6\5\4\3\2\1")),
    "status_request": (codec.StatusRequest(), frame(6)),
    "shutdown": (codec.Shutdown(), frame(8)),
    "keep": (codec.Keep(), frame(11)),
    "exec_request": (
        codec.ExecRequest(
            5,
            b"ls",
            b"/",
            (b"ls", b"", b"-\xff"),
            (b"A=b", b"C="),
            1,
            2**32 - 1,
            b"me:1",
            StdinKind.HOST,
            24,
            80 << 8,
            3,
            2**63,
            more_argv=(b"x",),
            more_env=(b"D=", b""),
            beside=True,
            joined=True,
        ),
        frame(
            16,
            block(b"ls")
            + block(b"/")
            + blocks(b"ls", b"", b"-\xff")
            + blocks(b"A=b", b"C=")
            + struct.pack("<II", 1, 2**32 - 1)
            + block(b"me:1")
            + b"\1\x18\0\0\x50\3\0\0\0"
            + bytes(7)
            + b"\x80"
            + blocks(b"x")
            + blocks(b"D=", b"")
            + b"\1\1",
            about=5,
        ),
    ),
    "exec_request, empty": (
        codec.ExecRequest(2**32 - 1, b"", b"", (), (), 0, 0, b"", codec.StdinKind.NULL, 0, 0, 0, 0),
        frame(16, bytes(45 + 10), about=2**32 - 1),
    ),
    "exec_signal": (codec.ExecSignal(1, 15), frame(20, b"\x0f", about=1)),
    "exec_kill": (codec.ExecKill(1), frame(21, about=1)),
    "exec_terminate": (codec.ExecTerminate(1), frame(27, about=1)),
    "exec_credit": (codec.ExecCredit(3, Stream.STDOUT, 65536), frame(22, b"\1\0\0\1\0", about=3)),
    "exec_stdin": (codec.ExecStdin(2, b"\0\xff\n"), frame(23, b"\0\xff\n", about=2)),
    "exec_stdin, the end": (codec.ExecStdin(2, b""), frame(23, about=2)),
    "exec_resize": (codec.ExecResize(2, 24, 258), frame(26, b"\x18\0\2\1", about=2)),
}
VALID_FROM_GUEST: dict[str, tuple[Message, bytes]] = {
    "ready": (
        codec.Ready(2**32 - 1, 2**64 - 1, 2**32 - 1, 2**64 - 1),
        frame(2, struct.pack("<Q", MAGIC) + b"\xff" * 24),
    ),
    "pong": (codec.Pong(1), frame(5, b"\1" + bytes(7))),
    "status": (
        codec.Status(1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
        frame(7, struct.pack("<7QIBQ", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)),
    ),
    "goodbye": (codec.Goodbye(GoodbyeReason.BROKEN), frame(9, b"\2")),
    "goodbye, of another version": (codec.Goodbye(77), frame(9, b"M")),
    "error": (
        codec.Error(7, ErrorCode.BUSY, 16, 0, 0),
        frame(10, struct.pack("<HHIB", 64, 16, 0, 0), about=7),
    ),
    "error, about no exec": (
        codec.Error(0, 999, 2, 3, 4),
        frame(10, struct.pack("<HHIB", 999, 2, 3, 4)),
    ),
    "exec_output": (
        codec.ExecOutput(1, Stream.STDERR, b"\0\xff\n"),
        frame(17, b"\2\0\xff\n", about=1),
    ),
    "exec_output, empty": (codec.ExecOutput(1, Stream.STDOUT, b""), frame(17, b"\1", about=1)),
    "exec_response": (
        codec.ExecResponse(1, Ending.SIGNALLED, 9),
        frame(18, b"\1\x09" + bytes(8), about=1),
    ),
    "exec_failed": (
        codec.ExecFailed(1, Stage.LOOKUP, 2),
        frame(19, b"\5\2\0\0\0\0\0\0\0", about=1),
    ),
    "exec_failed, its interpreter": (
        codec.ExecFailed(1, Stage.INTERPRETER, 2, missing=b"/ld"),
        frame(19, b"\7\2\0\0\0\3\0\0\0/ld", about=1),
    ),
    "exec_response, out of memory": (
        codec.ExecResponse(1, Ending.OUT_OF_MEMORY, 9),
        frame(18, b"\2\x09" + bytes(8), about=1),
    ),
    "exec_response, all memory": (
        codec.ExecResponse(1, Ending.EXITED, 0, memory=2**64 - 1),
        frame(18, b"\0\0" + b"\xff" * 8, about=1),
    ),
    "exec_stdin_credit": (codec.ExecStdinCredit(2, 0x01020304), frame(24, b"\4\3\2\1", about=2)),
    "exec_stdin_closed": (codec.ExecStdinClosed(2), frame(25, about=2)),
    "error, over credit": (
        codec.Error(2, ErrorCode.OVER_CREDIT, 23, 0, 0),
        frame(10, struct.pack("<HHIB", 67, 23, 0, 0), about=2),
    ),
    "exec_failed, its user": (
        codec.ExecFailed(1, Stage.USER, 2),
        frame(19, b"\x08\2\0\0\0\0\0\0\0", about=1),
    ),
    "exec_failed, its limits": (
        codec.ExecFailed(1, Stage.LIMIT, 22),
        frame(19, b"\x09\x16\0\0\0\0\0\0\0", about=1),
    ),
}
VALID: dict[str, tuple[str, Message, bytes]] = {
    name: (sender, *vector)
    for sender, vectors in (("host", VALID_FROM_HOST), ("guest", VALID_FROM_GUEST))
    for name, vector in vectors.items()
}
valid = pytest.mark.parametrize(("sender", "message", "data"), VALID.values(), ids=VALID)

# The longest item of argv, and the longest one that fits after seven of these.
LONG, LAST = 131071, 131047
# Invalid bodies of an `exec_request`, by fault: the body, the fault's offset in the body, and the
# number of the field.
INVALID_REQUESTS: dict[Fault, dict[str, tuple[bytes, int, int]]] = {
    Fault.TRUNCATED: {
        "request without a user": (
            request(user=b"", rest=b"", more=b"", beside=b"", joined=b""),
            32,
            7,
        ),
        "request cut in a number": (
            request(rest=bytes(16), more=b"", beside=b"", joined=b""),
            32 + 4 + 9,
            12,
        ),
        "request without its last field": (request(joined=b""), 32 + 4 + 17 + 9, 16),
        "item cut": (block(b"") * 2 + b"\2\0\0\0" + block(b"a") + b"\2\0\0\0b", 8 + 4 + 5 + 4, 3),
        "item missing": (block(b"") * 2 + b"\2\0\0\0" + block(b"a"), 8 + 4 + 5, 3),
    },
    Fault.TOO_LONG: {
        "user too long": (request(user=block(b"u" * 129)), 32, 7),
        "bytes too long": (request(command=block(b"a" * 4097)), 0, 1),
        "item too long": (request(argv=blocks(b"a", b"b" * (LONG + 1))), 6 + 4 + 4 + 5, 3),
    },
    Fault.EMBEDDED_NUL: {
        "NUL in the user": (request(user=block(b"u\0")), 32 + 4 + 1, 7),
        "NUL in one more argument": (
            request(more=blocks(b"\0") + blocks()),
            32 + 4 + 17 + 4 + 4,
            13,
        ),
        "NUL in the command": (request(command=block(b"l\0s\0")), 4 + 1, 1),
        "NUL in an argument": (request(argv=blocks(b"a", b"\0")), 6 + 4 + 4 + 5 + 4, 3),
    },
    Fault.UNKNOWN_VALUE: {
        "third kind of stdin": (request(rest=b"\2" + bytes(16)), 32 + 4, 8),
        "neither alone nor beside others": (request(beside=b"\2"), 32 + 4 + 17 + 8, 15),
        "neither joined nor apart": (request(joined=b"\2"), 32 + 4 + 17 + 9, 16),
    },
    Fault.TOO_MANY: {
        "too many items": (request(env=blocks(*[b""] * 16385)), 6 + 4 + 10, 4),
        "4 billion items": (request(argv=b"\xff\xff\xff\xff", env=b"", credit=b""), 6 + 4, 3),
        "too many more items": (request(more=blocks() + b"\1\0\4\0"), 32 + 4 + 17 + 4, 14),
    },
    Fault.TOTAL_TOO_LONG: {
        "items too long in all": (
            request(argv=blocks(*[b"a" * LONG] * 7, b"b" * (LAST + 1))),
            6 + 4 + 4 + 7 * (4 + LONG),
            3,
        )
    },
    Fault.TRAILING_BYTES: {"bytes behind a request": (request() + b"++", len(request()), 0)},
}
# Other invalid frames, by fault: the sender, the frame, the fault's offset in the frame, and the
# number of the field.
INVALID_FRAMES: dict[Fault, dict[str, tuple[str, bytes, int, int]]] = {
    Fault.UNKNOWN_TYPE: {
        "type 0": ("host", frame(0), 4, 0),
        "type between": ("host", frame(12), 4, 0),
        "type beyond": ("guest", frame(65535), 4, 0),
        "unknown type before flags": ("guest", frame(99, flags=1), 4, 0),
    },
    Fault.BAD_DIRECTION: {
        "from the guest": ("host", VALID["pong"][2], 4, 0),
        "from the host": ("guest", VALID["ping"][2], 4, 0),
        "direction before flags": ("guest", frame(4, flags=1), 4, 0),
        "input from the guest": ("guest", VALID["exec_stdin"][2], 4, 0),
        "input's credit from the host": ("host", VALID["exec_stdin_credit"][2], 4, 0),
        "input's end from the host": ("host", VALID["exec_stdin_closed"][2], 4, 0),
    },
    Fault.RESERVED_FLAGS: {
        "a flag": ("host", frame(8, flags=0x8000), 6, 0),
        "flags before id": ("host", frame(8, flags=1, about=1), 6, 0),
    },
    Fault.BAD_ID: {
        "id where none is": ("host", frame(8, about=1), 8, 0),
        "no id where one is": ("host", frame(21), 8, 0),
        "id before length": ("host", frame(21, b"+"), 8, 0),
        "input for no exec": ("host", frame(23, b"x"), 8, 0),
    },
    Fault.BODY_TOO_LONG: {
        "longer than its type": ("host", frame(4, bytes(9)), 0, 0),
        "4 GiB": ("guest", struct.pack("<IHHI", 2**32 - 1, 17, 0, 1), 0, 0),
        "output that is a byte too long": ("guest", frame(17, b"\1" + bytes(65537), about=1), 0, 0),
        "input that is a byte too long": ("host", frame(23, bytes(65537), about=1), 0, 0),
        "bytes behind an empty body": ("host", frame(8, b"+"), 0, 0),
    },
    Fault.TRUNCATED: {
        "size cut": ("host", frame(26, bytes(3), about=1), HEADER + 2, 2),
        "integer cut": ("guest", frame(18, b"\1", about=1), HEADER + 1, 2),
        "integer missing": ("guest", frame(18, about=1), HEADER, 1),
        "constant cut": ("host", frame(1, bytes(7)), HEADER, 1),
        "length cut": ("host", frame(3, bytes(8 + 3)), HEADER + 8, 2),
        "bytes cut": ("host", frame(3, bytes(8) + b"\2\0\0\0."), HEADER + 8 + 4, 2),
    },
    Fault.TOO_LONG: {
        "bytes too long and cut": ("host", frame(3, bytes(8) + b"\x41\0\0\0"), HEADER + 8, 2)
    },
    Fault.UNKNOWN_VALUE: {
        "wrong magic": ("host", frame(1, struct.pack(LAYOUT, MAGIC + 1, 1, 2, 3, 4)), HEADER, 1),
        "value below a closed enum": ("guest", frame(17, b"\0data", about=1), HEADER, 1),
        "value above a closed enum": ("guest", frame(18, b"\3\0", about=1), HEADER, 1),
        "unknown value before the rest": ("host", frame(22, b"\3", about=1), HEADER, 1),
    },
    Fault.TRAILING_BYTES: {
        "bytes behind the last field": ("host", frame(3, bytes(12) + b"+"), HEADER + 12, 0)
    },
}
Expected = tuple[Fault, int, int]
# All invalid frames: the sender, the frame, and the expected fault, offset and field.
INVALID: dict[str, tuple[str, bytes, Expected]] = {
    name: (sender, data, (fault, offset, field))
    for fault, vectors in INVALID_FRAMES.items()
    for name, (sender, data, offset, field) in vectors.items()
} | {
    name: ("host", frame(16, body, about=1), (fault, HEADER + offset, field))
    for fault, vectors in INVALID_REQUESTS.items()
    for name, (body, offset, field) in vectors.items()
}
invalid = pytest.mark.parametrize(("sender", "data", "expected"), INVALID.values(), ids=INVALID)


def test_there_is_a_valid_vector_for_every_message() -> None:
    kinds = {kind for kind in vars(codec).values() if hasattr(kind, "TYPE")}
    assert {type(message) for _, message, _ in VALID.values()} == kinds


def test_there_is_an_invalid_vector_for_every_fault() -> None:
    """Faults of types and checks that this protocol does not use have no vector."""
    others = {Fault.NOT_UTF8, Fault.NOT_FINITE, Fault.BAD_CHECK, Fault.BAD_STUFFING}
    assert {fault for _, _, (fault, _, _) in INVALID.values()} == set(Fault) - others


@valid
def test_message_is_encoded_as_specified(sender: str, message: Message, data: bytes) -> None:
    assert message.encode() == data


@valid
def test_a_frame_is_read_wherever_it_is_cut(sender: str, message: Message, data: bytes) -> None:
    assert list(decode(sender, data)) == [message]
    assert list(decode(sender, *(data[at : at + 1] for at in range(len(data))))) == [message]
    assert list(decode(sender, data[:-1])) == []
    assert list(decode(sender, data[:-1], data[-1:])) == [message]
    assert list(decode(sender, data + data[:-1])) == [message]
    assert list(decode(sender, data + data[:-1], data[-1:])) == [message, message]


def check(error: DecodeError, expected: Expected) -> None:
    assert (error.fault, error.offset, error.field_number) == expected
    assert bool(error.field) == bool(error.field_number)
    assert error.fault.name.lower() in str(error)


@invalid
def test_malformed_frame_is_refused_in_pieces(sender: str, data: bytes, expected: Expected) -> None:
    # Long streams in larger pieces, which are still cut within every field.
    step = 1 if len(data) < 10_000 else 997
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    header = [data[:HEADER]] if expected[1] < HEADER else [data]  # a wrong header needs no body
    for sent in (pieces, header, [data], [data + VALID["ping"][2] * 3]):
        with pytest.raises(DecodeError) as caught:
            list(decode(sender, *sent))
        check(caught.value, expected)


@invalid
def test_frame_before_a_malformed_one_is_read(sender: str, data: bytes, expected: Expected) -> None:
    right = next(vector for vector in VALID.values() if vector[0] == sender)
    decoder = Decoder(sender)
    decoder.receive_data(right[2] + data)
    assert decoder.next_message() == right[1]
    with pytest.raises(DecodeError) as caught:
        decoder.next_message()
    check(caught.value, expected)


@pytest.mark.parametrize("name", ["type beyond", "integer cut", "from the host"])
def test_after_an_error_every_call_raises_it_again(name: str) -> None:
    sender, data, expected = INVALID[name]
    decoder = Decoder(sender)
    decoder.receive_data(data)
    for _ in range(3):
        with pytest.raises(DecodeError) as caught:
            decoder.next_message()
        check(caught.value, expected)
        decoder.receive_data(VALID["pong"][2])


def test_an_unknown_side_has_no_decoder() -> None:
    with pytest.raises(ValueError, match="'server' is not one of"):
        Decoder("server")


def test_messages_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        codec.Ping(1).token = 2  # type: ignore[misc]


@pytest.mark.parametrize("name", VALID)
def test_messages_are_ordinary_frozen_dataclasses(name: str) -> None:
    sender, _, data = VALID[name]
    message: Any
    (message,) = decode(sender, data)
    kind: Any = type(message)
    names = [field.name for field in dataclasses.fields(message)]
    values = {name: getattr(message, name) for name in names}
    assert list(inspect.signature(kind).parameters) == names
    # Fields of later versions are keyword arguments.
    first = [values[name] for name in kind.__match_args__]
    later = {name: values[name] for name in names if name not in kind.__match_args__}
    assert kind(**values) == kind(*first, **later) == dataclasses.replace(message) == message
    with pytest.raises(TypeError, match=r"__init__\(\)|takes no|takes"):
        kind(*first, 1, **later)
    for each in names:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(message, each, 0)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(message, each)
    plain = dataclasses.replace(message, data=bytes(values["data"])) if "data" in names else message
    for again in (copy.deepcopy(plain), pickle.loads(pickle.dumps(plain))):  # noqa: S301 - our own
        assert (again, hash(again), repr(again)) == (plain, hash(plain), repr(plain))
        assert type(again) is kind


def test_output_is_a_view_of_the_received_bytes() -> None:
    data = VALID["exec_output"][2]
    (message,) = decode("guest", data)
    assert isinstance(message, codec.ExecOutput)
    assert isinstance(message.data, memoryview)
    assert message.data.obj is data


def test_the_longest_output_is_decoded_without_a_copy() -> None:
    data = codec.ExecOutput(1, Stream.STDOUT, bytes(65536)).encode()
    decoder = Decoder("guest")
    assert peak(lambda: decoder.receive_data(data)) < 1000
    messages: list[Message | None] = []
    assert peak(lambda: messages.append(decoder.next_message())) < 1000
    (message,) = messages
    assert isinstance(message, codec.ExecOutput)
    assert isinstance(message.data, memoryview)
    assert message.data.obj is data
    assert message.data == bytes(65536)


@pytest.mark.parametrize("data", [bytes(65536), memoryview(bytes(65536))], ids=["bytes", "view"])
def test_a_frame_with_the_longest_tail_is_copied_once(data: bytes | memoryview) -> None:
    for message in (codec.ExecStdin(1, data), codec.ExecOutput(1, Stream.STDOUT, data)):
        assert peak(message.encode) < 65536 + 1000


@pytest.mark.parametrize("data", [bytes(65536), memoryview(bytes(65536))], ids=["bytes", "view"])
def test_a_frame_in_parts_has_its_tail_without_a_copy(data: bytes | memoryview) -> None:
    for message in (codec.ExecStdin(1, data), codec.ExecOutput(1, Stream.STDOUT, data)):
        assert peak(message.encode_parts) < 1000
        head, tail = message.encode_parts()
        assert head + bytes(tail) == message.encode()
        assert tail is data or memoryview(tail).obj is memoryview(data).obj


def test_the_length_of_a_tail_is_counted_in_bytes() -> None:
    words = memoryview(array("I", [1, 2, 3]))
    assert codec.ExecStdin(1, words).encode() == frame(23, words.tobytes(), about=1)


@pytest.mark.parametrize("kind", [bytearray, memoryview], ids=["bytearray", "view"])
def test_decoder_accepts_any_kind_of_bytes(kind: Callable[[bytes], Any]) -> None:
    for sender, message, data in VALID.values():
        assert list(decode(sender, kind(data))) == [message]


@pytest.mark.parametrize("size", [1023, 1024, 70_000])
def test_items_of_any_length_are_encoded_and_decoded(size: int) -> None:
    items = (b"a" * size, b"", b"b", b"c" * 69_000)
    message = outgoing(argv=items, env=items[:2])
    data = message.encode()
    assert blocks(*items) + blocks(*items[:2]) in data
    assert list(decode("host", data)) == [message]


# Maximum memory in bytes, including the memory that Python itself needs.
SLACK = 1 << 18


def peak(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_frame_in_small_pieces_takes_at_most_twice_its_size() -> None:
    body = request(argv=blocks(*[b"a" * 65532] * 16), env=blocks(*[b"b" * 65532] * 16))
    data = frame(16, body, about=1)
    pieces = [data[at : at + 4096] for at in range(0, len(data) - 1, 4096)]
    decoder = Decoder("host")

    def feed() -> None:
        for piece in pieces:
            decoder.receive_data(piece)
            decoder.next_message()

    assert peak(feed) < 2 * len(data) + SLACK


def test_a_long_stream_leaves_nothing_behind() -> None:
    piece = frame(17, b"\1" + bytes(65536), about=1)
    # One and a half pieces at a time, so that some frames are cut and others are not.
    pieces = [piece + piece[:32768], piece[32768:] + piece[:-1], piece[-1:]] * 50
    decoder = Decoder("guest")

    def feed() -> int:
        count = 0
        for data in pieces:
            decoder.receive_data(data)
            while decoder.next_message():
                count += 1
        return count

    assert peak(feed) < 4 * len(piece) + SLACK


def test_after_an_error_nothing_is_kept() -> None:
    decoder = Decoder("guest")
    decoder.receive_data(frame(99))
    with pytest.raises(DecodeError):
        decoder.next_message()

    def feed() -> None:
        for _ in range(100):
            decoder.receive_data(bytes(1 << 16))

    assert peak(feed) < SLACK


def outgoing(**fields: Any) -> Message:
    """Return a request with these fields."""
    kind = codec.StdinKind.NULL
    request = codec.ExecRequest(1, b"ls", b"", (b"ls",), (), 0, 0, b"", kind, 0, 0, 0, 0)
    return dataclasses.replace(request, **fields)


REFUSED: dict[str, tuple[Message, Fault, str]] = {
    "id 0": (codec.ExecKill(0), Fault.BAD_ID, "id"),
    "id below": (codec.ExecKill(-1), Fault.BAD_ID, "id"),
    "id beyond": (codec.ExecKill(2**32), Fault.BAD_ID, "id"),
    "any id below": (codec.Error(-1, 1, 1, 0, 0), Fault.BAD_ID, "id"),
    "any id beyond": (codec.Error(2**32, 1, 1, 0, 0), Fault.BAD_ID, "id"),
    "integer below": (codec.Ping(-1), Fault.UNKNOWN_VALUE, "token"),
    "integer beyond": (codec.Ping(2**64), Fault.UNKNOWN_VALUE, "token"),
    "open enum beyond": (codec.Goodbye(256), Fault.UNKNOWN_VALUE, "reason"),
    "closed enum": (codec.ExecOutput(1, 3, b""), Fault.UNKNOWN_VALUE, "stream"),  # type: ignore[arg-type]
    "bytes too long": (codec.Resume(0, bytes(65)), Fault.TOO_LONG, "entropy"),
    "tail too long": (codec.ExecOutput(1, Stream.STDOUT, bytes(65537)), Fault.TOO_LONG, "data"),
    "view too long": (
        codec.ExecOutput(1, Stream.STDOUT, memoryview(bytes(65537))),
        Fault.TOO_LONG,
        "data",
    ),
    "item too long": (outgoing(argv=(b"a" * (LONG + 1),)), Fault.TOO_LONG, "argv"),
    "too many items": (outgoing(env=(b"",) * 16385), Fault.TOO_MANY, "env"),
    "too long in all": (
        outgoing(argv=(b"a" * LONG,) * 7 + (b"b" * (LAST + 1),)),
        Fault.TOTAL_TOO_LONG,
        "argv",
    ),
    "NUL in command": (outgoing(command=b"a\0"), Fault.EMBEDDED_NUL, "command"),
    "NUL in cwd": (outgoing(cwd=b"\0"), Fault.EMBEDDED_NUL, "cwd"),
    "NUL in argv": (outgoing(argv=(b"a", b"b\0")), Fault.EMBEDDED_NUL, "argv"),
    "NUL in env": (outgoing(env=(b"A=\0",)), Fault.EMBEDDED_NUL, "env"),
    "NUL in user": (outgoing(user=b"\0"), Fault.EMBEDDED_NUL, "user"),
    "user too long": (outgoing(user=b"u" * 129), Fault.TOO_LONG, "user"),
    "rows beyond": (outgoing(rows=2**16), Fault.UNKNOWN_VALUE, "rows"),
    "rows below": (codec.ExecResize(1, -1, 0), Fault.UNKNOWN_VALUE, "rows"),
    "columns beyond": (codec.ExecResize(1, 0, 2**16), Fault.UNKNOWN_VALUE, "columns"),
    "memory beyond": (outgoing(max_memory=2**64), Fault.UNKNOWN_VALUE, "max_memory"),
    "third kind of stdin": (outgoing(stdin_from=2), Fault.UNKNOWN_VALUE, "stdin_from"),
    "input too long": (codec.ExecStdin(1, bytes(65537)), Fault.TOO_LONG, "data"),
}


@pytest.mark.parametrize(("message", "fault", "field"), REFUSED.values(), ids=REFUSED)
def test_encoders_refuse_invalid_messages(message: Message, fault: Fault, field: str) -> None:
    with pytest.raises(EncodeError) as caught:
        message.encode()
    assert (caught.value.fault, caught.value.field) == (fault, field)
    assert str(caught.value).startswith(f"{field}: ")


@pytest.mark.parametrize(
    "message",
    [
        outgoing(command=b"c" * 4096, cwd=b"d" * 4096),
        outgoing(argv=(b"",) * 16384, env=(b"",) * 16384),
        outgoing(argv=(b"a" * LONG,) * 7 + (b"b" * LAST,)),
        outgoing(argv=(), env=(), command=b""),
        outgoing(user=b"u" * 128, rows=2**16 - 1, max_memory=2**64 - 1),
    ],
    ids=["bytes", "items", "total", "empty", "user"],
)
def test_values_at_their_bounds_are_encoded(message: Message) -> None:
    assert list(decode("host", message.encode())) == [message]


def test_the_longest_frame_is_as_long_as_the_codec_says() -> None:
    full = (b"a" * LONG,) * 7 + (b"b" * LAST,)
    more = (b"a" * LONG,) * 15 + (b"b" * (LAST - 24),)
    longest = codec.ExecRequest(
        *(1, b"c" * 4096, b"d" * 4096, full, full, 0, 0, b"u" * 128, StdinKind.NULL, 0, 0, 0, 0),
        more_argv=more,
        more_env=more,
    )
    assert len(longest.encode()) == HEADER + codec.MAX_BODY


def test_a_list_that_is_too_long_is_refused_before_it_is_copied() -> None:
    message = outgoing(argv=(b"a" * LONG,) * 16384)  # 2 GiB in all

    def encode() -> None:
        with pytest.raises(EncodeError):
            message.encode()

    assert peak(encode) < 2 * (1 << 20) + SLACK


Sent = tuple[str, list[Message]]
STREAM = st.sampled_from(["host", "guest"]).flatmap(
    lambda sender: st.tuples(
        st.just(sender), st.lists(random_messages.MESSAGES[sender], min_size=1, max_size=6)
    )
)
QUICK = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(stream=STREAM)
@QUICK
def test_encoded_messages_are_decoded_unchanged(stream: Sent) -> None:
    sender, messages = stream
    assert list(decode(sender, *(message.encode() for message in messages))) == messages


@given(stream=STREAM, data=st.data())
@QUICK
def test_any_cut_of_a_stream_gives_the_same_messages(stream: Sent, data: st.DataObject) -> None:
    sender, messages = stream
    written = b"".join(message.encode() for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=10)))
    pieces = [
        written[start:end] for start, end in zip([0, *cuts], [*cuts, len(written)], strict=True)
    ]
    assert list(decode(sender, *pieces)) == messages


@given(stream=STREAM, data=st.data())
@QUICK
def test_any_cut_of_a_broken_stream_gives_one_result(stream: Sent, data: st.DataObject) -> None:
    sender, messages = stream
    spoiled = bytearray(b"".join(message.encode() for message in messages))
    at = data.draw(st.integers(0, len(spoiled) - 1))
    spoiled[at] ^= data.draw(st.integers(1, 255))
    outcomes = []
    for size in (len(spoiled), data.draw(st.integers(1, 40)), 1):
        pieces = [bytes(spoiled[start : start + size]) for start in range(0, len(spoiled), size)]
        read: list[object] = []
        try:
            read.extend(decode(sender, *pieces))
        except DecodeError as error:
            read.append(str(error))
        outcomes.append(read)
    assert outcomes[0] == outcomes[1] == outcomes[2]
