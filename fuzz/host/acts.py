"""The acts of a scripted guest, and the calls of the host meanwhile, as data."""

from __future__ import annotations

from dataclasses import dataclass

from microvm.wire import codec


class Act:
    """An act of the guest."""


@dataclass(frozen=True, slots=True)
class Say(Act):
    """The guest sends a message, or any bytes.

    :ivar true: Names of fields that get the correct value at that moment, such as `id`, `nonce`,
        `token`, `version` or `digest`.
    :ivar times: Number of times that it sends the message.
    """

    message: codec.Message | bytes
    true: tuple[str, ...] = ()
    times: int = 1


@dataclass(frozen=True, slots=True)
class Serve(Act):
    """The guest serves a request correctly: it sends output, reads all input, and sends the end.

    :ivar size: Maximum number of bytes in a frame.
    """

    stdout: int = 0
    stderr: int = 0
    size: int = 1000
    status: int = 0


@dataclass(frozen=True, slots=True)
class Together(Act):
    """The guest serves several requests of the host at once, each with an act in `serves`."""

    serves: tuple[Serve, ...]


@dataclass(frozen=True, slots=True)
class Hear(Act):
    """The guest waits until the host has sent a message of the kind `kind`."""

    kind: str


@dataclass(frozen=True, slots=True)
class Pause(Act):
    """The guest sends nothing for a time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class StopReading(Act):
    """The guest stops reading, so it answers nothing more."""


@dataclass(frozen=True, slots=True)
class Close(Act):
    """The guest closes the port, or only the direction to the host."""

    half: bool = False


@dataclass(frozen=True, slots=True)
class Print(Act):
    """The guest writes to the console."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Reset(Act):
    """The machine resets, as if its kernel had crashed."""


QUESTIONS = ("ping", "status", "keep")  # kinds of calls that the guest answers at once


@dataclass(frozen=True, slots=True)
class HostCall:
    """A call of the host's API.

    :ivar kind: `run`, `communicate`, one of `QUESTIONS`, or for an `exec` the way in which its
        output is read: `all`, `slow`, `lines`, `none`, or `some`, after which the caller leaves.
    :ivar stdin: Number of bytes of input; None for no input.
    """

    kind: str
    timeout: float | None = None
    grace: float | None = None
    max_output: int | None = None
    stdin: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """A script: the acts of the guest, and the calls that the host makes at the same time.

    :ivar cuts: Sizes of the pieces in which the guest writes; after the last size, the first one
        follows. Empty if the sizes do not matter.
    :ivar commands: Maximum number of commands that the host runs at once. If it is above 1, the
        host makes all calls at the same time.
    """

    acts: tuple[Act, ...]
    calls: tuple[HostCall, ...]
    cuts: tuple[int, ...] = ()
    commands: int = 1
