"""The acts of a guest that is played, as data: a script has some, and what the host calls."""

from __future__ import annotations

from dataclasses import dataclass

from microvm.wire import codec


class Act:
    """Something that a guest does."""


@dataclass(frozen=True, slots=True)
class Say(Act):
    """The guest sends a message, or bytes that need be none.

    :ivar true: a message's fields that get what is right at that moment: `id`, `nonce`, `token`,
        and what a `Ready` says of the schema.
    :ivar times: how often.
    """

    message: codec.Message | bytes
    true: tuple[str, ...] = ()
    times: int = 1


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
class HostCall:
    """Something that the host does.

    :ivar kind: `run`, `communicate`, one of the questions, or an `exec` by how its output is read:
        `all`, `slow`, `lines`, `some` and then away, or `none`.
    :ivar stdin: bytes of input; None for none.
    """

    kind: str
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
    calls: tuple[HostCall, ...]
    cuts: tuple[int, ...] = ()
