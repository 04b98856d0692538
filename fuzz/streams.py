"""Hypothesis strategies for the messages of streams, version 1.

Generated from streams.toml by `microvm-proto gen`.
Each message has a function that returns a strategy for it. Its arguments are the strategies of the
message's fields. A default strategy generates only valid values, often ones at a bound.
"""

from __future__ import annotations

import functools

from hypothesis import strategies as st

from microvm.wire import streams as codec
from microvm_proto import drawing

MAX_LENGTH = 4096
"""Maximum number of bytes or items in a generated value, even if its field allows more."""


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


_ID = _integers(1, 4294967295)
_U32 = _integers(0, 4294967295)
_U16 = _integers(0, 65535)
_BYTES_107_NO_NUL = _octets(107, nul=False)
_BYTES_65524 = _octets(65524, nul=True)


def connect(
    *,
    id_: st.SearchStrategy[int] = _ID,
    credit: st.SearchStrategy[int] = _U32,
    port: st.SearchStrategy[int] = _U16,
    path: st.SearchStrategy[bytes] = _BYTES_107_NO_NUL,
) -> st.SearchStrategy[codec.Connect]:
    return st.builds(codec.Connect, id=id_, credit=credit, port=port, path=path)


def connected(
    *, id_: st.SearchStrategy[int] = _ID, credit: st.SearchStrategy[int] = _U32
) -> st.SearchStrategy[codec.Connected]:
    return st.builds(codec.Connected, id=id_, credit=credit)


def refused(
    *, id_: st.SearchStrategy[int] = _ID, error_number: st.SearchStrategy[int] = _U32
) -> st.SearchStrategy[codec.Refused]:
    return st.builds(codec.Refused, id=id_, error_number=error_number)


def data(
    *, id_: st.SearchStrategy[int] = _ID, data: st.SearchStrategy[bytes | memoryview] = _BYTES_65524
) -> st.SearchStrategy[codec.Data]:
    return st.builds(codec.Data, id=id_, data=data)


def credit(
    *, id_: st.SearchStrategy[int] = _ID, amount: st.SearchStrategy[int] = _U32
) -> st.SearchStrategy[codec.Credit]:
    return st.builds(codec.Credit, id=id_, amount=amount)


def eof(*, id_: st.SearchStrategy[int] = _ID) -> st.SearchStrategy[codec.Eof]:
    return st.builds(codec.Eof, id=id_)


def reset(*, id_: st.SearchStrategy[int] = _ID) -> st.SearchStrategy[codec.Reset]:
    return st.builds(codec.Reset, id=id_)


def listen(
    *, id_: st.SearchStrategy[int] = _ID, port: st.SearchStrategy[int] = _U16
) -> st.SearchStrategy[codec.Listen]:
    return st.builds(codec.Listen, id=id_, port=port)


def listening(
    *, id_: st.SearchStrategy[int] = _ID, port: st.SearchStrategy[int] = _U16
) -> st.SearchStrategy[codec.Listening]:
    return st.builds(codec.Listening, id=id_, port=port)


def not_listening(
    *, id_: st.SearchStrategy[int] = _ID, error_number: st.SearchStrategy[int] = _U32
) -> st.SearchStrategy[codec.NotListening]:
    return st.builds(codec.NotListening, id=id_, error_number=error_number)


def accept(
    *,
    id_: st.SearchStrategy[int] = _ID,
    credit: st.SearchStrategy[int] = _U32,
    listener: st.SearchStrategy[int] = _U32,
) -> st.SearchStrategy[codec.Accept]:
    return st.builds(codec.Accept, id=id_, credit=credit, listener=listener)


def accepted(
    *, id_: st.SearchStrategy[int] = _ID, credit: st.SearchStrategy[int] = _U32
) -> st.SearchStrategy[codec.Accepted]:
    return st.builds(codec.Accepted, id=id_, credit=credit)


def not_accepted(
    *, id_: st.SearchStrategy[int] = _ID, error_number: st.SearchStrategy[int] = _U32
) -> st.SearchStrategy[codec.NotAccepted]:
    return st.builds(codec.NotAccepted, id=id_, error_number=error_number)


MESSAGES: dict[str, st.SearchStrategy[codec.Message]] = {
    "host": st.one_of(connect(), data(), credit(), eof(), reset(), listen(), accept()),
    "guest": st.one_of(
        connected(),
        refused(),
        data(),
        credit(),
        eof(),
        reset(),
        listening(),
        not_listening(),
        accepted(),
        not_accepted(),
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
        "id": drawing.ConversationRules(
            first="new",
            steps=[
                ("new", "host", codec.Connect, "", "connecting"),
                ("new", "host", codec.Accept, "", "accepting"),
                ("new", "host", codec.Listen, "", "binding"),
                ("connecting", "guest", codec.Connected, "", "open"),
                ("connecting", "guest", codec.Refused, "", "closed"),
                ("connecting", "host", codec.Reset, "", "closed"),
                ("accepting", "guest", codec.Accepted, "", "open"),
                ("accepting", "guest", codec.NotAccepted, "", "closed"),
                ("accepting", "host", codec.Reset, "", "closed"),
                ("open", "host", codec.Data, "", "open"),
                ("open", "guest", codec.Data, "", "open"),
                ("open", "host", codec.Credit, "", "open"),
                ("open", "guest", codec.Credit, "", "open"),
                ("open", "host", codec.Eof, "", "host_ended"),
                ("open", "guest", codec.Eof, "", "guest_ended"),
                ("open", "host", codec.Reset, "", "closed"),
                ("open", "guest", codec.Reset, "", "closed"),
                ("host_ended", "guest", codec.Data, "", "host_ended"),
                ("host_ended", "host", codec.Credit, "", "host_ended"),
                ("host_ended", "guest", codec.Eof, "", "closed"),
                ("host_ended", "host", codec.Reset, "", "closed"),
                ("host_ended", "guest", codec.Reset, "", "closed"),
                ("guest_ended", "host", codec.Data, "", "guest_ended"),
                ("guest_ended", "guest", codec.Credit, "", "guest_ended"),
                ("guest_ended", "host", codec.Eof, "", "closed"),
                ("guest_ended", "host", codec.Reset, "", "closed"),
                ("guest_ended", "guest", codec.Reset, "", "closed"),
                ("binding", "guest", codec.Listening, "", "listening"),
                ("binding", "guest", codec.NotListening, "", "closed"),
                ("binding", "host", codec.Reset, "", "closed"),
                ("listening", "host", codec.Reset, "", "closed"),
            ],
            ignored=[
                ("host_ended", "guest", codec.Credit),
                ("guest_ended", "host", codec.Credit),
                ("closed", "guest", codec.Connected),
                ("closed", "guest", codec.Refused),
                ("closed", "host", codec.Data),
                ("closed", "guest", codec.Data),
                ("closed", "host", codec.Credit),
                ("closed", "guest", codec.Credit),
                ("closed", "host", codec.Eof),
                ("closed", "guest", codec.Eof),
                ("closed", "host", codec.Reset),
                ("closed", "guest", codec.Reset),
                ("closed", "guest", codec.Listening),
                ("closed", "guest", codec.NotListening),
                ("closed", "guest", codec.Accepted),
                ("closed", "guest", codec.NotAccepted),
            ],
            ids=[],
            adds=[
                (codec.Connected, "", "", "host_credit", "credit"),
                (codec.Accepted, "", "", "host_credit", "credit"),
                (codec.Credit, "guest", "", "host_credit", "amount"),
                (codec.Connect, "", "", "guest_credit", "credit"),
                (codec.Accept, "", "", "guest_credit", "credit"),
                (codec.Credit, "host", "", "guest_credit", "amount"),
                (codec.Connect, "", "", "open connect", ""),
                (codec.Accept, "", "", "open accept", ""),
                (codec.Listen, "", "", "open listen", ""),
            ],
            takes=[
                (codec.Data, "host", "", "host_credit", "data"),
                (codec.Data, "guest", "", "guest_credit", "data"),
                (codec.Connected, "", "", "open connect", ""),
                (codec.Refused, "", "", "open connect", ""),
                (codec.Accepted, "", "", "open accept", ""),
                (codec.NotAccepted, "", "", "open accept", ""),
                (codec.Listening, "", "", "open listen", ""),
                (codec.NotListening, "", "", "open listen", ""),
            ],
            ended=[
                ("closed", "open connect"),
                ("closed", "open accept"),
                ("closed", "open listen"),
            ],
            most=[
                ("host_credit", 4294967295),
                ("guest_credit", 4294967295),
            ],
        ),
    },
    kinds=[
        drawing.Kind("host", codec.Connect, "required", connect()),
        drawing.Kind("host", codec.Data, "required", data()),
        drawing.Kind("host", codec.Credit, "required", credit()),
        drawing.Kind("host", codec.Eof, "required", eof()),
        drawing.Kind("host", codec.Reset, "required", reset()),
        drawing.Kind("host", codec.Listen, "required", listen()),
        drawing.Kind("host", codec.Accept, "required", accept()),
        drawing.Kind("guest", codec.Connected, "required", connected()),
        drawing.Kind("guest", codec.Refused, "required", refused()),
        drawing.Kind("guest", codec.Data, "required", data()),
        drawing.Kind("guest", codec.Credit, "required", credit()),
        drawing.Kind("guest", codec.Eof, "required", eof()),
        drawing.Kind("guest", codec.Reset, "required", reset()),
        drawing.Kind("guest", codec.Listening, "required", listening()),
        drawing.Kind("guest", codec.NotListening, "required", not_listening()),
        drawing.Kind("guest", codec.Accepted, "required", accepted()),
        drawing.Kind("guest", codec.NotAccepted, "required", not_accepted()),
    ],
    refusals=[],
)
Conversations = functools.partial(drawing.Conversations, _TABLES)
"""Class of strategies for conversations of this schema; see `microvm_proto.drawing`."""
