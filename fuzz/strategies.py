"""Strategies for what is sent: valid messages, frames with each fault, mutations, sequences, cuts.

A command that a frame asks for is one of `commands`; `is_safe` says it of whatever a decoder has
made of mutated bytes.
"""

from __future__ import annotations

import itertools
import random
import struct
from dataclasses import dataclass

from hypothesis import strategies as st
from tests.support import vectors

from microvm.wire import codec
from microvm.wire.codec import Fault

from . import messages as any_
from .daemon import commands
from .daemon.commands import Command

LARGEST = 0xFFFFFFFF

NAMES = {kind.TYPE: kind.__name__ for kind in codec.Message.__args__}


def is_safe(message: codec.Message) -> bool:
    """Tell whether a daemon may be sent this: it survives, and so does the machine it runs on."""
    if isinstance(message, codec.ExecRequest):
        return commands.is_known(message)
    return not isinstance(message, codec.Shutdown)


@dataclass(frozen=True)
class Part:
    """Some bytes, and what they are meant to be."""

    label: str
    data: bytes


@dataclass(frozen=True)
class Example:
    """Bytes for a daemon: their parts, and where the stream is cut into writes."""

    parts: tuple[Part, ...]
    cuts: tuple[int, ...]

    @property
    def data(self) -> bytes:
        """All of the bytes."""
        return b"".join(part.data for part in self.parts)

    def __repr__(self) -> str:
        """Describe it on one line; what its frames are is told where it fails."""
        parts = ", ".join(part.label for part in self.parts)
        return f"{len(self.data)} bytes: {parts}; cut at {list(self.cuts[:40])}"


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


_small_requests = requests(commands.COMMANDS)
messages: st.SearchStrategy[codec.Message] = st.one_of(
    hellos,
    any_.resume(),
    any_.ping(),
    any_.status_request(),
    _small_requests,
    _small_requests,
    any_.exec_signal(id_=ids),
    any_.exec_kill(id_=ids),
    any_.exec_terminate(id_=ids),
    any_.exec_credit(id_=ids, amount=credit),
    any_.exec_stdin(id_=ids, data=st.just(b"") | st.binary(max_size=100)),
    any_.exec_resize(id_=ids),
)
_valid_frames = messages.map(lambda message: message.encode())


_SMALL = 10_000
"""Bytes of a frame of which many are sent."""

_FAULTY = [
    (Fault(each.fault[0]), each.frame)
    for each in vectors.load(vectors.COMMITTED)
    if each.fault and each.sender == "host"
]


def faulty(fault: Fault, *, large: bool = False) -> st.SearchStrategy[bytes]:
    """The vectors that have a fault; nothing when there are none of that size."""
    if fault is Fault.BAD_DIRECTION and not large:
        return any_.FRAMES["guest"]
    frames = [data for it, data in _FAULTY if it is fault and (len(data) > _SMALL) is large]
    return st.sampled_from(frames) if frames else st.nothing()


_EDGES = (0, 1, 2, 7, 0x7F, 0x80, 0xFE, 0xFF)


def change(data: bytearray, rng: random.Random) -> None:
    """Change bytes in one place, in one of the ways that break parsers."""
    at = rng.randrange(len(data) + 1)
    end = at + rng.randrange(1, 9)
    match rng.randrange(8):
        case 0 | 1 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 2 if at < len(data):
            data[at] = rng.choice(_EDGES)
        case 3:
            data[at:at] = rng.randbytes(end - at)
        case 4:
            del data[at:end]
        case 5:
            data[at:at] = data[rng.randrange(len(data) + 1) :][: rng.randrange(100)]
        case 6:
            data[at:end] = struct.pack("<I", rng.choice((0, 1, 4096, 4097, 65536, 1 << 31)))
        case 7:
            del data[at:]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Valid and malformed frames with a few bytes changed, put in, left out or repeated."""
    data = bytearray(draw(_valid_frames | st.one_of([faulty(fault) for fault in Fault])))
    rng = draw(st.randoms(use_true_random=False))
    for _ in range(rng.randrange(1, 5)):
        change(data, rng)
    return bytes(data)


@st.composite
def look_alikes(draw: st.DrawFn) -> bytes:
    """Bytes that begin like a hello."""
    data = draw(hellos).encode()
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


_large_parts = st.one_of(
    _valid(requests(commands.HUGE)),
    *(_named(fault.name.lower(), faulty(fault, large=True)) for fault in Fault),
    _named("zeroes", st.integers(1, 1 << 20).map(bytes)),
)
_floods = st.integers(1, 40) | st.integers(1, 40) | st.integers(1, 40) | st.integers(1, 500)
_small_parts = st.one_of(
    *[_valid(messages)] * 12,
    *[_valid(hellos)] * 3,
    *(_named(fault.name.lower(), faulty(fault)) for fault in Fault),
    *[_named("mutated", mutated())] * 3,
    _named("look-alike", look_alikes()),
    _named("garbage", st.binary(min_size=1, max_size=100)),
    _named("pings", _floods.map(lambda count: codec.Ping(count).encode() * count)),
)


_parts = st.integers(0, 99).flatmap(lambda n: _large_parts if n >= 98 else _small_parts)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Sequences of up to ten parts, in any cut."""
    parts = draw(st.lists(_parts, min_size=1, max_size=10))
    if draw(st.booleans()):  # else what follows the first fault is dropped unread
        revived = [[part, Part("hello", draw(hellos).encode())] for part in parts]
        parts = [p for pair in revived for p in (pair if draw(st.booleans()) else pair[:1])]
    return Example(tuple(parts), tuple(draw(_cuts(parts))))


def _cuts(parts: list[Part]) -> st.SearchStrategy[list[int]]:
    """Return where to cut these: nowhere, anywhere, about the frames' ends, everywhere."""
    ends = [*itertools.accumulate((len(part.data) for part in parts), initial=0)]
    size = ends[-1]
    near = [at for end in ends for at in (end - 1, end, end + 1, end + 12) if 0 < at < size]
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
