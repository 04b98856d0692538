"""A script is what a guest is to do, as data: one act after the other, and what the host calls.

Scripts stand in the corpus as JSON, to be read and edited by people.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from microvm.wire import codec


@dataclass(frozen=True, slots=True)
class Say:
    """An act: the guest sends a message.

    :ivar true: fields that get what is right at that moment: `id`, `nonce`, `token`, and what a
        `Ready` says of the schema.
    :ivar bent: what its header says instead: `length`, `type`, `flags`, `id`; and `flip`, a byte
        of its body that is turned over.
    :ivar times: how often.
    """

    message: codec.Message
    true: tuple[str, ...] = ()
    bent: dict[str, int] = field(default_factory=dict)
    times: int = 1


@dataclass(frozen=True, slots=True)
class Raw:
    """An act: the guest sends bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Flood:
    """An act: the guest sends output, whatever has been paid for."""

    stream: int
    size: int
    times: int


@dataclass(frozen=True, slots=True)
class SlowFrame:
    """An act: the guest sends a frame of the longest body, a byte after each `every` seconds."""

    every: float


@dataclass(frozen=True, slots=True)
class Serve:
    """An act: the guest serves a request as it should, with its output, all input and its end."""

    stdout: int = 0
    stderr: int = 0
    size: int = 1000
    status: int = 0
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Hear:
    """An act: the guest waits until the host has sent a message of this kind."""

    kind: str


@dataclass(frozen=True, slots=True)
class Pause:
    """An act: the guest sends nothing for a time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An act: the guest begins or ceases to answer pings and status requests."""

    pongs: bool


@dataclass(frozen=True, slots=True)
class StopReading:
    """An act: the guest reads no more."""


@dataclass(frozen=True, slots=True)
class Close:
    """An act: the guest closes the port, or one half of it."""

    half: bool = False


@dataclass(frozen=True, slots=True)
class Print:
    """An act: the guest writes to the console."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Reset:
    """An act: the machine ends, as when its kernel crashes."""


Act: TypeAlias = (
    Say
    | Raw
    | Flood
    | SlowFrame
    | Serve
    | Hear
    | Pause
    | Answer
    | StopReading
    | Close
    | Print
    | Reset
)


@dataclass(frozen=True, slots=True)
class Call:
    """Something that the host does.

    :ivar kind: `run`, `communicate`, `exec`, `ping`, `status`.
    :ivar reading: of an `exec`: `all`, `slow`, `lines`, `some` of the output and then away, or
        `none`.
    :ivar stdin: bytes of input; None for none.
    """

    kind: str
    reading: str = "all"
    timeout: float | None = None
    grace: float | None = None
    max_output: int | None = None
    stdin: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """A script: what a guest does, and what the host calls meanwhile.

    :ivar cuts: sizes of the pieces that are written, in turn; by default as large as can be.
    """

    acts: tuple[Act, ...]
    calls: tuple[Call, ...]
    cuts: tuple[int, ...] = ()

    def to_json(self) -> str:
        """Write it down, an act a line."""

        def lines(items: Iterable[object]) -> str:
            return ",\n".join(f"    {json.dumps(_plain(item))}" for item in items)

        cuts = json.dumps(list(self.cuts))
        return (
            f'{{\n  "calls": [\n{lines(self.calls)}\n  ],\n'
            f'  "acts": [\n{lines(self.acts)}\n  ],\n  "cuts": {cuts}\n}}\n'
        )

    @classmethod
    def from_json(cls, text: str) -> Script:
        """Read what `to_json` has written."""
        data = json.loads(text)
        return cls(
            tuple(_made(act) for act in data["acts"]),
            tuple(_made(call) for call in data["calls"]),
            tuple(data["cuts"]),
        )

    def __repr__(self) -> str:
        """Show it as it is in a file."""
        return self.to_json()


CORPUS = Path(__file__).parents[1] / "corpus" / "host"

_KINDS = {kind.__name__: kind for kind in (*Act.__args__, *codec.Message.__args__, Call)}
_hints = cache(typing.get_type_hints)


def corpus() -> list[Path]:
    """Return what once failed."""
    return sorted(CORPUS.glob("*.json"))


def _plain(value: Any) -> Any:
    """Return a value for JSON: of acts and messages the name, and fields that are not defaults."""
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if not is_dataclass(value):
        return value
    values = {each.name: (getattr(value, each.name), each.default) for each in fields(value)}
    given = {
        name: _plain(own) for name, (own, default) in values.items() if own not in (default, {})
    }
    return {"do": type(value).__name__} | given


def _made(plain: dict[str, Any]) -> Any:
    """Make an act, a call or a message of what `_plain` has made of it."""
    kind: Any = _KINDS[plain["do"]]
    values = {}
    for each in fields(kind):
        # What a later version of the protocol has in addition is 0, or empty.
        if each.name in plain or kind in codec.Message.__args__:
            values[each.name] = _value(_hints(kind)[each.name], plain.get(each.name, 0))
    return kind(**values)


def _value(hint: Any, plain: Any) -> Any:
    if isinstance(plain, dict) and "do" in plain:
        return _made(plain)
    if hint in (bytes, bytes | memoryview):
        return bytes.fromhex(plain or "")
    if isinstance(hint, type) and issubclass(hint, Enum):
        # What is equal to a member of a closed enum need not be the same to a codec.
        return hint(plain)
    return tuple(plain) if isinstance(plain, list) else plain
