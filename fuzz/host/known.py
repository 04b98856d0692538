"""Scripts that are known: what once failed, and each way in which a guest can be lost."""

from __future__ import annotations

from pathlib import Path

from microvm.errors import (
    GuestDied,
    GuestUnresponsive,
    MachineError,
    ProtocolError,
    VersionMismatch,
)
from microvm.wire import codec
from microvm.wire.codec import Ending, Stream
from microvm.wire.session import WINDOW

from .script import Act, Call, Close, Flood, Hear, Pause, Raw, Reset, Say, Script, Serve, SlowFrame

CORPUS = Path(__file__).parents[1] / "corpus" / "host"

READY = Say(codec.Ready(0, 0, 0, 0), ("version", "digest", "max_body", "nonce"))
GREETING = (Hear("Hello"), READY)
ASKED = (*GREETING, Hear("ExecRequest"))
ENDED = Say(codec.ExecResponse(1, Ending.EXITED, 0), ("id",))
PONG = Say(codec.Pong(0), ("token",))


def output(data: bytes = b"x") -> codec.ExecOutput:
    return codec.ExecOutput(1, Stream.STDOUT, data)


BREACHES: dict[str, tuple[Act, ...]] = {
    "ready twice": (*GREETING, READY),
    "what only a host says": (*GREETING, Say(codec.Ping(1))),
    "an answer to no ping": (*GREETING, Say(codec.Pong(77))),
    "an answer twice": (*ASKED, Hear("Ping"), PONG),
    "a status that nobody asked for": (*GREETING, Say(codec.Status(*[0] * 10))),
    "a refusal": (*GREETING, Say(codec.Error(0, 1, 2, 3, 4))),
    "an id of the future": (*ASKED, Say(codec.ExecResponse(2, Ending.EXITED, 0))),
    "an id of the past": (*GREETING, Serve(), Hear("ExecRequest"), Say(output())),
    "two ends": (*ASKED, ENDED, ENDED),
    "output after the end": (*ASKED, ENDED, Say(output())),
    "output beyond its credit": (*ASKED, Flood(1, 65536, 17)),
    "a byte of output beyond its credit": (
        *ASKED,
        Flood(1, 65536, WINDOW // 65536),
        Say(output()),
    ),
    "output of nothing": (*ASKED, Say(output(b""))),
    "credit for input that nobody feeds": (*ASKED, Say(codec.ExecStdinCredit(1, 1))),
    "credit of nothing": (*ASKED, Say(codec.ExecStdinCredit(1, 0))),
    "the end of input that nobody feeds": (*ASKED, Say(codec.ExecStdinClosed(1))),
    "a stream that there is not": (*ASKED, Raw(output().encode()[:-2] + b"\3x")),
    "a body too long": (*ASKED, Say(output(), bent={"length": 65538})),
    "a body too long by a byte": (
        *ASKED,
        Say(ENDED.message, bent={"length": codec.ExecResponse.MAX_BODY + 1}),
    ),
    "a body too short": (*ASKED, Say(ENDED.message, bent={"length": 1})),
    "flags": (*ASKED, Say(ENDED.message, bent={"flags": 1})),
    "a word after goodbye": (*ASKED, Say(codec.Goodbye(1)), ENDED),
}
ENDINGS: dict[str, tuple[type[MachineError] | None, tuple[Act, ...]]] = {
    "a nonce that is not ours": (
        None,
        (Hear("Hello"), Say(READY.message, ("version", "digest", "max_body"))),
    ),
    "another schema": (
        VersionMismatch,
        (Hear("Hello"), Say(READY.message, ("version", "nonce"))),
    ),
    "no version": (VersionMismatch, (Hear("Hello"), Say(READY.message, ("digest", "nonce")))),
    "the end of the port": (GuestDied, (*ASKED, Close())),
    "the end of a half of it": (GuestDied, (*ASKED, Close(half=True))),
    "the end in a frame": (GuestDied, (*ASKED, Raw(ENDED.message.encode()[:-1]), Close())),
    "the end behind a flood": (GuestDied, (*ASKED, Flood(1, 1, 1000), Close())),
    "a reset": (GuestDied, (*ASKED, Reset())),
    "silence": (GuestUnresponsive, ASKED),
    "a frame without end": (GuestUnresponsive, (*ASKED, SlowFrame(1.0))),
    **{name: (ProtocolError, breach) for name, breach in BREACHES.items()},
}


def ending(name: str) -> Script:
    """The script of an ending, while a slow reader runs one command and then another."""
    calls = Call("exec", reading="slow"), Call("run", timeout=100.0)
    return Script((*ENDINGS[name][1], Pause(100.0)), calls)


def failed() -> dict[str, Script]:
    """Return the corpus: what once failed."""
    return {path.stem: Script.from_json(path.read_text()) for path in sorted(CORPUS.glob("*.json"))}
