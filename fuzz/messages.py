"""Hypothesis strategies for the messages of sandboxd, version 4.

Generated from sandboxd.toml by `microvm-proto gen`.
Each message has a function that returns a strategy for it. Its arguments are the strategies of the
message's fields. A default strategy generates only valid values, often ones at a bound.
"""

from __future__ import annotations

import functools
import itertools

from hypothesis import strategies as st

from microvm.wire import codec
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


def _lists(
    max_items: int, max_item: int, max_total: int, *, nul: bool
) -> st.SearchStrategy[tuple[bytes, ...]]:
    def within(items: list[bytes]) -> tuple[bytes, ...]:
        totals = itertools.accumulate(4 + len(item) for item in items)
        return tuple(i for i, total in zip(items, totals, strict=True) if total <= max_total)

    def filled(items: tuple[bytes, ...]) -> tuple[bytes, ...]:
        room = max_total - sum(4 + len(item) for item in items) - 4
        return (*items, b"a" * room) if len(items) < max_items and 0 <= room <= max_item else items

    few = st.lists(_octets(max_item, nul=nul), max_size=min(max_items, 8)).map(within)
    ways = [few]
    if max_total <= MAX_LENGTH:
        ways.append(few.map(filled))
    most = min(max_items, max_total // 4)
    if most <= MAX_LENGTH:
        ways.append(st.just((b"",) * most))
    return st.one_of(ways)


_U32 = _integers(0, 4294967295)
_U64 = _integers(0, 18446744073709551615)
_BYTES_64 = _octets(64, nul=True)
_U8 = _integers(0, 255)
_ENUM_GOODBYE_REASON: st.SearchStrategy[int] = st.sampled_from(codec.GoodbyeReason) | _U8
_ID_OR_0 = _integers(0, 4294967295)
_U16 = _integers(0, 65535)
_ENUM_ERROR_CODE: st.SearchStrategy[int] = st.sampled_from(codec.ErrorCode) | _U16
_ID = _integers(1, 4294967295)
_BYTES_4096_NO_NUL = _octets(4096, nul=False)
_LIST_16384_131071_1048576_NO_NUL = _lists(16384, 131071, 1048576, nul=False)
_BYTES_128_NO_NUL = _octets(128, nul=False)
_ENUM_STDIN_KIND = st.sampled_from(codec.StdinKind)
_LIST_262144_131071_2097152_NO_NUL = _lists(262144, 131071, 2097152, nul=False)
_BOOL = st.booleans()
_ENUM_STREAM = st.sampled_from(codec.Stream)
_BYTES_65536 = _octets(65536, nul=True)
_ENUM_ENDING = st.sampled_from(codec.Ending)
_ENUM_STAGE: st.SearchStrategy[int] = st.sampled_from(codec.Stage) | _U8
_BYTES_96 = _octets(96, nul=True)


def hello(
    *,
    version: st.SearchStrategy[int] = _U32,
    digest: st.SearchStrategy[int] = _U64,
    max_body: st.SearchStrategy[int] = _U32,
    nonce: st.SearchStrategy[int] = _U64,
) -> st.SearchStrategy[codec.Hello]:
    return st.builds(codec.Hello, version=version, digest=digest, max_body=max_body, nonce=nonce)


def ready(
    *,
    version: st.SearchStrategy[int] = _U32,
    digest: st.SearchStrategy[int] = _U64,
    max_body: st.SearchStrategy[int] = _U32,
    nonce: st.SearchStrategy[int] = _U64,
) -> st.SearchStrategy[codec.Ready]:
    return st.builds(codec.Ready, version=version, digest=digest, max_body=max_body, nonce=nonce)


def resume(
    *, realtime_ns: st.SearchStrategy[int] = _U64, entropy: st.SearchStrategy[bytes] = _BYTES_64
) -> st.SearchStrategy[codec.Resume]:
    return st.builds(codec.Resume, realtime_ns=realtime_ns, entropy=entropy)


def ping(*, token: st.SearchStrategy[int] = _U64) -> st.SearchStrategy[codec.Ping]:
    return st.builds(codec.Ping, token=token)


def pong(*, token: st.SearchStrategy[int] = _U64) -> st.SearchStrategy[codec.Pong]:
    return st.builds(codec.Pong, token=token)


def status_request() -> st.SearchStrategy[codec.StatusRequest]:
    return st.builds(codec.StatusRequest)


def status(
    *,
    started_ns: st.SearchStrategy[int] = _U64,
    opened_ns: st.SearchStrategy[int] = _U64,
    now_ns: st.SearchStrategy[int] = _U64,
    frames_seen: st.SearchStrategy[int] = _U64,
    frames_refused: st.SearchStrategy[int] = _U64,
    execs: st.SearchStrategy[int] = _U64,
    bytes_dropped: st.SearchStrategy[int] = _U64,
    descriptors: st.SearchStrategy[int] = _U32,
    zombies: st.SearchStrategy[int] = _U8,
    memory: st.SearchStrategy[int] = _U64,
) -> st.SearchStrategy[codec.Status]:
    return st.builds(
        codec.Status,
        started_ns=started_ns,
        opened_ns=opened_ns,
        now_ns=now_ns,
        frames_seen=frames_seen,
        frames_refused=frames_refused,
        execs=execs,
        bytes_dropped=bytes_dropped,
        descriptors=descriptors,
        zombies=zombies,
        memory=memory,
    )


def shutdown() -> st.SearchStrategy[codec.Shutdown]:
    return st.builds(codec.Shutdown)


def goodbye(
    *, reason: st.SearchStrategy[codec.GoodbyeReason | int] = _ENUM_GOODBYE_REASON
) -> st.SearchStrategy[codec.Goodbye]:
    return st.builds(codec.Goodbye, reason=reason)


def error(
    *,
    id_: st.SearchStrategy[int] = _ID_OR_0,
    code: st.SearchStrategy[codec.ErrorCode | int] = _ENUM_ERROR_CODE,
    refused_type: st.SearchStrategy[int] = _U16,
    offset: st.SearchStrategy[int] = _U32,
    field: st.SearchStrategy[int] = _U8,
) -> st.SearchStrategy[codec.Error]:
    return st.builds(
        codec.Error, id=id_, code=code, refused_type=refused_type, offset=offset, field=field
    )


def keep() -> st.SearchStrategy[codec.Keep]:
    return st.builds(codec.Keep)


def exec_request(
    *,
    id_: st.SearchStrategy[int] = _ID,
    command: st.SearchStrategy[bytes] = _BYTES_4096_NO_NUL,
    cwd: st.SearchStrategy[bytes] = _BYTES_4096_NO_NUL,
    argv: st.SearchStrategy[tuple[bytes, ...]] = _LIST_16384_131071_1048576_NO_NUL,
    env: st.SearchStrategy[tuple[bytes, ...]] = _LIST_16384_131071_1048576_NO_NUL,
    stdout_credit: st.SearchStrategy[int] = _U32,
    stderr_credit: st.SearchStrategy[int] = _U32,
    user: st.SearchStrategy[bytes] = _BYTES_128_NO_NUL,
    stdin_from: st.SearchStrategy[codec.StdinKind] = _ENUM_STDIN_KIND,
    rows: st.SearchStrategy[int] = _U16,
    columns: st.SearchStrategy[int] = _U16,
    max_processes: st.SearchStrategy[int] = _U32,
    max_memory: st.SearchStrategy[int] = _U64,
    more_argv: st.SearchStrategy[tuple[bytes, ...]] = _LIST_262144_131071_2097152_NO_NUL,
    more_env: st.SearchStrategy[tuple[bytes, ...]] = _LIST_262144_131071_2097152_NO_NUL,
    beside: st.SearchStrategy[bool] = _BOOL,
    joined: st.SearchStrategy[bool] = _BOOL,
) -> st.SearchStrategy[codec.ExecRequest]:
    return st.builds(
        codec.ExecRequest,
        id=id_,
        command=command,
        cwd=cwd,
        argv=argv,
        env=env,
        stdout_credit=stdout_credit,
        stderr_credit=stderr_credit,
        user=user,
        stdin_from=stdin_from,
        rows=rows,
        columns=columns,
        max_processes=max_processes,
        max_memory=max_memory,
        more_argv=more_argv,
        more_env=more_env,
        beside=beside,
        joined=joined,
    )


def exec_output(
    *,
    id_: st.SearchStrategy[int] = _ID,
    stream: st.SearchStrategy[codec.Stream] = _ENUM_STREAM,
    data: st.SearchStrategy[bytes | memoryview] = _BYTES_65536,
) -> st.SearchStrategy[codec.ExecOutput]:
    return st.builds(codec.ExecOutput, id=id_, stream=stream, data=data)


def exec_response(
    *,
    id_: st.SearchStrategy[int] = _ID,
    ending: st.SearchStrategy[codec.Ending] = _ENUM_ENDING,
    status: st.SearchStrategy[int] = _U8,
    memory: st.SearchStrategy[int] = _U64,
) -> st.SearchStrategy[codec.ExecResponse]:
    return st.builds(codec.ExecResponse, id=id_, ending=ending, status=status, memory=memory)


def exec_failed(
    *,
    id_: st.SearchStrategy[int] = _ID,
    stage: st.SearchStrategy[codec.Stage | int] = _ENUM_STAGE,
    error_number: st.SearchStrategy[int] = _U32,
    missing: st.SearchStrategy[bytes] = _BYTES_96,
) -> st.SearchStrategy[codec.ExecFailed]:
    return st.builds(
        codec.ExecFailed, id=id_, stage=stage, error_number=error_number, missing=missing
    )


def exec_signal(
    *, id_: st.SearchStrategy[int] = _ID, signal: st.SearchStrategy[int] = _U8
) -> st.SearchStrategy[codec.ExecSignal]:
    return st.builds(codec.ExecSignal, id=id_, signal=signal)


def exec_kill(*, id_: st.SearchStrategy[int] = _ID) -> st.SearchStrategy[codec.ExecKill]:
    return st.builds(codec.ExecKill, id=id_)


def exec_terminate(*, id_: st.SearchStrategy[int] = _ID) -> st.SearchStrategy[codec.ExecTerminate]:
    return st.builds(codec.ExecTerminate, id=id_)


def exec_credit(
    *,
    id_: st.SearchStrategy[int] = _ID,
    stream: st.SearchStrategy[codec.Stream] = _ENUM_STREAM,
    amount: st.SearchStrategy[int] = _U32,
) -> st.SearchStrategy[codec.ExecCredit]:
    return st.builds(codec.ExecCredit, id=id_, stream=stream, amount=amount)


def exec_stdin(
    *, id_: st.SearchStrategy[int] = _ID, data: st.SearchStrategy[bytes | memoryview] = _BYTES_65536
) -> st.SearchStrategy[codec.ExecStdin]:
    return st.builds(codec.ExecStdin, id=id_, data=data)


def exec_stdin_credit(
    *, id_: st.SearchStrategy[int] = _ID, amount: st.SearchStrategy[int] = _U32
) -> st.SearchStrategy[codec.ExecStdinCredit]:
    return st.builds(codec.ExecStdinCredit, id=id_, amount=amount)


def exec_stdin_closed(
    *, id_: st.SearchStrategy[int] = _ID
) -> st.SearchStrategy[codec.ExecStdinClosed]:
    return st.builds(codec.ExecStdinClosed, id=id_)


def exec_resize(
    *,
    id_: st.SearchStrategy[int] = _ID,
    rows: st.SearchStrategy[int] = _U16,
    columns: st.SearchStrategy[int] = _U16,
) -> st.SearchStrategy[codec.ExecResize]:
    return st.builds(codec.ExecResize, id=id_, rows=rows, columns=columns)


MESSAGES: dict[str, st.SearchStrategy[codec.Message]] = {
    "host": st.one_of(
        hello(),
        resume(),
        ping(),
        status_request(),
        shutdown(),
        keep(),
        exec_request(),
        exec_signal(),
        exec_kill(),
        exec_terminate(),
        exec_credit(),
        exec_stdin(),
        exec_resize(),
    ),
    "guest": st.one_of(
        ready(),
        pong(),
        status(),
        goodbye(),
        error(),
        exec_output(),
        exec_response(),
        exec_failed(),
        exec_stdin_credit(),
        exec_stdin_closed(),
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
                ("new", "host", codec.Hello, "", "greeting"),
                ("greeting", "host", codec.Hello, "", "greeting"),
                ("greeting", "guest", codec.Ready, "own_nonce", "ready"),
                ("ready", "host", codec.Hello, "", "greeting"),
                ("ready", "host", codec.Resume, "", "ready"),
                ("ready", "host", codec.Keep, "free", "ready"),
                ("ready", "host", codec.Ping, "", "ready"),
                ("ready", "host", codec.StatusRequest, "", "ready"),
                ("ready", "host", codec.Shutdown, "", "closing"),
                ("ready", "guest", codec.Pong, "", "ready"),
                ("ready", "guest", codec.Status, "", "ready"),
                ("ready", "guest", codec.Error, "malformed", "searching"),
                ("ready", "guest", codec.Goodbye, "", "finished"),
                ("searching", "host", codec.Hello, "", "greeting"),
                ("searching", "guest", codec.Goodbye, "", "finished"),
                ("closing", "guest", codec.Pong, "", "closing"),
                ("closing", "guest", codec.Status, "", "closing"),
                ("closing", "guest", codec.Error, "malformed", "searching"),
                ("closing", "guest", codec.Goodbye, "", "finished"),
            ],
            ignored=[
                ("new", "guest", codec.Ready),
                ("new", "host", codec.Resume),
                ("new", "host", codec.Ping),
                ("new", "guest", codec.Pong),
                ("new", "host", codec.StatusRequest),
                ("new", "guest", codec.Status),
                ("new", "host", codec.Shutdown),
                ("new", "guest", codec.Goodbye),
                ("new", "guest", codec.Error),
                ("new", "host", codec.Keep),
                ("new", "host", codec.ExecRequest),
                ("new", "guest", codec.ExecOutput),
                ("new", "guest", codec.ExecResponse),
                ("new", "guest", codec.ExecFailed),
                ("new", "host", codec.ExecSignal),
                ("new", "host", codec.ExecKill),
                ("new", "host", codec.ExecTerminate),
                ("new", "host", codec.ExecCredit),
                ("new", "host", codec.ExecStdin),
                ("new", "guest", codec.ExecStdinCredit),
                ("new", "guest", codec.ExecStdinClosed),
                ("new", "host", codec.ExecResize),
                ("greeting", "guest", codec.Ready),
                ("greeting", "guest", codec.Pong),
                ("greeting", "guest", codec.Status),
                ("greeting", "guest", codec.Goodbye),
                ("greeting", "guest", codec.Error),
                ("greeting", "guest", codec.ExecOutput),
                ("greeting", "guest", codec.ExecResponse),
                ("greeting", "guest", codec.ExecFailed),
                ("greeting", "guest", codec.ExecStdinCredit),
                ("greeting", "guest", codec.ExecStdinClosed),
                ("searching", "host", codec.Resume),
                ("searching", "host", codec.Ping),
                ("searching", "host", codec.StatusRequest),
                ("searching", "host", codec.Shutdown),
                ("searching", "host", codec.Keep),
                ("searching", "host", codec.ExecRequest),
                ("searching", "host", codec.ExecSignal),
                ("searching", "host", codec.ExecKill),
                ("searching", "host", codec.ExecTerminate),
                ("searching", "host", codec.ExecCredit),
                ("searching", "host", codec.ExecStdin),
                ("searching", "host", codec.ExecResize),
            ],
            ids=[
                ("ready", "host"),
                ("ready", "guest"),
                ("searching", "guest"),
                ("closing", "guest"),
            ],
            adds=[
                (codec.Hello, "", "", "open hello", ""),
                (codec.Ping, "", "", "open ping", ""),
                (codec.StatusRequest, "", "", "open status_request", ""),
            ],
            takes=[
                (codec.Ready, "", "", "open hello", ""),
                (codec.Pong, "", "", "open ping", ""),
                (codec.Status, "", "", "open status_request", ""),
            ],
            ended=[
                ("new", "open hello"),
                ("greeting", "open hello"),
                ("new", "open ping"),
                ("greeting", "open ping"),
                ("new", "open status_request"),
                ("greeting", "open status_request"),
            ],
            most=[],
        ),
        "id": drawing.ConversationRules(
            first="new",
            steps=[
                ("new", "host", codec.ExecRequest, "", "requested"),
                ("requested", "host", codec.ExecStdin, "", "requested"),
                ("requested", "host", codec.ExecCredit, "", "requested"),
                ("requested", "host", codec.ExecResize, "", "requested"),
                ("requested", "host", codec.ExecSignal, "", "requested"),
                ("requested", "host", codec.ExecTerminate, "", "requested"),
                ("requested", "host", codec.ExecKill, "", "requested"),
                ("requested", "guest", codec.ExecOutput, "", "running"),
                ("requested", "guest", codec.ExecStdinCredit, "", "running"),
                ("requested", "guest", codec.ExecStdinClosed, "", "running"),
                ("requested", "guest", codec.ExecResponse, "", "ended"),
                ("requested", "guest", codec.ExecFailed, "", "ended"),
                ("requested", "guest", codec.Error, "busy", "ended"),
                ("running", "host", codec.ExecStdin, "", "running"),
                ("running", "host", codec.ExecCredit, "", "running"),
                ("running", "host", codec.ExecResize, "", "running"),
                ("running", "host", codec.ExecSignal, "", "running"),
                ("running", "host", codec.ExecTerminate, "", "running"),
                ("running", "host", codec.ExecKill, "", "running"),
                ("running", "guest", codec.ExecOutput, "", "running"),
                ("running", "guest", codec.ExecStdinCredit, "", "running"),
                ("running", "guest", codec.ExecStdinClosed, "", "running"),
                ("running", "guest", codec.ExecResponse, "", "ended"),
            ],
            ignored=[
                ("ended", "host", codec.ExecSignal),
                ("ended", "host", codec.ExecKill),
                ("ended", "host", codec.ExecTerminate),
                ("ended", "host", codec.ExecCredit),
                ("ended", "host", codec.ExecStdin),
                ("ended", "host", codec.ExecResize),
            ],
            ids=[],
            adds=[
                (codec.ExecRequest, "", "", "stdout_credit", "stdout_credit"),
                (codec.ExecCredit, "", "stdout", "stdout_credit", "amount"),
                (codec.ExecRequest, "", "", "stderr_credit", "stderr_credit"),
                (codec.ExecCredit, "", "stderr", "stderr_credit", "amount"),
                (codec.ExecStdinCredit, "", "", "stdin_credit", "amount"),
                (codec.ExecRequest, "", "", "open exec_request", ""),
            ],
            takes=[
                (codec.ExecOutput, "", "stdout", "stdout_credit", "data"),
                (codec.ExecOutput, "", "stderr", "stderr_credit", "data"),
                (codec.ExecStdin, "", "", "stdin_credit", "data"),
                (codec.ExecResponse, "", "", "open exec_request", ""),
                (codec.ExecFailed, "", "", "open exec_request", ""),
                (codec.Error, "", "", "open exec_request", ""),
            ],
            ended=[],
            most=[
                ("stdout_credit", 4294967295),
                ("stderr_credit", 4294967295),
                ("stdin_credit", 1048576),
            ],
        ),
    },
    kinds=[
        drawing.Kind("host", codec.Hello, "none", hello()),
        drawing.Kind("host", codec.Resume, "none", resume()),
        drawing.Kind("host", codec.Ping, "none", ping()),
        drawing.Kind("host", codec.StatusRequest, "none", status_request()),
        drawing.Kind("host", codec.Shutdown, "none", shutdown()),
        drawing.Kind("host", codec.Keep, "none", keep()),
        drawing.Kind("host", codec.ExecRequest, "required", exec_request()),
        drawing.Kind("host", codec.ExecSignal, "required", exec_signal()),
        drawing.Kind("host", codec.ExecKill, "required", exec_kill()),
        drawing.Kind("host", codec.ExecTerminate, "required", exec_terminate()),
        drawing.Kind("host", codec.ExecCredit, "required", exec_credit()),
        drawing.Kind("host", codec.ExecStdin, "required", exec_stdin()),
        drawing.Kind("host", codec.ExecResize, "required", exec_resize()),
        drawing.Kind("guest", codec.Ready, "none", ready()),
        drawing.Kind("guest", codec.Pong, "none", pong()),
        drawing.Kind("guest", codec.Status, "none", status()),
        drawing.Kind("guest", codec.Goodbye, "none", goodbye()),
        drawing.Kind("guest", codec.Error, "any", error()),
        drawing.Kind("guest", codec.ExecOutput, "required", exec_output()),
        drawing.Kind("guest", codec.ExecResponse, "required", exec_response()),
        drawing.Kind("guest", codec.ExecFailed, "required", exec_failed()),
        drawing.Kind("guest", codec.ExecStdinCredit, "required", exec_stdin_credit()),
        drawing.Kind("guest", codec.ExecStdinClosed, "required", exec_stdin_closed()),
    ],
    refusals=[
        codec.Error,
    ],
)
Conversations = functools.partial(drawing.Conversations, _TABLES)
"""Class of strategies for conversations of this schema; see `microvm_proto.drawing`."""
