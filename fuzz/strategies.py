"""Strategies for the bytes of a host: valid messages, invalid frames, mutations, and sequences.

Each requested command is one of `commands`. After a mutation, `is_safe` checks this again.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import hypothesis
from hypothesis import strategies as st
from tests.support import vectors
from tests.support.mutations import mutated

from microvm.wire import codec

from .daemon import commands
from .daemon.commands import KnownCommand
from .generated import random_messages
from .search import batch

any_ = random_messages("sandboxd")
T = TypeVar("T")

LARGEST = 0xFFFFFFFF


def is_safe(message: codec.Message) -> bool:
    """Return whether a message harms neither the daemon nor the machine on which it runs."""
    if isinstance(message, codec.ExecRequest):
        return commands.is_known(message)
    return not isinstance(message, codec.Shutdown)


@dataclass(frozen=True)
class Example:
    """The bytes that one side sends, and the positions at which they are split into writes."""

    data: bytes
    cuts: Sequence[int]

    def __repr__(self) -> str:
        return f"{len(self.data)} bytes, cut at {list(self.cuts[:40])}"


def weighted(*strategies: tuple[int, st.SearchStrategy[T]]) -> st.SearchStrategy[T]:
    """Return a strategy that chooses one of several strategies with the given weights.

    `one_of` would ignore repetitions.
    """
    each = [strategy for weight, strategy in strategies for _ in range(weight)]
    return st.sampled_from(each).flatmap(lambda strategy: strategy)


u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, LARGEST)
ids = st.integers(1, 6) | st.integers(1, LARGEST)
credit = st.sampled_from([0, 1, 3, 4, 6, 1 << 20, LARGEST]) | u32

# These nonces fit into 32 bits. The conversation's own nonces are higher.
hellos = any_.hello(nonce=u32)


@st.composite
def requests(
    draw: st.DrawFn,
    among: st.SearchStrategy[KnownCommand],
    *,
    id_: st.SearchStrategy[int] = ids,
    paid: st.SearchStrategy[int] = credit,
    folders: list[bytes] = commands.FOLDERS,
    fed: bool = False,
    rows: Sequence[int] = (0, 0, 0, 1, 24),
    beside: Sequence[bool] = (False, True, True, True),
) -> codec.ExecRequest:
    """Draw a request to run a command.

    :param paid: Strategy for the initial credit of each output stream.
    :param fed: True if the host sends standard input.
    """
    command = draw(among)
    size = len(command.argv)
    first = draw(st.just(size) | st.integers(0, size))
    limits = [0, commands.MANY, *[commands.FEW] * (command.limited is not None)]
    variables = st.lists(st.sampled_from(commands.VARIABLES), max_size=3).map(tuple)
    request: st.SearchStrategy[codec.ExecRequest] = any_.exec_request(
        id_=id_,
        command=st.just(command.argv[0]),
        cwd=st.sampled_from(folders),
        argv=st.just(command.argv[:first]),
        env=variables,
        stdout_credit=paid,
        stderr_credit=paid,
        user=st.just(b""),
        stdin_from=st.just(codec.StdinKind.HOST) if fed else st.sampled_from(codec.StdinKind),
        rows=st.sampled_from([1, 24] if command.sized else rows),
        columns=st.sampled_from([0, 7, 80]),
        max_processes=st.sampled_from(limits),
        max_memory=st.just(0),
        more_argv=st.just(command.argv[first:]),
        more_env=st.just(()) | variables,
        beside=st.sampled_from(beside),
        joined=st.just(False) if command.concurrent else st.booleans(),
    )
    return draw(request)


about_an_exec = st.one_of(
    any_.exec_signal(id_=ids),
    any_.exec_kill(id_=ids),
    any_.exec_terminate(id_=ids),
    any_.exec_credit(id_=ids, amount=credit),
    any_.exec_stdin(id_=ids, data=st.just(b"") | st.binary(max_size=100)),
    any_.exec_resize(id_=ids),
)
messages: st.SearchStrategy[codec.Message] = st.one_of(
    hellos,
    any_.resume(),
    any_.ping(),
    any_.status_request(),
    requests(st.sampled_from(commands.COMMANDS)),
    about_an_exec,
)

_SMALL = 10_000  # maximum number of bytes of a small frame, of which many are sent


def malformed(*, large: bool) -> st.SearchStrategy[bytes]:
    """Return a strategy for the test vectors of invalid host frames, each fault equally often."""
    frames: defaultdict[int, list[bytes]] = defaultdict(list)
    for vector in vectors.load(vectors.COMMITTED):
        if vector.fault and vector.sender == "host" and (len(vector.frame) > _SMALL) is large:
            frames[vector.fault[0]].append(vector.frame)
    return st.one_of([st.sampled_from(kind) for kind in frames.values()])


def _encoded(messages: st.SearchStrategy[codec.Message]) -> st.SearchStrategy[bytes]:
    return messages.map(lambda message: message.encode())


_valid, _hellos, _malformed = _encoded(messages), _encoded(hellos), malformed(large=False)
_floods = st.integers(1, 40) | st.integers(1, 500)
_odd_parts = st.one_of(
    _hellos,
    _malformed,
    any_.FRAMES["guest"],
    mutated(_valid | _malformed),
    mutated(_hellos),
    st.binary(min_size=1, max_size=100),
    _floods.map(lambda count: codec.Ping(count).encode() * count),
)
_large_parts = st.one_of(
    _encoded(requests(st.sampled_from(commands.HUGE))),
    malformed(large=True),
    st.integers(1, 1 << 20).map(bytes),
)
_parts = weighted((60, _valid), (38, _odd_parts), (2, _large_parts))


@st.composite
def examples(draw: st.DrawFn, before: bytes = b"") -> Example:
    """Draw a sequence of up to ten parts, split into writes at any positions."""
    parts = draw(st.lists(_parts, min_size=1, max_size=10))
    # After a fault, the daemon drops all bytes up to the next hello, so add some.
    if draw(st.booleans()):
        revived = [[part, draw(_hellos)] for part in parts]
        parts = [p for pair in revived for p in (pair if draw(st.booleans()) else pair[:1])]
    parts = [before, *parts]
    return Example(b"".join(parts), draw(_cuts(parts)))


def _cuts(parts: list[bytes]) -> st.SearchStrategy[list[int]]:
    """Return a strategy for split positions: random, near frames and headers, or at each byte."""
    ends = [*itertools.accumulate(map(len, parts), initial=0)]
    inner = range(1, ends[-1])
    near = [at for end in ends for at in (end - 1, end, end + 1, end + 12) if at in inner]
    some = [st.sets(st.sampled_from(places), max_size=16) for places in (inner, near) if places]
    every = [st.just(set(inner))] if len(inner) < 300 else []
    return st.one_of([*some, *every]).map(sorted)


def drawn(strategy: st.SearchStrategy[T], count: int, seed: int) -> list[T]:
    """Return about `count` values of a strategy. The same seed returns the same values."""
    values: list[T] = []

    @hypothesis.seed(seed)
    @batch(count)
    @hypothesis.given(strategy)
    def draw(value: T) -> None:
        values.append(value)

    draw()
    return values
