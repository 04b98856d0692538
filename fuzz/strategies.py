"""What the fuzzers send: valid messages, frames with each fault, mutations, sequences, cuts.

A command that a frame asks for is one of `commands`; `is_safe` says it of whatever a decoder has
made of mutated bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hypothesis import strategies as st

from microvm.wire import codec
from microvm.wire.codec import Fault

from . import messages as any_
from .daemon import commands
from .daemon.commands import Command

HEADER = struct.Struct("<IHHI")
U32 = struct.Struct("<I")
LARGEST = 0xFFFFFFFF

NAMES = {kind.TYPE: kind.__name__ for kind in codec.Message.__args__}


def is_safe(message: codec.Message) -> bool:
    """Whether a daemon may be sent this: it survives, and so does the machine it runs on."""
    if isinstance(message, codec.ExecRequest):
        return commands.is_known(message)
    return not isinstance(message, codec.Shutdown)


@dataclass(frozen=True)
class Part:
    """Some bytes, and what they are meant to be."""

    label: str
    data: bytes

    def __str__(self) -> str:
        """Describe it on one line."""
        head = ""
        if len(self.data) >= codec.HEADER_SIZE:
            length, type_, flags, id_ = HEADER.unpack_from(self.data)
            name = NAMES.get(type_, "?")
            head = f" [type {type_} {name}, id {id_}, flags {flags:#x}, body {length}]"
        shown = self.data[:64].hex(" ", 4) + (" …" if len(self.data) > 64 else "")
        return f"{self.label}: {len(self.data)} bytes{head} {shown}"


@dataclass(frozen=True)
class Example:
    """Bytes for a daemon: their parts, and where the stream is cut into writes."""

    parts: tuple[Part, ...]
    cuts: tuple[int, ...]

    @property
    def data(self) -> bytes:
        """All of the bytes."""
        return b"".join(part.data for part in self.parts)

    @property
    def pieces(self) -> list[bytes]:
        """The bytes as they are written."""
        data = self.data
        ends = [*self.cuts, len(data)]
        starts = [0, *self.cuts]
        return [data[a:b] for a, b in zip(starts, ends, strict=True) if a < b]

    def __repr__(self) -> str:
        """Describe it, a part a line."""
        cuts = ", ".join(map(str, self.cuts[:40])) + (", …" if len(self.cuts) > 40 else "")
        lines = [f"{len(self.data)} bytes, cut at [{cuts}]"]
        at = 0
        for part in self.parts:
            lines.append(f"  {at:>6}: {part}")
            at += len(part.data)
        return "\n".join(lines)


def frame(type_: int, body: bytes, *, id_: int = 0, flags: int = 0) -> bytes:
    """Write a frame, right or wrong."""
    return HEADER.pack(len(body), type_, flags, id_) + body


bits = st.integers(0, 15).map(lambda bit: 1 << bit)
u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, LARGEST)
ids = st.integers(1, 6) | st.integers(1, LARGEST)
credit = st.sampled_from([0, 1, 3, 4, 6, 1 << 20, LARGEST]) | u32

# Above 32 bits are the nonces of the conversation.
hellos = any_.hello(nonce=u32)


def requests(
    among: list[Command],
    *,
    id_: st.SearchStrategy[int] = ids,
    paid: st.SearchStrategy[int] = credit,
    folders: list[bytes] = commands.FOLDERS,
    fed: bool = False,
    rows: list[int] = [0, 0, 0, 1, 24],  # noqa: B006
) -> st.SearchStrategy[codec.ExecRequest]:
    """Requests to run one of these, with so much credit at first."""

    def request(command: Command) -> st.SearchStrategy[codec.ExecRequest]:
        limits = [0, commands.MANY, *[commands.FEW] * (command.limited is not None)]
        return any_.exec_request(
            id_=id_,
            command=st.just(command.argv[0]),
            cwd=st.sampled_from(folders),
            argv=st.just(command.argv),
            env=st.lists(st.sampled_from(commands.VARIABLES), max_size=3).map(tuple),
            stdout_credit=paid,
            stderr_credit=paid,
            user=st.just(b""),
            stdin_from=st.just(codec.StdinKind.HOST) if fed else st.sampled_from(codec.StdinKind),
            rows=st.sampled_from([1, 24] if command.sized else rows),
            columns=st.sampled_from([0, 7, 80]),
            max_processes=st.sampled_from(limits),
            max_memory=st.just(0),
        )

    return st.sampled_from(among).flatmap(request)


small_requests = requests(commands.COMMANDS)
credits_ = any_.exec_credit(id_=ids, amount=credit)
inputs = any_.exec_stdin(id_=ids, data=st.just(b"") | st.binary(max_size=100))

messages: st.SearchStrategy[codec.Message] = st.one_of(
    hellos,
    any_.resume(),
    any_.ping(),
    any_.status_request(),
    small_requests,
    small_requests,
    any_.exec_signal(id_=ids),
    any_.exec_kill(id_=ids),
    any_.exec_terminate(id_=ids),
    credits_,
    inputs,
    any_.exec_resize(id_=ids),
)
large_messages = requests(commands.HUGE)


def beyond(limit: int, largest: int = LARGEST) -> st.SearchStrategy[int]:
    """Numbers above a limit, the first of them above all."""
    return (
        st.just(limit + 1)
        | st.integers(limit + 1, min(limit + 4, largest))
        | (st.integers(limit + 1, largest))
    )


def _encoded(source: st.SearchStrategy[codec.Message]) -> st.SearchStrategy[bytes]:
    return source.map(lambda message: message.encode())


def _with_header(data: bytes, **changes: int) -> bytes:
    length, type_, flags, id_ = HEADER.unpack_from(data)
    fields = {"length": length, "type_": type_, "flags": flags, "id_": id_, **changes}
    head = HEADER.pack(fields["length"], fields["type_"], fields["flags"], fields["id_"])
    return head + data[codec.HEADER_SIZE :]


def _text(value: bytes) -> bytes:
    return U32.pack(len(value)) + value


def _items(*values: bytes) -> bytes:
    return U32.pack(len(values)) + b"".join(map(_text, values))


def _request(
    *,
    command: bytes = _text(b"nonexistent"),
    cwd: bytes = _text(b""),
    argv: bytes = _items(b"nonexistent"),
    env: bytes = _items(),
    user: bytes = _text(b""),
    stdin: bytes = b"\0",
) -> bytes:
    body = command + cwd + argv + env + bytes(8) + user + stdin + bytes(16)
    return frame(codec.ExecRequest.TYPE, body, id_=1)


@st.composite
def _unknown_types(draw: st.DrawFn) -> bytes:
    type_ = draw(u16.filter(lambda value: value not in NAMES))
    return frame(type_, draw(st.binary(max_size=40)), id_=draw(u32), flags=draw(u16))


@st.composite
def _reserved_flags(draw: st.DrawFn) -> bytes:
    return _with_header(
        draw(_encoded(messages)), flags=draw(st.just(0x8000) | bits | beyond(0, 0xFFFF))
    )


@st.composite
def _bad_ids(draw: st.DrawFn) -> bytes:
    data = draw(_encoded(messages))
    has_one = HEADER.unpack_from(data)[3] != 0
    return _with_header(data, id_=0 if has_one else draw(ids))


@st.composite
def _bodies_too_long(draw: st.DrawFn) -> bytes:
    message = draw(messages)
    return _with_header(message.encode(), length=draw(beyond(message.MAX_BODY)))


@st.composite
def _truncated(draw: st.DrawFn) -> bytes:
    # Input has no length of its own, so that what is cut is shorter input.
    whole = messages.filter(lambda message: not isinstance(message, codec.ExecStdin))
    data = draw(_encoded(whole).filter(lambda data: len(data) > codec.HEADER_SIZE))
    body = len(data) - codec.HEADER_SIZE
    length = draw(st.just(body - 1) | st.integers(0, body - 1))
    return _with_header(data[: codec.HEADER_SIZE + length], length=length)


@st.composite
def _too_long(draw: st.DrawFn) -> bytes:
    def value(limit: int, *, whole: bool = draw(st.booleans())) -> bytes:
        """One whose length is above its bound; what it says of itself may be there, or not."""
        if whole:
            return _text(b"x" * (limit + draw(st.integers(1, 4))))
        return U32.pack(draw(beyond(limit))) + draw(st.binary(max_size=20))

    match draw(st.sampled_from(["entropy", "command", "cwd", "argv", "env", "user"])):
        case "entropy":  # a body that has all of it is too long itself
            return frame(codec.Resume.TYPE, bytes(8) + value(64, whole=False))
        case "command":
            return _request(command=value(4096))
        case "cwd":
            return _request(cwd=value(4096))
        case "user":
            return _request(user=value(128))
        case "argv":
            return _request(argv=U32.pack(1) + value(131071))
        case _:
            return _request(env=U32.pack(2) + _text(b"A=b") + value(131071))


@st.composite
def _too_many(draw: st.DrawFn) -> bytes:
    count = U32.pack(draw(beyond(16384)))
    rest = draw(st.binary(max_size=20))
    return _request(argv=count + rest) if draw(st.booleans()) else _request(env=count + rest)


@st.composite
def _totals_too_long(draw: st.DrawFn) -> bytes:
    full = [b"x" * 131068] * 7
    last = draw(st.sampled_from([[131069], [131071], [131068, 0], [131068, 2, 0]]))
    items = _items(*full, *(b"y" * size for size in last))
    return _request(argv=items) if draw(st.booleans()) else _request(env=items)


@st.composite
def _unknown_values(draw: st.DrawFn) -> bytes:
    match draw(st.sampled_from(["magic", "stream", "stdin"])):
        case "magic":
            data = bytearray(draw(_encoded(hellos)))
            data[draw(st.integers(12, 19))] ^= draw(st.integers(1, 0xFF))
            return bytes(data)
        case "stream":
            data = bytearray(draw(_encoded(credits_)))
            data[12] = draw(u8.filter(lambda value: value not in list(codec.Stream)))
            return bytes(data)
        case _:
            return _request(stdin=bytes([draw(st.integers(2, 0xFF))]))


@st.composite
def _embedded_nuls(draw: st.DrawFn) -> bytes:
    around = st.binary(max_size=8)
    bad = draw(around) + b"\0" + draw(around)
    match draw(st.sampled_from(["command", "cwd", "argv", "env", "user"])):
        case "command":
            return _request(command=_text(bad))
        case "user":
            return _request(user=_text(bad))
        case "cwd":
            return _request(cwd=_text(bad))
        case "argv":
            return _request(argv=_items(b"nonexistent", bad))
        case _:
            return _request(env=_items(b"A=b", bad))


@st.composite
def _trailing_bytes(draw: st.DrawFn) -> bytes:
    short = any_.resume(entropy=st.binary(max_size=50))
    data = draw(_encoded(small_requests) | _encoded(short))
    data += draw(st.binary(min_size=1, max_size=14))
    return _with_header(data, length=len(data) - codec.HEADER_SIZE)


FAULTY: dict[Fault, st.SearchStrategy[bytes]] = {
    Fault.UNKNOWN_TYPE: _unknown_types(),
    Fault.BAD_DIRECTION: any_.FRAMES["guest"],
    Fault.RESERVED_FLAGS: _reserved_flags(),
    Fault.BAD_ID: _bad_ids(),
    Fault.BODY_TOO_LONG: _bodies_too_long(),
    Fault.TRUNCATED: _truncated(),
    Fault.TOO_LONG: _too_long(),
    Fault.TOO_MANY: _too_many(),
    Fault.TOTAL_TOO_LONG: _totals_too_long(),
    Fault.UNKNOWN_VALUE: _unknown_values(),
    Fault.EMBEDDED_NUL: _embedded_nuls(),
    Fault.TRAILING_BYTES: _trailing_bytes(),
}
"""For each fault, frames that have it and no other before it."""

_LARGE = {Fault.TOTAL_TOO_LONG}


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Valid frames with a few bytes changed, put in, left out or repeated."""
    data = bytearray(draw(_encoded(messages)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(at + draw(st.integers(1, 8)), len(data))
        match draw(st.sampled_from(["flip", "set", "insert", "delete", "repeat", "end"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set" if at < len(data):
                data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
            case "insert":
                data[at:at] = draw(st.binary(max_size=8))
            case "delete":
                del data[at:end]
            case "repeat":
                data[at:at] = data[at:end]
            case _:
                del data[at:]
    return bytes(data)


@st.composite
def look_alikes(draw: st.DrawFn) -> bytes:
    """Bytes that begin like a hello."""
    data = draw(_encoded(hellos))
    match draw(st.sampled_from(["cut", "changed", "stuttered"])):
        case "cut":
            return data[: draw(st.integers(1, len(data) - 1))]
        case "changed":
            at = draw(st.integers(0, 19))
            return data[:at] + bytes([data[at] ^ draw(st.integers(1, 0xFF))]) + data[at + 1 :]
        case _:
            return data[: draw(st.integers(1, 19))] + data


def _named(label: str, source: st.SearchStrategy[bytes]) -> st.SearchStrategy[Part]:
    return source.map(lambda data: Part(label, data))


def _valid(source: st.SearchStrategy[codec.Message]) -> st.SearchStrategy[Part]:
    return source.map(lambda message: Part(f"valid {type(message).__name__}", message.encode()))


_faulty_parts = [
    _named(fault.name.lower(), source) for fault, source in FAULTY.items() if fault not in _LARGE
]
_large_parts = st.one_of(
    _valid(large_messages),
    *(_named(fault.name.lower(), FAULTY[fault]) for fault in _LARGE),
    _named("zeroes", st.integers(1, 1 << 20).map(bytes)),
)
_floods = st.integers(1, 40) | st.integers(1, 40) | st.integers(1, 40) | st.integers(1, 500)
_small_parts = st.one_of(
    *[_valid(messages)] * 12,
    *[_valid(hellos)] * 3,
    *_faulty_parts,
    *[_named("mutated", mutated())] * 3,
    _named("look-alike", look_alikes()),
    _named("garbage", st.binary(min_size=1, max_size=100)),
    _named("pings", _floods.map(lambda count: codec.Ping(count).encode() * count)),
)


def _large_or_small(chance: int) -> st.SearchStrategy[Part]:
    return st.integers(0, 99).flatmap(lambda n: _large_parts if n >= 100 - chance else _small_parts)


@st.composite
def examples(draw: st.DrawFn, *, most: int = 10) -> Example:
    """Sequences of up to so many parts, in any cut."""
    parts = draw(st.lists(_large_or_small(2), min_size=1, max_size=most))
    if draw(st.booleans()):  # else what follows the first fault is dropped unread
        revived = [[part, Part("hello", b"".join([draw(hellos).encode()]))] for part in parts]
        parts = [p for pair in revived for p in (pair if draw(st.booleans()) else pair[:1])]
    at = draw(cuts(parts, sum(len(part.data) for part in parts)))
    return Example(tuple(parts), tuple(at))


def cuts(parts: list[Part], size: int) -> st.SearchStrategy[list[int]]:
    """Where to cut so many bytes: nowhere, anywhere, about the frames' ends, everywhere."""
    ends: list[int] = []
    for part in parts:
        ends.append((ends[-1] if ends else 0) + len(part.data))
    near = [at for end in [0, *ends] for at in (end - 1, end, end + 1, end + 12) if 0 < at < size]
    inner = st.integers(1, max(1, size - 1))
    ways: list[st.SearchStrategy[list[int]]] = [
        st.just([]),
        st.lists(inner, max_size=8).map(_sorted),
        st.lists(st.sampled_from(near or [1]), max_size=16).map(_sorted),
    ]
    if size <= 300:
        ways.append(st.just(list(range(1, size))))
    return st.one_of(ways).map(lambda at: [cut for cut in at if cut < size])


def _sorted(values: list[int]) -> list[int]:
    return sorted(set(values))
