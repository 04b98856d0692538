"""The known scripts: those of the corpus, and one for each way to lose a guest."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from types import NoneType

from hypothesis.vendor.pretty import RepresentationPrinter
from tests.support import vectors

from microvm.errors import GuestDied, GuestUnresponsive, ProtocolError, VersionMismatch
from microvm.wire import codec
from microvm.wire.codec import Ending, Stream
from microvm.wire.session import WINDOW

from . import acts
from .acts import Act, Close, Hear, HostCall, Pause, Reset, Say, Script, Serve

CORPUS = Path(__file__).parents[1] / "corpus" / "host"

READY = Say(codec.Ready(0, 0, 0, 0), ("version", "digest", "max_body", "nonce"))
GREETING = (Hear("Hello"), READY)
ASKED = (*GREETING, Hear("ExecRequest"))
ENDED = Say(codec.ExecResponse(1, Ending.EXITED, 0), ("id",))
PONG = Say(codec.Pong(0), ("token",))


def output(data: bytes = b"x") -> codec.ExecOutput:
    return codec.ExecOutput(1, Stream.STDOUT, data)


_LONG = output(bytes(9999)).encode()

ENDINGS: dict[type, dict[str, tuple[Act, ...]]] = {
    NoneType: {
        "a nonce that is not ours": (
            Hear("Hello"),
            Say(READY.message, ("version", "digest", "max_body")),
        ),
    },
    VersionMismatch: {
        "another schema": (Hear("Hello"), Say(READY.message, ("version", "nonce"))),
        "no version": (Hear("Hello"), Say(READY.message, ("digest", "nonce"))),
    },
    GuestDied: {
        "the end of the port": (*ASKED, Close()),
        "the end of a half of it": (*ASKED, Close(half=True)),
        "the end in a frame": (*ASKED, Say(_LONG[:-1]), Close()),
        "the end behind a flood": (*ASKED, Say(output(), times=1000), Close()),
        "a reset": (*ASKED, Reset()),
    },
    GuestUnresponsive: {
        "silence": ASKED,
        "a frame without end": (*ASKED, Say(_LONG[:12]), *(Pause(1.0), Say(b"\0")) * 30),
    },
    ProtocolError: {
        "ready twice": (*GREETING, READY),
        "what only a host says": (*GREETING, Say(codec.Ping(1))),
        "the guest answers a ping that the host did not send": (*GREETING, Say(codec.Pong(77))),
        "an answer twice": (*ASKED, Hear("Ping"), PONG),
        "a status that nobody asked for": (*GREETING, Say(codec.Status(*[0] * 10))),
        "a refusal": (*GREETING, Say(codec.Error(0, 1, 2, 3, 4))),
        "an id of the future": (*ASKED, Say(codec.ExecResponse(2, Ending.EXITED, 0))),
        "an id of the past": (*GREETING, Serve(), Hear("ExecRequest"), Say(output())),
        "two ends": (*ASKED, ENDED, ENDED),
        "output after the end": (*ASKED, ENDED, Say(output())),
        "output beyond its credit": (*ASKED, Say(output(bytes(1 << 16)), times=17)),
        "a byte of output beyond its credit": (
            *ASKED,
            Say(output(bytes(1 << 16)), times=WINDOW >> 16),
            Say(output()),
        ),
        "output beyond its renewed credit": (
            *ASKED,
            Say(output(bytes(1 << 16)), times=WINDOW >> 16),
            Hear("ExecCredit"),
            Say(output(bytes(1 << 16)), times=WINDOW >> 17),
            Say(output()),
        ),
        "an end by signal 0": (*ASKED, Say(codec.ExecResponse(1, Ending.SIGNALLED, 0))),
        "an end by signal 65": (*ASKED, Say(codec.ExecResponse(1, Ending.SIGNALLED, 65))),
        "output of nothing": (*ASKED, Say(output(b""))),
        "the guest grants credit to a command without input": (
            *ASKED,
            Say(codec.ExecStdinCredit(1, 1)),
        ),
        "credit of nothing": (*ASKED, Say(codec.ExecStdinCredit(1, 0))),
        "the guest closes the input of a command without input": (
            *ASKED,
            Say(codec.ExecStdinClosed(1)),
        ),
        "a word after goodbye": (*ASKED, Say(codec.Goodbye(1)), ENDED),
    },
}
MALFORMED = [
    Say(vector.frame)
    for vector in vectors.load(vectors.COMMITTED)
    if vector.sender == "guest" and vector.fault
]


def lasting(*acts: Act, cuts: tuple[int, ...] = ()) -> Script:
    """Return a script of these acts, during which the host runs two commands."""
    return Script((*acts, Pause(100.0)), (HostCall("slow"), HostCall("run", timeout=100.0)), cuts)


def _short(data: bytes) -> str:
    """Return a Python expression for some bytes, short if all bytes are equal."""
    return f"{data[:1]!r} * {len(data)}" if len(data) > len({*data}) == 1 else repr(data)


def written(script: Script) -> str:
    """Return a script as Python code, which people can read and edit."""
    to = RepresentationPrinter()
    to.type_pprinters[bytes] = lambda data, *_: to.text(_short(data))
    to.type_pprinters[IntEnum] = lambda each, *_: to.text(f"{type(each).__name__}.{each.name}")
    to.pretty(script)
    return to.getvalue()


def read(text: str) -> Script:
    """Return the script in a file of the corpus, which is trusted Python code."""
    script: Script = eval(text, {**vars(codec), **vars(acts), **globals()})  # noqa: S307
    return script


FAILED = {path.stem: read(path.read_text()) for path in sorted(CORPUS.glob("*.txt"))}
"""The scripts of the corpus, which once failed."""
