"""Tests of the protocol's codec: every vector, cut anywhere, and the memory that it takes."""

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
from fuzz.generated import random_messages
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import vectors
from tests.support.vectors import Vector

from microvm.wire import codec
from microvm.wire.codec import DecodeError, Decoder, EncodeError, Fault, Message, Stream

HEADER = 12
# The longest item of argv, and the longest one that fits after seven of these.
LONG, LAST = 131071, 131047
KNOWN = vectors.load(vectors.COMMITTED)
VALID = [vector for vector in KNOWN if vector.fault is None]
FIRST = {vector.message: vector for vector in reversed(VALID)}
"""The first valid vector of each message."""
INVALID = {
    fault: [vector for vector in KNOWN if vector.fault and vector.fault[0] == fault]
    for fault in sorted({vector.fault[0] for vector in KNOWN if vector.fault})
}


def frame(number: int, body: bytes = b"", *, about: int = 0) -> bytes:
    """Return a frame that is encoded without the codec."""
    return struct.pack("<IHHI", len(body), number, 0, about) + body


def block(data: bytes) -> bytes:
    """Return bytes after their length."""
    return struct.pack("<I", len(data)) + data


def decode(sender: str, *pieces: bytes) -> Iterator[Message]:
    """Decode a stream in pieces, and check that each message is returned as early as possible."""
    decoder = Decoder(sender)
    left = sum(map(len, pieces)) // HEADER
    for piece in pieces:
        decoder.receive_data(piece)
        while (message := decoder.next_message()) is not None:
            left -= 1
            assert left >= 0, "more messages than frames"
            yield message


def cut(data: bytes) -> list[bytes]:
    """Cut a stream everywhere, or a long one in larger pieces, which are cut within each field."""
    step = 1 if len(data) < 10_000 else 997
    return [data[at : at + step] for at in range(0, len(data), step)]


@pytest.mark.parametrize("name", FIRST)
def test_a_frame_is_read_wherever_it_is_cut(name: str) -> None:
    for vector in VALID:
        if vector.message == name:
            sender, data = vector.sender, vector.frame
            [message] = decode(sender, data)
            assert message.encode() == data
            assert list(decode(sender, *cut(data))) == [message]
            assert list(decode(sender, data[:-1])) == []
            assert list(decode(sender, data + data[:-1], data[-1:])) == [message, message]


def check(error: DecodeError, vector: Vector) -> None:
    assert (error.fault, error.offset, error.field_number) == vector.fault, vector.name
    assert bool(error.field) == bool(error.field_number)
    assert error.fault.name.lower() in str(error)


def one_byte_too_long() -> Vector:
    """Return a frame whose list exceeds its total by one byte; the vectors exceed it by more."""
    items = [*[b"a" * LONG] * 7, b"b" * (LAST + 1)]
    body = block(b"ls") + block(b"") + struct.pack("<I", len(items)) + b"".join(map(block, items))
    at = HEADER + len(body) - len(block(items[-1]))
    fault = Fault.TOTAL_TOO_LONG, at, 3
    return Vector("one byte more", "host", frame(16, body, about=1), fault, "", 0, {})


@pytest.mark.parametrize("fault", INVALID, ids=lambda fault: Fault(fault).name.lower())
def test_malformed_frame_is_refused_in_pieces(fault: int) -> None:
    more = [one_byte_too_long()] if fault == Fault.TOTAL_TOO_LONG else []
    for vector in INVALID[fault] + more:
        sender, data = vector.sender, vector.frame
        right = next(each for each in VALID if each.sender == sender).frame
        for sent in (cut(data), [data], [right + data + right]):
            with pytest.raises(DecodeError) as caught:
                list(decode(sender, *sent))
            check(caught.value, vector)


def test_after_an_error_every_call_raises_it_again() -> None:
    vector = INVALID[Fault.TRUNCATED][0]
    decoder = Decoder(vector.sender)
    decoder.receive_data(vector.frame)
    for _ in range(3):
        with pytest.raises(DecodeError) as caught:
            decoder.next_message()
        check(caught.value, vector)
        decoder.receive_data(FIRST["pong"].frame)


@pytest.mark.parametrize("name", FIRST)
def test_messages_are_ordinary_frozen_dataclasses(name: str) -> None:
    message: Any
    (message,) = decode(FIRST[name].sender, FIRST[name].frame)
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
    for vector in FIRST.values():
        [message] = decode(vector.sender, kind(vector.frame))
        assert message.encode() == vector.frame


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
    data = outgoing(argv=(b"a" * 65532,) * 16, env=(b"b" * 65532,) * 16).encode()
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
    "any id beyond": (codec.Error(2**32, 1, 1, 0, 0), Fault.BAD_ID, "id"),
    "integer below": (codec.Ping(-1), Fault.UNKNOWN_VALUE, "token"),
    "open enum beyond": (codec.Goodbye(256), Fault.UNKNOWN_VALUE, "reason"),
    "closed enum": (codec.ExecOutput(1, 3, b""), Fault.UNKNOWN_VALUE, "stream"),  # type: ignore[arg-type]
    "bytes too long": (codec.Resume(0, bytes(65)), Fault.TOO_LONG, "entropy"),
    "tail too long": (codec.ExecStdin(1, bytes(65537)), Fault.TOO_LONG, "data"),
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
    "NUL in bytes": (outgoing(command=b"a\0"), Fault.EMBEDDED_NUL, "command"),
    "NUL in an item": (outgoing(argv=(b"a", b"b\0")), Fault.EMBEDDED_NUL, "argv"),
}


@pytest.mark.parametrize(("message", "fault", "field"), REFUSED.values(), ids=REFUSED)
def test_encoders_refuse_invalid_messages(message: Message, fault: Fault, field: str) -> None:
    with pytest.raises(EncodeError) as caught:
        message.encode()
    assert (caught.value.fault, caught.value.field) == (fault, field)
    assert str(caught.value).startswith(f"{field}: ")


def test_a_list_that_is_too_long_is_refused_before_it_is_copied() -> None:
    message = outgoing(argv=(b"a" * LONG,) * 16384)  # 2 GiB in all

    def encode() -> None:
        with pytest.raises(EncodeError):
            message.encode()

    assert peak(encode) < 2 * (1 << 20) + SLACK


Sent = tuple[str, list[Message]]
RANDOM = random_messages("sandboxd").MESSAGES
STREAM = st.sampled_from(["host", "guest"]).flatmap(
    lambda sender: st.tuples(
        st.just(sender),
        st.lists(RANDOM[sender], min_size=1, max_size=6),
    )
)
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


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
