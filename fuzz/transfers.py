"""Hypothesis strategies for the messages of files, version 1.

Generated from files.toml by `microvm-proto gen`.
Each message has a function that returns a strategy for it. Its arguments are the strategies of the
message's fields. A default strategy generates only valid values, often ones at a bound.
"""

from __future__ import annotations

import functools

from hypothesis import strategies as st

from microvm.wire import files as codec
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


_ENUM_ACTION = st.sampled_from(codec.Action)
_ENUM_MODE_RULE = st.sampled_from(codec.ModeRule)
_U8 = _integers(0, 255)
_BYTES_4095_NO_NUL = _octets(4095, nul=False)
_BYTES_255_NO_NUL = _octets(255, nul=False)
_BYTES_511_NO_NUL = _octets(511, nul=False)
_U32 = _integers(0, 4294967295)
_U64 = _integers(0, 18446744073709551615)
_I64 = _integers(-9223372036854775808, 9223372036854775807)
_BYTES_262132 = _octets(262132, nul=True)
_ENUM_SUBJECT = st.sampled_from(codec.Subject)


def request(
    *,
    action: st.SearchStrategy[codec.Action] = _ENUM_ACTION,
    mode_rule: st.SearchStrategy[codec.ModeRule] = _ENUM_MODE_RULE,
    replace: st.SearchStrategy[int] = _U8,
    recursive: st.SearchStrategy[int] = _U8,
    idempotent: st.SearchStrategy[int] = _U8,
    path: st.SearchStrategy[bytes] = _BYTES_4095_NO_NUL,
    name: st.SearchStrategy[bytes] = _BYTES_255_NO_NUL,
    new_path: st.SearchStrategy[bytes] = _BYTES_4095_NO_NUL,
    cwd: st.SearchStrategy[bytes] = _BYTES_4095_NO_NUL,
    user: st.SearchStrategy[bytes] = _BYTES_511_NO_NUL,
    owner: st.SearchStrategy[bytes] = _BYTES_511_NO_NUL,
) -> st.SearchStrategy[codec.Request]:
    return st.builds(
        codec.Request,
        action=action,
        mode_rule=mode_rule,
        replace=replace,
        recursive=recursive,
        idempotent=idempotent,
        path=path,
        name=name,
        new_path=new_path,
        cwd=cwd,
        user=user,
        owner=owner,
    )


def entry(
    *,
    mode: st.SearchStrategy[int] = _U32,
    size: st.SearchStrategy[int] = _U64,
    mtime: st.SearchStrategy[int] = _I64,
    uid: st.SearchStrategy[int] = _U32,
    gid: st.SearchStrategy[int] = _U32,
    name: st.SearchStrategy[bytes] = _BYTES_255_NO_NUL,
    target: st.SearchStrategy[bytes] = _BYTES_4095_NO_NUL,
) -> st.SearchStrategy[codec.Entry]:
    return st.builds(
        codec.Entry, mode=mode, size=size, mtime=mtime, uid=uid, gid=gid, name=name, target=target
    )


def data(
    *, data: st.SearchStrategy[bytes | memoryview] = _BYTES_262132
) -> st.SearchStrategy[codec.Data]:
    return st.builds(codec.Data, data=data)


def whole() -> st.SearchStrategy[codec.Whole]:
    return st.builds(codec.Whole)


def done() -> st.SearchStrategy[codec.Done]:
    return st.builds(codec.Done)


def failure(
    *,
    subject: st.SearchStrategy[codec.Subject] = _ENUM_SUBJECT,
    error_number: st.SearchStrategy[int] = _U32,
    path: st.SearchStrategy[bytes] = _BYTES_4095_NO_NUL,
) -> st.SearchStrategy[codec.Failure]:
    return st.builds(codec.Failure, subject=subject, error_number=error_number, path=path)


MESSAGES: dict[str, st.SearchStrategy[codec.Message]] = {
    "host": st.one_of(request(), entry(), data(), whole()),
    "guest": st.one_of(entry(), data(), whole(), done(), failure()),
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
                ("new", "host", codec.Request, "put", "writing"),
                ("new", "host", codec.Request, "list", "listing"),
                ("new", "host", codec.Request, "change", "complete"),
                ("new", "host", codec.Request, "", "sending"),
                ("listing", "guest", codec.Entry, "", "listing"),
                ("listing", "guest", codec.Done, "", "finished"),
                ("listing", "guest", codec.Failure, "", "finished"),
                ("sending", "guest", codec.Entry, "file", "sending_file"),
                ("sending", "guest", codec.Entry, "folder", "sending_folder"),
                ("sending", "guest", codec.Entry, "", "complete"),
                ("sending", "guest", codec.Failure, "", "finished"),
                ("sending_file", "guest", codec.Data, "", "sending_file"),
                ("sending_file", "guest", codec.Whole, "outermost", "complete"),
                ("sending_file", "guest", codec.Whole, "", "sending_folder"),
                ("sending_file", "guest", codec.Failure, "", "finished"),
                ("sending_folder", "guest", codec.Entry, "file", "sending_file"),
                ("sending_folder", "guest", codec.Entry, "", "sending_folder"),
                ("sending_folder", "guest", codec.Whole, "outermost", "complete"),
                ("sending_folder", "guest", codec.Whole, "", "sending_folder"),
                ("sending_folder", "guest", codec.Failure, "", "finished"),
                ("writing", "host", codec.Entry, "file", "writing_file"),
                ("writing", "host", codec.Entry, "folder", "writing_folder"),
                ("writing", "host", codec.Entry, "", "complete"),
                ("writing", "guest", codec.Failure, "", "finished"),
                ("writing_file", "host", codec.Data, "", "writing_file"),
                ("writing_file", "host", codec.Whole, "outermost", "complete"),
                ("writing_file", "host", codec.Whole, "", "writing_folder"),
                ("writing_file", "guest", codec.Failure, "", "finished"),
                ("writing_folder", "host", codec.Entry, "file", "writing_file"),
                ("writing_folder", "host", codec.Entry, "", "writing_folder"),
                ("writing_folder", "host", codec.Whole, "outermost", "complete"),
                ("writing_folder", "host", codec.Whole, "", "writing_folder"),
                ("writing_folder", "guest", codec.Failure, "", "finished"),
                ("complete", "guest", codec.Done, "", "finished"),
                ("complete", "guest", codec.Failure, "", "finished"),
            ],
            ignored=[
                ("finished", "host", codec.Request),
                ("finished", "host", codec.Entry),
                ("finished", "host", codec.Data),
                ("finished", "host", codec.Whole),
            ],
            ids=[],
            adds=[
                (codec.Entry, "", "file", "incomplete", ""),
                (codec.Entry, "", "folder", "incomplete", ""),
                (codec.Request, "", "", "open request", ""),
            ],
            takes=[
                (codec.Whole, "", "", "incomplete", ""),
                (codec.Done, "", "", "open request", ""),
                (codec.Failure, "", "", "open request", ""),
            ],
            ended=[],
            most=[],
        ),
    },
    kinds=[
        drawing.Kind("host", codec.Request, "none", request()),
        drawing.Kind("host", codec.Entry, "none", entry()),
        drawing.Kind("host", codec.Data, "none", data()),
        drawing.Kind("host", codec.Whole, "none", whole()),
        drawing.Kind("guest", codec.Entry, "none", entry()),
        drawing.Kind("guest", codec.Data, "none", data()),
        drawing.Kind("guest", codec.Whole, "none", whole()),
        drawing.Kind("guest", codec.Done, "none", done()),
        drawing.Kind("guest", codec.Failure, "none", failure()),
    ],
    refusals=[],
)
Conversations = functools.partial(drawing.Conversations, _TABLES)
"""Class of strategies for conversations of this schema; see `microvm_proto.drawing`."""
