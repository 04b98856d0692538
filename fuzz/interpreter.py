"""Hypothesis strategies for the messages of interpreter, version 1.

Generated from interpreter.toml by `microvm-proto gen`.
Each message has a function that returns a strategy for it. Its arguments are the strategies of the
message's fields. A default strategy generates only valid values, often ones at a bound.
"""

from __future__ import annotations

import functools
import itertools
from typing import TypeVar

from hypothesis import strategies as st

from microvm.wire import interpreter as codec
from microvm_proto import drawing

MAX_LENGTH = 4096
"""Maximum number of bytes or items in a generated value, even if its field allows more."""


_T = TypeVar("_T")


def _integers(low: int, high: int) -> st.SearchStrategy[int]:
    edges = {low, low + 1, high - 1, high} | ({-1, 0, 1} if low < 0 else set())
    return st.sampled_from(sorted(edges)) | st.integers(low, high)


def _octets(maximum: int, *, nul: bool) -> st.SearchStrategy[bytes]:
    byte = st.integers(0 if nul else 1, 0xFF)
    short = st.lists(byte, max_size=min(maximum, 32)).map(bytes)
    if maximum > MAX_LENGTH:
        return short
    sizes = st.integers(maximum - 1, maximum)
    return short | st.tuples(sizes, byte).map(lambda run: bytes([run[1]]) * run[0])


def _arrays(element: st.SearchStrategy[_T], count: int) -> st.SearchStrategy[tuple[_T, ...]]:
    few = st.lists(element, min_size=1, max_size=min(count, 16))
    return few.map(lambda some: tuple(itertools.islice(itertools.cycle(some), count)))


def _text(maximum: int, *, nul: bool) -> st.SearchStrategy[str]:
    def cut(text: str) -> str:
        return text.encode()[:maximum].decode(errors="ignore")

    def filled(character: str) -> str:
        text = cut(character * maximum)
        return text + "a" * (maximum - len(text.encode()))

    character = st.characters(codec="utf-8", exclude_characters="" if nul else "\0")
    few = st.text(character, max_size=min(maximum, 32)).map(cut)
    return few if maximum > MAX_LENGTH else few | character.map(filled)


_U64 = _integers(0, 18446744073709551615)
_U32 = _integers(0, 4294967295)
_BYTES_65520 = _octets(65520, nul=True)
_ENUM_STREAM = st.sampled_from(codec.Stream)
_BOOL = st.booleans()
_TEXT_127_NO_NUL = _text(127, nul=False)
_BYTES_65280 = _octets(65280, nul=True)
_TEXT_4096 = _text(4096, nul=True)
_TEXT_65000 = _text(65000, nul=True)
_ENUM_CELL_ENDING = st.sampled_from(codec.CellEnding)
_U8 = _integers(0, 255)
_TEXT_256 = _text(256, nul=True)
_TEXT_8192 = _text(8192, nul=True)
_TEXT_32768 = _text(32768, nul=True)
_BYTES_16384 = _octets(16384, nul=True)
_TEXT_255_NO_NUL = _text(255, nul=False)
_BYTES_65000 = _octets(65000, nul=True)
_ARRAY_32_U8 = _arrays(_U8, 32).map(bytes)
_ENUM_DEATH = st.sampled_from(codec.Death)


def ready(*, digest: st.SearchStrategy[int] = _U64) -> st.SearchStrategy[codec.Ready]:
    return st.builds(codec.Ready, digest=digest)


def credit(*, amount: st.SearchStrategy[int] = _U32) -> st.SearchStrategy[codec.Credit]:
    return st.builds(codec.Credit, amount=amount)


def piece(
    *,
    offset: st.SearchStrategy[int] = _U32,
    data: st.SearchStrategy[bytes | memoryview] = _BYTES_65520,
) -> st.SearchStrategy[codec.Piece]:
    return st.builds(codec.Piece, offset=offset, data=data)


def run(
    *,
    offset: st.SearchStrategy[int] = _U32,
    code: st.SearchStrategy[bytes | memoryview] = _BYTES_65520,
) -> st.SearchStrategy[codec.Run]:
    return st.builds(codec.Run, offset=offset, code=code)


def output(
    *,
    stream: st.SearchStrategy[codec.Stream] = _ENUM_STREAM,
    data: st.SearchStrategy[bytes | memoryview] = _BYTES_65520,
) -> st.SearchStrategy[codec.Output]:
    return st.builds(codec.Output, stream=stream, data=data)


def display(
    *,
    first: st.SearchStrategy[bool] = _BOOL,
    of_value: st.SearchStrategy[bool] = _BOOL,
    mime: st.SearchStrategy[str] = _TEXT_127_NO_NUL,
    offset: st.SearchStrategy[int] = _U32,
    data: st.SearchStrategy[bytes | memoryview] = _BYTES_65280,
) -> st.SearchStrategy[codec.Display]:
    return st.builds(
        codec.Display, first=first, of_value=of_value, mime=mime, offset=offset, data=data
    )


def ask(
    *,
    question: st.SearchStrategy[int] = _U32,
    secret: st.SearchStrategy[bool] = _BOOL,
    prompt: st.SearchStrategy[str] = _TEXT_4096,
) -> st.SearchStrategy[codec.Ask]:
    return st.builds(codec.Ask, question=question, secret=secret, prompt=prompt)


def answer(
    *,
    question: st.SearchStrategy[int] = _U32,
    given: st.SearchStrategy[bool] = _BOOL,
    line: st.SearchStrategy[str] = _TEXT_65000,
) -> st.SearchStrategy[codec.Answer]:
    return st.builds(codec.Answer, question=question, given=given, line=line)


def result(
    *,
    ending: st.SearchStrategy[codec.CellEnding] = _ENUM_CELL_ENDING,
    status: st.SearchStrategy[int] = _U8,
    has_value: st.SearchStrategy[bool] = _BOOL,
    error_type: st.SearchStrategy[str] = _TEXT_256,
    error_message: st.SearchStrategy[str] = _TEXT_8192,
    traceback: st.SearchStrategy[str] = _TEXT_32768,
    offset: st.SearchStrategy[int] = _U32,
    value: st.SearchStrategy[bytes | memoryview] = _BYTES_16384,
) -> st.SearchStrategy[codec.Result]:
    return st.builds(
        codec.Result,
        ending=ending,
        status=status,
        has_value=has_value,
        error_type=error_type,
        error_message=error_message,
        traceback=traceback,
        offset=offset,
        value=value,
    )


def assign(
    *,
    name: st.SearchStrategy[str] = _TEXT_255_NO_NUL,
    offset: st.SearchStrategy[int] = _U32,
    json: st.SearchStrategy[bytes | memoryview] = _BYTES_65000,
) -> st.SearchStrategy[codec.Assign]:
    return st.builds(codec.Assign, name=name, offset=offset, json=json)


def fetch(*, name: st.SearchStrategy[str] = _TEXT_255_NO_NUL) -> st.SearchStrategy[codec.Fetch]:
    return st.builds(codec.Fetch, name=name)


def value(
    *,
    offset: st.SearchStrategy[int] = _U32,
    json: st.SearchStrategy[bytes | memoryview] = _BYTES_65520,
) -> st.SearchStrategy[codec.Value]:
    return st.builds(codec.Value, offset=offset, json=json)


def renew(*, seed: st.SearchStrategy[bytes] = _ARRAY_32_U8) -> st.SearchStrategy[codec.Renew]:
    return st.builds(codec.Renew, seed=seed)


def done() -> st.SearchStrategy[codec.Done]:
    return st.builds(codec.Done)


def failed(
    *,
    error_type: st.SearchStrategy[str] = _TEXT_256,
    error_message: st.SearchStrategy[str] = _TEXT_8192,
) -> st.SearchStrategy[codec.Failed]:
    return st.builds(codec.Failed, error_type=error_type, error_message=error_message)


def interrupt() -> st.SearchStrategy[codec.Interrupt]:
    return st.builds(codec.Interrupt)


def kill_started() -> st.SearchStrategy[codec.KillStarted]:
    return st.builds(codec.KillStarted)


def kill() -> st.SearchStrategy[codec.Kill]:
    return st.builds(codec.Kill)


def died(
    *, ending: st.SearchStrategy[codec.Death] = _ENUM_DEATH, status: st.SearchStrategy[int] = _U32
) -> st.SearchStrategy[codec.Died]:
    return st.builds(codec.Died, ending=ending, status=status)


MESSAGES: dict[str, st.SearchStrategy[codec.Message]] = {
    "host": st.one_of(
        credit(),
        piece(),
        run(),
        answer(),
        assign(),
        fetch(),
        renew(),
        interrupt(),
        kill_started(),
        kill(),
    ),
    "guest": st.one_of(
        ready(), piece(), output(), display(), ask(), result(), value(), done(), failed(), died()
    ),
}
"""Strategies for the messages that each end may send, by the name of the end."""

FRAMES: dict[str, st.SearchStrategy[bytes]] = {
    end: messages.map(lambda message: message.encode()) for end, messages in MESSAGES.items()
}
"""Strategies for the encoded messages that each end may send, by the name of the end."""


drawing.require(1)
_TABLES = drawing.Tables(
    rules={
        "connection": drawing.ConversationRules(
            first="new",
            steps=[
                ("new", "guest", codec.Ready, "", "idle"),
                ("new", "guest", codec.Died, "", "finished"),
                ("idle", "host", codec.Credit, "", "idle"),
                ("idle", "host", codec.Piece, "", "idle"),
                ("idle", "host", codec.Run, "", "running"),
                ("idle", "host", codec.Assign, "", "changing"),
                ("idle", "host", codec.Renew, "", "changing"),
                ("idle", "host", codec.Fetch, "", "reading"),
                ("idle", "guest", codec.Died, "", "finished"),
                ("running", "host", codec.Credit, "", "running"),
                ("running", "host", codec.Answer, "", "running"),
                ("running", "host", codec.Interrupt, "", "running"),
                ("running", "host", codec.KillStarted, "", "running"),
                ("running", "host", codec.Kill, "", "running"),
                ("running", "guest", codec.Output, "", "running"),
                ("running", "guest", codec.Piece, "", "running"),
                ("running", "guest", codec.Display, "", "running"),
                ("running", "guest", codec.Ask, "", "running"),
                ("running", "guest", codec.Result, "", "idle"),
                ("running", "guest", codec.Died, "", "finished"),
                ("changing", "host", codec.Credit, "", "changing"),
                ("changing", "host", codec.Interrupt, "", "changing"),
                ("changing", "host", codec.KillStarted, "", "changing"),
                ("changing", "host", codec.Kill, "", "changing"),
                ("changing", "guest", codec.Done, "", "idle"),
                ("changing", "guest", codec.Failed, "", "idle"),
                ("changing", "guest", codec.Died, "", "finished"),
                ("reading", "host", codec.Credit, "", "reading"),
                ("reading", "host", codec.Interrupt, "", "reading"),
                ("reading", "host", codec.KillStarted, "", "reading"),
                ("reading", "host", codec.Kill, "", "reading"),
                ("reading", "guest", codec.Piece, "", "reading"),
                ("reading", "guest", codec.Value, "", "idle"),
                ("reading", "guest", codec.Failed, "", "idle"),
                ("reading", "guest", codec.Died, "", "finished"),
            ],
            ignored=[
                ("idle", "host", codec.Answer),
                ("idle", "host", codec.Interrupt),
                ("idle", "host", codec.KillStarted),
                ("idle", "host", codec.Kill),
                ("changing", "host", codec.Answer),
                ("reading", "host", codec.Answer),
                ("finished", "host", codec.Credit),
                ("finished", "host", codec.Piece),
                ("finished", "guest", codec.Piece),
                ("finished", "host", codec.Run),
                ("finished", "host", codec.Answer),
                ("finished", "host", codec.Assign),
                ("finished", "host", codec.Fetch),
                ("finished", "host", codec.Renew),
                ("finished", "host", codec.Interrupt),
                ("finished", "host", codec.KillStarted),
                ("finished", "host", codec.Kill),
            ],
            ids=[],
            adds=[
                (codec.Credit, "", "", "guest_credit", "amount"),
                (codec.Run, "", "", "open run", ""),
            ],
            takes=[
                (codec.Output, "", "", "guest_credit", "data"),
                (codec.Piece, "guest", "", "guest_credit", "data"),
                (codec.Display, "", "", "guest_credit", "data"),
                (codec.Result, "", "", "open run", ""),
            ],
            ended=[],
            most=[
                ("guest_credit", 4294967295),
            ],
        ),
    },
    kinds=[
        drawing.Kind("host", codec.Credit, "none", credit()),
        drawing.Kind("host", codec.Piece, "none", piece()),
        drawing.Kind("host", codec.Run, "none", run()),
        drawing.Kind("host", codec.Answer, "none", answer()),
        drawing.Kind("host", codec.Assign, "none", assign()),
        drawing.Kind("host", codec.Fetch, "none", fetch()),
        drawing.Kind("host", codec.Renew, "none", renew()),
        drawing.Kind("host", codec.Interrupt, "none", interrupt()),
        drawing.Kind("host", codec.KillStarted, "none", kill_started()),
        drawing.Kind("host", codec.Kill, "none", kill()),
        drawing.Kind("guest", codec.Ready, "none", ready()),
        drawing.Kind("guest", codec.Piece, "none", piece()),
        drawing.Kind("guest", codec.Output, "none", output()),
        drawing.Kind("guest", codec.Display, "none", display()),
        drawing.Kind("guest", codec.Ask, "none", ask()),
        drawing.Kind("guest", codec.Result, "none", result()),
        drawing.Kind("guest", codec.Value, "none", value()),
        drawing.Kind("guest", codec.Done, "none", done()),
        drawing.Kind("guest", codec.Failed, "none", failed()),
        drawing.Kind("guest", codec.Died, "none", died()),
    ],
    refusals=[],
)
Conversations = functools.partial(drawing.Conversations, _TABLES)
"""Class of strategies for conversations of this schema; see `microvm_proto.drawing`."""
