"""Hypothesis strategies for the messages of sandboxd, version 3.

Generated from sandboxd.toml by `microvm-proto gen`.
Each message has a function that returns a strategy for it. Its arguments are the strategies of the
message's fields. A default strategy generates only valid values, often ones at a bound.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace as _replace
from typing import Any, NamedTuple, TypeAlias

from hypothesis import assume as _assume
from hypothesis import strategies as st

from microvm.wire import codec

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


class Sent(NamedTuple):
    """A message of a conversation.

    :ivar conditions: Names of the schema's conditions that hold for the message.
    :ivar state: State that follows in the conversation of the message. It is empty if the receiver
        ignores the message, and None if the message is out of order.
    """

    sender: str
    message: codec.Message
    conditions: frozenset[str]
    state: str | None


Holds: TypeAlias = Callable[[str, codec.Message, Sequence[Sent]], bool]
"""Function that tells whether the condition of this name holds for a message after others."""

Special: TypeAlias = Mapping[
    type[codec.Message], Callable[[Sequence[Sent]], st.SearchStrategy[codec.Message]]
]
"""Functions that return a strategy for the next message of a type, given the messages so far."""


class _Kind(NamedTuple):
    sender: str
    kind: type[codec.Message]
    id: str
    strategy: Callable[[], st.SearchStrategy[codec.Message]]


_Change: TypeAlias = tuple[type[codec.Message], str, str, str]
"""Type of a message, name of a condition, name of a counter, and the field that changes it."""


class _Rules:
    """The rules of the conversation per connection, or of those per id."""

    def __init__(
        self,
        *,
        first: str,
        steps: Sequence[tuple[str, str, type[codec.Message], str, str]],
        ignored: Sequence[tuple[str, str, type[codec.Message]]],
        ids: Sequence[tuple[str, str]],
        adds: Sequence[_Change],
        takes: Sequence[_Change],
        ended: Sequence[tuple[str, str]],
        most: Sequence[tuple[str, int]],
    ) -> None:
        self.first, self.ignored, self.ids = first, {*ignored}, {*ids}
        self.adds, self.takes, self.ended, self.most = adds, takes, ended, dict(most)
        self.steps: dict[tuple[str, str, type[codec.Message]], list[tuple[str, str]]] = {}
        # A step without a condition is taken if no other step is, so it must be the last one.
        for state, sender, kind, condition, following in sorted(steps, key=lambda row: not row[3]):
            self.steps.setdefault((state, sender, kind), []).append((condition, following))
        conditions = {row[3] for row in steps} | {row[1] for row in (*adds, *takes)}
        self.conditions = conditions - {""}
        self.left = {row[0] for row in steps}


_NONE = _Rules(first="", steps=[], ignored=[], ids=[], adds=[], takes=[], ended=[], most=[])


_RULES = {
    "connection": _Rules(
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
            (codec.Hello, "", "open hello", ""),
            (codec.Ping, "", "open ping", ""),
            (codec.StatusRequest, "", "open status_request", ""),
        ],
        takes=[
            (codec.Ready, "", "open hello", ""),
            (codec.Pong, "", "open ping", ""),
            (codec.Status, "", "open status_request", ""),
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
    "id": _Rules(
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
            (codec.ExecRequest, "", "stdout_credit", "stdout_credit"),
            (codec.ExecCredit, "stdout", "stdout_credit", "amount"),
            (codec.ExecRequest, "", "stderr_credit", "stderr_credit"),
            (codec.ExecCredit, "stderr", "stderr_credit", "amount"),
            (codec.ExecStdinCredit, "", "stdin_credit", "amount"),
            (codec.ExecRequest, "", "open exec_request", ""),
        ],
        takes=[
            (codec.ExecOutput, "stdout", "stdout_credit", "data"),
            (codec.ExecOutput, "stderr", "stderr_credit", "data"),
            (codec.ExecStdin, "", "stdin_credit", "data"),
            (codec.ExecResponse, "", "open exec_request", ""),
            (codec.ExecFailed, "", "open exec_request", ""),
            (codec.Error, "", "open exec_request", ""),
        ],
        ended=[],
        most=[
            ("stdout_credit", 4294967295),
            ("stderr_credit", 4294967295),
            ("stdin_credit", 1048576),
        ],
    ),
}
_KINDS = [
    _Kind("host", codec.Hello, "none", hello),
    _Kind("host", codec.Resume, "none", resume),
    _Kind("host", codec.Ping, "none", ping),
    _Kind("host", codec.StatusRequest, "none", status_request),
    _Kind("host", codec.Shutdown, "none", shutdown),
    _Kind("host", codec.Keep, "none", keep),
    _Kind("host", codec.ExecRequest, "required", exec_request),
    _Kind("host", codec.ExecSignal, "required", exec_signal),
    _Kind("host", codec.ExecKill, "required", exec_kill),
    _Kind("host", codec.ExecTerminate, "required", exec_terminate),
    _Kind("host", codec.ExecCredit, "required", exec_credit),
    _Kind("host", codec.ExecStdin, "required", exec_stdin),
    _Kind("host", codec.ExecResize, "required", exec_resize),
    _Kind("guest", codec.Ready, "none", ready),
    _Kind("guest", codec.Pong, "none", pong),
    _Kind("guest", codec.Status, "none", status),
    _Kind("guest", codec.Goodbye, "none", goodbye),
    _Kind("guest", codec.Error, "any", error),
    _Kind("guest", codec.ExecOutput, "required", exec_output),
    _Kind("guest", codec.ExecResponse, "required", exec_response),
    _Kind("guest", codec.ExecFailed, "required", exec_failed),
    _Kind("guest", codec.ExecStdinCredit, "required", exec_stdin_credit),
    _Kind("guest", codec.ExecStdinClosed, "required", exec_stdin_closed),
]
_REFUSALS: Collection[type[codec.Message]] = [
    codec.Error,
]


class Conversations:
    """Strategies for conversations: the messages of both sides, in the order of one side."""

    def __init__(
        self,
        special: Special | None = None,
        holds: Holds = lambda *_: False,
        *,
        max_size: int = 20,
        max_ids: int = 3,
    ) -> None:
        """Choose the messages of the conversations.

        :param special: Strategies that replace the default ones. A message with an empty strategy
            is left out.
        :param holds: Function that checks the conditions. By default, none of them holds.
        :param max_size: Maximum number of messages.
        :param max_ids: Maximum number of ids whose conversations have begun and have not ended.
        """
        self.special, self.holds = special or {}, holds
        self.max_size, self.max_ids = max_size, max_ids

    def correct(self) -> st.SearchStrategy[list[Sent]]:
        """Return a strategy for conversations in which no message is out of order."""
        return _correct(self).map(lambda connection: connection.sent)

    def faulty(self) -> st.SearchStrategy[list[Sent]]:
        """Return a strategy for conversations in which only the last message is out of order."""
        return _faulty(self)


@st.composite
def _correct(draw: st.DrawFn, of: Conversations) -> _Connection:
    connection = _Connection(of)
    for _ in range(draw(st.integers(0, of.max_size))):
        choices = [*connection.choices()]
        expected = [choice for choice in choices if choice[2]]
        with_id = [choice for choice in expected if choice[1]]
        ignored = [choice for choice in choices if choice[2] is None]
        groups = [group for group in (expected, expected, with_id, with_id, ignored) if group]
        if not groups:
            break
        kind, id_, _ = draw(st.sampled_from(draw(st.sampled_from(groups))))
        for message in draw(connection.messages(kind, id_)):
            connection.add(kind.sender, connection.within(kind.sender, message))
    return connection


@st.composite
def _faulty(draw: st.DrawFn, of: Conversations) -> list[Sent]:
    connection = draw(_correct(of))
    choices = [choice for choice in connection.choices() if choice[2] is not None]
    unexpected = [choice for choice in choices if not choice[2]]
    # A message that a step expects can exceed a counter, or lack a condition.
    fallible = [choice for choice in choices if choice[2] and connection.is_fallible(choice)]
    groups = [group for group in (unexpected, unexpected, fallible) if group]
    _assume(groups)
    kind, id_, _ = draw(st.sampled_from(draw(st.sampled_from(groups))))
    messages = draw(connection.messages(kind, id_))
    _assume(messages)
    last, _ = connection.judge(kind.sender, connection.beyond(kind.sender, messages[0]))
    _assume(last.state is None)
    return [*connection.sent, last]


class _Progress(NamedTuple):
    """The state and the counters of one conversation."""

    rules: _Rules
    state: str
    counts: Mapping[str, int]

    @property
    def is_open(self) -> bool:
        """True if a step leads on."""
        return self.state in self.rules.left

    def expects(self, sender: str, kind: type[codec.Message]) -> bool | None:
        """Return True if a step may apply to a message; None if the message is ignored."""
        lacks = (
            not (condition or field or self.counts.get(name, 0))
            for each, condition, name, field in self.rules.takes
            if each is kind
        )
        if (self.state, sender, kind) in self.rules.steps and not any(lacks):
            return True
        return None if (self.state, sender, kind) in self.rules.ignored else False

    def following(
        self, sender: str, kind: type[codec.Message], held: Collection[str]
    ) -> str | None:
        """Return the state to which a step leads; None if no step applies."""
        steps = self.rules.steps.get((self.state, sender, kind), [])
        return next((state for when, state in steps if not when or when in held), None)

    def after(
        self, sender: str, message: codec.Message, held: Collection[str]
    ) -> tuple[str | None, _Progress]:
        """Return the attribute `state` of a message, and the progress after it."""
        rules, kind = self.rules, type(message)
        following = self.following(sender, kind, held)
        if following is None:
            return "" if (self.state, sender, kind) in rules.ignored else None, self
        counts = Counter(self.counts)
        for name, _, amount in _amounts(rules.takes, message, held):
            counts[name] -= amount
        if min(counts.values(), default=0) < 0:
            return None, self
        for state, name in rules.ended:
            if state == following:
                counts[name] = 0
        for name, _, amount in _amounts(rules.adds, message, held):
            counts[name] = min(counts[name] + amount, rules.most.get(name, counts[name] + amount))
        return following, _Progress(rules, following, counts)


def _amounts(
    changes: Sequence[_Change], message: codec.Message, held: Collection[str]
) -> Iterator[tuple[str, str, int]]:
    """Yield the counters that a message changes, each with the field and the amount."""
    for kind, condition, name, field in changes:
        if kind is type(message) and (not condition or condition in held):
            yield name, field, _size(getattr(message, field)) if field else 1


def _size(value: Any) -> int:
    if value is None or isinstance(value, int):
        return value or 0
    return len(value.encode() if isinstance(value, str) else value)


def _resized(value: Any, size: int) -> Any:
    if value is None or isinstance(value, int):
        return size
    if isinstance(value, str):
        cut = value.encode()[:size].decode(errors="ignore")
        return cut + "a" * (size - len(cut.encode()))
    return bytes(value)[:size].ljust(size, b"a")


class _Connection:
    """The conversations of a connection."""

    def __init__(self, of: Conversations) -> None:
        self.sent: list[Sent] = []
        self._of = of
        self._outer = _begun(_RULES.get("connection", _NONE))
        self._ids: dict[int, _Progress] = {}

    def choices(self) -> Iterator[tuple[_Kind, int, bool | None]]:
        """Yield kinds of messages, each with an id, and True if the message is in order.

        It is None instead if the receiver would ignore the message.
        """
        begun = {id_: each for id_, each in self._ids.items() if each.state != each.rules.first}
        known = [*begun] if "id" in _RULES else [1]
        if "id" in _RULES and sum(each.is_open for each in begun.values()) < self._of.max_ids:
            known.append(max(self._ids, default=0) + 1)
        for kind in _KINDS:
            for id_ in {"none": [0], "any": [0, *known], "required": known}[kind.id]:
                expected = self._admits(kind.sender, kind.kind, id_)
                if expected:
                    expected = self._progress(id_).expects(kind.sender, kind.kind)
                yield kind, id_, expected

    def is_fallible(self, choice: tuple[_Kind, int, bool | None]) -> bool:
        """Return True if an expected message is out of order for some values of its fields."""
        (_, kind, _, _), id_, _ = choice
        at = self._progress(id_)
        takes = any(each is kind and field for each, _, _, field in at.rules.takes)
        return takes or not at.following(choice[0].sender, kind, ())

    def messages(self, kind: _Kind, id_: int) -> st.SearchStrategy[list[codec.Message]]:
        """Return a strategy for lists of one message, or for empty ones if it is left out."""
        special = self._of.special.get(kind.kind)
        messages = special(self.sent) if special else kind.strategy()
        if messages.is_empty:
            return st.just([])
        given: dict[str, Any] = {} if kind.id == "none" else {"id": id_}
        return messages.map(lambda message: [_replace(message, **given)])

    def within(self, sender: str, message: codec.Message) -> codec.Message:
        """Return the message with amounts that its counters allow."""
        last, progress = self.judge(sender, message)
        for name, field, amount in _amounts(progress.rules.takes, message, last.conditions):
            if field and amount > (most := progress.counts.get(name, 0)):
                given = {field: _resized(getattr(message, field), most)}
                message = _replace(message, **given)
        return message

    def beyond(self, sender: str, message: codec.Message) -> codec.Message:
        """Return the message with amounts that exceed its counters, if it can contain them."""
        last, progress = self.judge(sender, message)
        for name, field, _ in _amounts(progress.rules.takes, message, last.conditions):
            most = progress.counts.get(name, 0)
            value = getattr(message, field) if field else 0
            if field and (value is None or isinstance(value, int) or most < MAX_LENGTH):
                given = {field: _resized(value, most + 1)}
                larger = _replace(message, **given)
                message = larger if _is_valid(larger) else message
        return message

    def judge(self, sender: str, message: codec.Message) -> tuple[Sent, _Progress]:
        """Return a message with its verdict, and the progress of its conversation after it."""
        id_, kind = getattr(message, "id", 0), type(message)
        outer, own = self._outer, self._progress(id_)
        names = {*outer.rules.conditions, *own.rules.conditions}
        held = frozenset(name for name in names if self._of.holds(name, message, self.sent))
        # A refusal has the id of the refused message, even if it is about the connection.
        if kind in _REFUSALS and outer.following(sender, kind, held):
            own = outer
        admitted = own is outer or self._admits(sender, kind, id_)
        if not admitted:
            return Sent(sender, message, held, "" if admitted is None else None), own
        state, progress = own.after(sender, message, held)
        return Sent(sender, message, held, state), progress

    def add(self, sender: str, message: codec.Message) -> None:
        """Add a message to the conversation, unless it is out of order."""
        last, progress = self.judge(sender, message)
        if last.state is None:
            return
        self.sent.append(last)
        if not last.state:
            return
        if progress.rules is not self._outer.rules:
            self._ids[getattr(message, "id", 0)] = progress
            return
        self._outer = progress
        if progress.state not in {state for state, _ in progress.rules.ids}:
            self._ids.clear()

    def _progress(self, id_: int) -> _Progress:
        if id_ and "id" in _RULES:
            return self._ids.get(id_) or _begun(_RULES["id"])
        return self._outer

    def _admits(self, sender: str, kind: type[codec.Message], id_: int) -> bool | None:
        """Return True if a message reaches its conversation; None if the connection ignores it."""
        if not (id_ and len(_RULES) == 2):
            return True
        if (self._outer.state, sender, kind) in self._outer.rules.ignored:
            return None
        return (self._outer.state, sender) in self._outer.rules.ids


def _begun(rules: _Rules) -> _Progress:
    return _Progress(rules, rules.first, {})


def _is_valid(message: codec.Message) -> bool:
    try:
        message.encode()
    except codec.EncodeError:
        return False
    return True
