"""A script is what a guest is to do, as data: one act after the other, and what the host calls.

Scripts stand in the corpus as JSON, to be read and edited by people.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from enum import EnumType
from typing import Any, get_type_hints

from microvm.wire import codec


class Act:
    """Something that a guest does."""


@dataclass(frozen=True, slots=True)
class Say(Act):
    """The guest sends a message.

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
class Raw(Act):
    """The guest sends bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Flood(Act):
    """The guest sends output, whatever has been paid for."""

    stream: int
    size: int
    times: int


@dataclass(frozen=True, slots=True)
class SlowFrame(Act):
    """The guest sends a frame of the longest body, a byte after each `every` seconds."""

    every: float


@dataclass(frozen=True, slots=True)
class Serve(Act):
    """The guest serves a request as it should, with its output, all input and its end."""

    stdout: int = 0
    stderr: int = 0
    size: int = 1000
    status: int = 0


@dataclass(frozen=True, slots=True)
class Hear(Act):
    """The guest waits until the host has sent a message of this kind."""

    kind: str


@dataclass(frozen=True, slots=True)
class Pause(Act):
    """The guest sends nothing for a time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class StopReading(Act):
    """The guest reads no more, and so answers nothing more."""


@dataclass(frozen=True, slots=True)
class Close(Act):
    """The guest closes the port, or one half of it."""

    half: bool = False


@dataclass(frozen=True, slots=True)
class Print(Act):
    """The guest writes to the console."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Reset(Act):
    """The machine ends, as when its kernel crashes."""


QUESTIONS = ("ping", "status", "keep")
"""Calls that the guest answers at once."""


@dataclass(frozen=True, slots=True)
class Call:
    """Something that the host does.

    :ivar kind: `run`, `communicate`, `exec`, or one of the questions.
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
            return ",\n".join(f"    {json.dumps(item, default=_plain)}" for item in items)

        cuts = json.dumps(self.cuts)
        return (
            f'{{\n  "calls": [\n{lines(self.calls)}\n  ],\n'
            f'  "acts": [\n{lines(self.acts)}\n  ],\n  "cuts": {cuts}\n}}\n'
        )

    @classmethod
    def from_json(cls, text: str) -> Script:
        """Read what `to_json` has written."""
        parts = json.loads(text, object_hook=_made)
        return cls(**{name: tuple(values) for name, values in parts.items()})

    __repr__ = to_json


_MESSAGES = {kind.__name__: kind for kind in codec.Message.__args__}
_KINDS = _MESSAGES | {name: kind for name, kind in globals().items() if is_dataclass(kind)}


def _plain(value: Any) -> Any:
    """Return a value for JSON: of acts and messages the name, and fields that are not defaults."""
    if not is_dataclass(value):
        return bytes(value).hex()
    values = {each.name: (getattr(value, each.name), each.default) for each in fields(value)}
    given = {name: own for name, (own, default) in values.items() if own not in (default, {})}
    return {"do": type(value).__name__} | given


def _made(plain: dict[str, Any]) -> Any:
    """Make an act, a call or a message of what `_plain` has made of it; all else stays."""
    if "do" not in plain:
        return plain
    name = plain.pop("do")
    kind: Any = _KINDS[name]
    if name in _MESSAGES:
        # What a later version of the protocol has in addition is 0, or empty.
        plain = {each.name: 0 for each in fields(kind)} | plain
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], value) for name, value in plain.items()})


def _value(hint: Any, plain: Any) -> Any:
    if hint in (bytes, bytes | memoryview):
        return bytes.fromhex(plain or "")
    if isinstance(hint, EnumType):
        # What is equal to a member of a closed enum need not be the same to a codec.
        return hint(plain)
    return tuple(plain) if isinstance(plain, list) else plain
