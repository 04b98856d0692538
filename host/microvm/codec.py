"""The wire protocol of sandboxd, version 1: a codec without I/O.

Generated from sandboxd.toml by `microvm-proto gen`. Runs one command at a time inside a virtual
machine: its output is streamed, its end is reported. The host is the side that starts the machine;
the guest is `sandboxd`, its first process.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, TypeVar

VERSION = 1
DIGEST = 0x26255CC884CC98C7
DIGESTS: Mapping[int, int] = {1: DIGEST}
HEADER_SIZE = 12
MAX_BODY = 2105517
END_NAMES = ("host", "guest")


class Fault(enum.IntEnum):
    """How a frame is malformed."""

    UNKNOWN_TYPE = 1
    """No message has this type."""
    BAD_DIRECTION = 2
    """The other side sends this message."""
    RESERVED_FLAGS = 3
    """The header's flags are not 0."""
    BAD_ID = 4
    """The id is 0 where one is needed, or not 0 where none is."""
    BODY_TOO_LONG = 5
    """The body is longer than any body of this type."""
    TRUNCATED = 6
    """A field, or its length, ends beyond the body."""
    TOO_LONG = 7
    """A variable-length value is above its bound."""
    TOO_MANY = 8
    """A list has more items than its bound."""
    TOTAL_TOO_LONG = 9
    """A list's items, with their prefixes, are longer than its bound."""
    UNKNOWN_VALUE = 10
    """A value that a closed enum or a constant does not have."""
    EMBEDDED_NUL = 11
    """A NUL byte where none may be."""
    TRAILING_BYTES = 12
    """The body goes on after its last field."""


class ErrorCode(enum.IntEnum):
    """Why a frame was refused."""

    UNKNOWN_TYPE = 1
    """No message has this type."""
    BAD_DIRECTION = 2
    """The other side sends this message."""
    RESERVED_FLAGS = 3
    """The header's flags are not 0."""
    BAD_ID = 4
    """The id is 0 where one is needed, or not 0 where none is."""
    BODY_TOO_LONG = 5
    """The body is longer than any body of this type."""
    TRUNCATED = 6
    """A field, or its length, ends beyond the body."""
    TOO_LONG = 7
    """A variable-length value is above its bound."""
    TOO_MANY = 8
    """A list has more items than its bound."""
    TOTAL_TOO_LONG = 9
    """A list's items, with their prefixes, are longer than its bound."""
    UNKNOWN_VALUE = 10
    """A value that a closed enum or a constant does not have."""
    EMBEDDED_NUL = 11
    """A NUL byte where none may be."""
    TRAILING_BYTES = 12
    """The body goes on after its last field."""
    BUSY = 64
    """Another exec is in flight."""
    UNKNOWN_ID = 65
    """No `exec_request` has had this id."""
    STALE_ID = 66
    """An `exec_request` whose id is not above all before it."""
    OVER_CREDIT = 67
    """An `exec_stdin` with more data than was paid for."""


class Stream(enum.IntEnum):
    """One of a command's output streams; the numbers are its file descriptors."""

    STDOUT = 1
    """Standard output."""
    STDERR = 2
    """Standard error."""


class Ending(enum.IntEnum):
    """How a command ended."""

    EXITED = 0
    """It exited by itself; the status is its exit code."""
    SIGNALLED = 1
    """A signal ended it; the status is the signal's number."""


class Stage(enum.IntEnum):
    """Where starting a command failed."""

    PIPE = 1
    """Making its pipes."""
    FORK = 2
    """Making its process."""
    SETUP = 3
    """Giving the process its streams, session and limits."""
    CHDIR = 4
    """Entering its working directory."""
    LOOKUP = 5
    """Finding it: no folder of PATH has it."""
    EXEC = 6
    """Executing it."""
    INTERPRETER = 7
    """Executing it: the file is there, but what should interpret it is not."""
    USER = 8
    """Becoming its user: there is none of that name."""
    LIMIT = 9
    """Limiting its memory or processes."""


class StdinKind(enum.IntEnum):
    """Where a command's standard input comes from."""

    NULL = 0
    """`/dev/null`."""
    HOST = 1
    """The host, by `exec_stdin`."""


class GoodbyeReason(enum.IntEnum):
    """Why the guest ends itself."""

    SHUTDOWN = 1
    """The host asked for it."""
    BROKEN = 2
    """The daemon cannot go on."""


class DecodeError(Exception):
    """A malformed frame; nothing after it on its stream can be trusted.

    :ivar fault: how it is malformed.
    :ivar offset: where, in bytes from the start of the frame.
    :ivar field_number: which field of the message, from 1; 0 for the header.
    :ivar field: that field's name; empty for the header.
    """

    def __init__(self, fault: Fault, offset: int, field_number: int = 0, field: str = "") -> None:
        where = f"{field} " if field else ""
        super().__init__(f"{where}{fault.name.lower()} at offset {offset}")
        self.fault = fault
        self.offset = offset
        self.field_number = field_number
        self.field = field


class EncodeError(ValueError):
    """A message that the protocol does not allow; nothing of it is sent.

    :ivar fault: what a decoder would have said.
    :ivar field: the field that is wrong; `id` and `type` are the header's.
    """

    def __init__(self, fault: Fault, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.fault = fault
        self.field = field


@dataclass(frozen=True, slots=True)
class Hello:
    """Starts a new life of the stream.

    :ivar version: The highest version of this protocol that the sender speaks.
    :ivar digest: The digest of the sender's schema.
    :ivar max_body: The longest body that the sender accepts, in bytes.
    :ivar nonce: Random, fresh for each `hello`.
    """

    TYPE: ClassVar[int] = 1
    MAX_BODY: ClassVar[int] = 32

    version: int
    digest: int
    max_body: int
    nonce: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (
            _out_int(_U64, 0xA6D766F7263696D, "magic"),
            _out_int(_U32, self.version, "version"),
            _out_int(_U64, self.digest, "digest"),
            _out_int(_U32, self.max_body, "max_body"),
            _out_int(_U64, self.nonce, "nonce"),
        )
        return _frame(1, 0, parts)


@dataclass(frozen=True, slots=True)
class Ready:
    """Answers `hello`.

    :ivar version: The highest version of this protocol that the sender speaks.
    :ivar digest: The digest of the sender's schema.
    :ivar max_body: The longest body that the sender accepts, in bytes.
    :ivar nonce: The nonce of the `hello` that this answers.
    """

    TYPE: ClassVar[int] = 2
    MAX_BODY: ClassVar[int] = 32

    version: int
    digest: int
    max_body: int
    nonce: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (
            _out_int(_U64, 0xA6D766F7263696D, "magic"),
            _out_int(_U32, self.version, "version"),
            _out_int(_U64, self.digest, "digest"),
            _out_int(_U32, self.max_body, "max_body"),
            _out_int(_U64, self.nonce, "nonce"),
        )
        return _frame(2, 0, parts)


@dataclass(frozen=True, slots=True)
class Resume:
    """What a machine that has just started, or was restored, cannot know by itself.

    A guest that is not PID 1 ignores it.

    :ivar realtime_ns: The wall clock, in nanoseconds since 1970-01-01 UTC.
    :ivar entropy: Random bytes for the guest's kernel, credited in full. At most 64 bytes.
    """

    TYPE: ClassVar[int] = 3
    MAX_BODY: ClassVar[int] = 76

    realtime_ns: int
    entropy: bytes

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (
            _out_int(_U64, self.realtime_ns, "realtime_ns"),
            _out_bytes(self.entropy, 64, True, "entropy"),
        )
        return _frame(3, 0, parts)


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks whether the guest is alive; it answers also while a command runs.

    :ivar token: Any number.
    """

    TYPE: ClassVar[int] = 4
    MAX_BODY: ClassVar[int] = 8

    token: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (_out_int(_U64, self.token, "token"),)
        return _frame(4, 0, parts)


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers `ping`.

    :ivar token: The number from the `ping`.
    """

    TYPE: ClassVar[int] = 5
    MAX_BODY: ClassVar[int] = 8

    token: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (_out_int(_U64, self.token, "token"),)
        return _frame(5, 0, parts)


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Asks for the daemon's counters."""

    TYPE: ClassVar[int] = 6
    MAX_BODY: ClassVar[int] = 0

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        return _frame(6, 0, ())


@dataclass(frozen=True, slots=True)
class Status:
    """Answers `status_request`.

    Times are of CLOCK_MONOTONIC, in nanoseconds since the guest's kernel started.

    :ivar started_ns: When the daemon started.
    :ivar opened_ns: When it had opened its port.
    :ivar now_ns: When it wrote this.
    :ivar frames_seen: Well-formed frames since it started, the `status_request` included.
    :ivar frames_refused: Frames that it answered with `error`.
    :ivar execs: Commands that it has started.
    :ivar bytes_dropped: Bytes skipped in search of a `hello`.
    """

    TYPE: ClassVar[int] = 7
    MAX_BODY: ClassVar[int] = 56

    started_ns: int
    opened_ns: int
    now_ns: int
    frames_seen: int
    frames_refused: int
    execs: int
    bytes_dropped: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (
            _out_int(_U64, self.started_ns, "started_ns"),
            _out_int(_U64, self.opened_ns, "opened_ns"),
            _out_int(_U64, self.now_ns, "now_ns"),
            _out_int(_U64, self.frames_seen, "frames_seen"),
            _out_int(_U64, self.frames_refused, "frames_refused"),
            _out_int(_U64, self.execs, "execs"),
            _out_int(_U64, self.bytes_dropped, "bytes_dropped"),
        )
        return _frame(7, 0, parts)


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Ends the guest: it kills what runs, says `goodbye`, and resets the machine."""

    TYPE: ClassVar[int] = 8
    MAX_BODY: ClassVar[int] = 0

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        return _frame(8, 0, ())


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The last frame of a guest that ends by intent.

    :ivar reason: Why it ends.
    """

    TYPE: ClassVar[int] = 9
    MAX_BODY: ClassVar[int] = 1

    reason: GoodbyeReason | int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (_out_int(_U8, self.reason, "reason"),)
        return _frame(9, 0, parts)


@dataclass(frozen=True, slots=True)
class Error:
    """Refuses a frame.

    The header's id is that of the refused frame.

    :ivar id: What it is about.
    :ivar code: Why.
    :ivar refused_type: The type in the refused frame's header.
    :ivar offset: Where it broke, in bytes from the start of the frame; 0 for the codes from 64 on.
    :ivar field: Which field broke, counted from 1; 0 for the header.
    """

    TYPE: ClassVar[int] = 10
    MAX_BODY: ClassVar[int] = 9

    id: int
    code: ErrorCode | int
    refused_type: int
    offset: int
    field: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (
            _out_int(_U16, self.code, "code"),
            _out_int(_U16, self.refused_type, "refused_type"),
            _out_int(_U32, self.offset, "offset"),
            _out_int(_U8, self.field, "field"),
        )
        return _frame(10, _out_id(self.id, 0), parts)


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """Runs a command.

    :ivar id: What it is about.
    :ivar command: The file to execute; without a slash it is looked up in PATH. At most 4096 bytes,
        without NUL.
    :ivar cwd: The working directory; when empty, the user's home, or `/` where there is none. At
        most 4096 bytes, without NUL.
    :ivar argv: The arguments, as `execve` takes them: the first is the name that the program sees.
        At most 16384 items of at most 131071 bytes, without NUL; at most 1048576 bytes in all, 4
        more for each item included.
    :ivar env: Entries `KEY=VALUE` over the default environment. At most 16384 items of at most
        131071 bytes, without NUL; at most 1048576 bytes in all, 4 more for each item included.
    :ivar stdout_credit: Bytes of standard output that the guest may send at first.
    :ivar stderr_credit: Bytes of standard error that the guest may send at first.
    :ivar user: Whom to run as: `NAME`, `UID` or either with `:GROUP`; when empty, root. At most 128
        bytes, without NUL.
    :ivar stdin_from: Where standard input comes from; a terminal's is always the host.
    :ivar rows: Lines of the terminal; 0: there is no terminal.
    :ivar columns: Columns of the terminal.
    :ivar max_processes: Processes and threads that may exist at a time; 0: as many as the kernel
        allows.
    :ivar max_memory: Bytes of memory that they may use together; 0: as much as there is.
    """

    TYPE: ClassVar[int] = 16
    MAX_BODY: ClassVar[int] = 2105517

    id: int
    command: bytes
    cwd: bytes
    argv: tuple[bytes, ...]
    env: tuple[bytes, ...]
    stdout_credit: int
    stderr_credit: int
    user: bytes
    stdin_from: StdinKind
    rows: int
    columns: int
    max_processes: int
    max_memory: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (
            _out_bytes(self.command, 4096, False, "command"),
            _out_bytes(self.cwd, 4096, False, "cwd"),
            _out_list(self.argv, (16384, 131071, 1048576), False, "argv"),
            _out_list(self.env, (16384, 131071, 1048576), False, "env"),
            _out_int(_U32, self.stdout_credit, "stdout_credit"),
            _out_int(_U32, self.stderr_credit, "stderr_credit"),
            _out_bytes(self.user, 128, False, "user"),
            _out_int(_U8, _closed(StdinKind, self.stdin_from, "stdin_from"), "stdin_from"),
            _out_int(_U16, self.rows, "rows"),
            _out_int(_U16, self.columns, "columns"),
            _out_int(_U32, self.max_processes, "max_processes"),
            _out_int(_U64, self.max_memory, "max_memory"),
        )
        return _frame(16, _out_id(self.id, 1), parts)


@dataclass(frozen=True, slots=True)
class ExecOutput:
    """Bytes that the command has written.

    :ivar id: What it is about.
    :ivar stream: Where it wrote them.
    :ivar data: The bytes, at least one. At most 65536 bytes.
    """

    TYPE: ClassVar[int] = 17
    MAX_BODY: ClassVar[int] = 65537

    id: int
    stream: Stream
    data: bytes | memoryview

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (
            _out_int(_U8, _closed(Stream, self.stream, "stream"), "stream"),
            _out_tail(self.data, 65536, "data"),
        )
        return _frame(17, _out_id(self.id, 1), parts)


@dataclass(frozen=True, slots=True)
class ExecResponse:
    """The command has ended, and all of its output has been sent.

    :ivar id: What it is about.
    :ivar ending: How it ended.
    :ivar status: Its exit code or the signal, as `ending` says.
    """

    TYPE: ClassVar[int] = 18
    MAX_BODY: ClassVar[int] = 2

    id: int
    ending: Ending
    status: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (
            _out_int(_U8, _closed(Ending, self.ending, "ending"), "ending"),
            _out_int(_U8, self.status, "status"),
        )
        return _frame(18, _out_id(self.id, 1), parts)


@dataclass(frozen=True, slots=True)
class ExecFailed:
    """The command could not be started.

    :ivar id: What it is about.
    :ivar stage: What failed.
    :ivar error_number: The `errno` it failed with, as Linux numbers them.
    """

    TYPE: ClassVar[int] = 19
    MAX_BODY: ClassVar[int] = 5

    id: int
    stage: Stage | int
    error_number: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (
            _out_int(_U8, self.stage, "stage"),
            _out_int(_U32, self.error_number, "error_number"),
        )
        return _frame(19, _out_id(self.id, 1), parts)


@dataclass(frozen=True, slots=True)
class ExecSignal:
    """Sends a signal to the command's process group.

    :ivar id: What it is about.
    :ivar signal: The signal's number; one that the guest's kernel does not have is ignored.
    """

    TYPE: ClassVar[int] = 20
    MAX_BODY: ClassVar[int] = 1

    id: int
    signal: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (_out_int(_U8, self.signal, "signal"),)
        return _frame(20, _out_id(self.id, 1), parts)


@dataclass(frozen=True, slots=True)
class ExecKill:
    """Kills the command and everything that it has started.

    :ivar id: What it is about.
    """

    TYPE: ClassVar[int] = 21
    MAX_BODY: ClassVar[int] = 0

    id: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        return _frame(21, _out_id(self.id, 1), ())


@dataclass(frozen=True, slots=True)
class ExecTerminate:
    """Asks the command to end, by SIGTERM; what it leaves behind when it does is killed.

    :ivar id: What it is about.
    """

    TYPE: ClassVar[int] = 27
    MAX_BODY: ClassVar[int] = 0

    id: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        return _frame(27, _out_id(self.id, 1), ())


@dataclass(frozen=True, slots=True)
class ExecCredit:
    """Allows more output.

    :ivar id: What it is about.
    :ivar stream: The stream it is for.
    :ivar amount: How many bytes more; credit beyond 4 GiB is lost.
    """

    TYPE: ClassVar[int] = 22
    MAX_BODY: ClassVar[int] = 5

    id: int
    stream: Stream
    amount: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (
            _out_int(_U8, _closed(Stream, self.stream, "stream"), "stream"),
            _out_int(_U32, self.amount, "amount"),
        )
        return _frame(22, _out_id(self.id, 1), parts)


@dataclass(frozen=True, slots=True)
class ExecStdin:
    """Bytes for the command's standard input; without any, its end.

    :ivar id: What it is about.
    :ivar data: The bytes. At most 65536 bytes.
    """

    TYPE: ClassVar[int] = 23
    MAX_BODY: ClassVar[int] = 65536

    id: int
    data: bytes | memoryview

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (_out_tail(self.data, 65536, "data"),)
        return _frame(23, _out_id(self.id, 1), parts)


@dataclass(frozen=True, slots=True)
class ExecStdinCredit:
    """Allows more standard input.

    :ivar id: What it is about.
    :ivar amount: How many bytes more.
    """

    TYPE: ClassVar[int] = 24
    MAX_BODY: ClassVar[int] = 4

    id: int
    amount: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (_out_int(_U32, self.amount, "amount"),)
        return _frame(24, _out_id(self.id, 1), parts)


@dataclass(frozen=True, slots=True)
class ExecStdinClosed:
    """The command has closed its standard input; what is still sent is dropped.

    :ivar id: What it is about.
    """

    TYPE: ClassVar[int] = 25
    MAX_BODY: ClassVar[int] = 0

    id: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        return _frame(25, _out_id(self.id, 1), ())


@dataclass(frozen=True, slots=True)
class ExecResize:
    """Changes the size of the command's terminal.

    :ivar id: What it is about.
    :ivar rows: Lines.
    :ivar columns: Columns.
    """

    TYPE: ClassVar[int] = 26
    MAX_BODY: ClassVar[int] = 4

    id: int
    rows: int
    columns: int

    def encode(self, version: int = VERSION) -> bytes:
        """Write the whole frame, as the version that both sides agreed on has it."""
        parts = (
            _out_int(_U16, self.rows, "rows"),
            _out_int(_U16, self.columns, "columns"),
        )
        return _frame(26, _out_id(self.id, 1), parts)


Message: TypeAlias = (
    Hello
    | Ready
    | Resume
    | Ping
    | Pong
    | StatusRequest
    | Status
    | Shutdown
    | Goodbye
    | Error
    | ExecRequest
    | ExecOutput
    | ExecResponse
    | ExecFailed
    | ExecSignal
    | ExecKill
    | ExecTerminate
    | ExecCredit
    | ExecStdin
    | ExecStdinCredit
    | ExecStdinClosed
    | ExecResize
)


_E = TypeVar("_E", bound=enum.IntEnum)

_HEADER = struct.Struct("<IHHI")
_U8 = struct.Struct("<B")
_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_I8 = struct.Struct("<b")
_I16 = struct.Struct("<h")
_I32 = struct.Struct("<i")
_I64 = struct.Struct("<q")

# The lengths that are frequent: looking one up is faster than packing it.
_LENGTHS = tuple(_U32.pack(length) for length in range(1024))


def _frame(number: int, id_: int, parts: Sequence[bytes | memoryview]) -> bytes:
    if len(parts) == 1:
        return _HEADER.pack(len(parts[0]), number, 0, id_) + parts[0]
    if parts and len(parts[-1]) > 1024:
        # Data is copied once; of what is short, a second copy is faster than adding up.
        return b"".join((_HEADER.pack(sum(map(len, parts)), number, 0, id_), *parts))
    body = b"".join(parts)
    return _HEADER.pack(len(body), number, 0, id_) + body


def _out_id(id_: int, least: int) -> int:
    if not least <= id_ <= 0xFFFFFFFF:
        raise EncodeError(Fault.BAD_ID, "id", f"{id_} is not between {least} and 2^32 - 1")
    return id_


def _closed(kind: type[_E], value: int, field: str) -> int:
    if isinstance(value, kind):
        return value
    try:
        return kind(value)
    except ValueError as error:
        raise EncodeError(Fault.UNKNOWN_VALUE, field, str(error)) from None


def _out_int(layout: struct.Struct, value: int, field: str) -> bytes:
    try:
        return layout.pack(value)
    except struct.error as error:
        raise EncodeError(Fault.UNKNOWN_VALUE, field, f"{value}: {error}") from None


def _out_bytes(value: bytes, maximum: int, nul: bool, field: str) -> bytes:
    if len(value) > maximum:
        reason = f"{len(value)} bytes, and at most {maximum} are allowed"
        raise EncodeError(Fault.TOO_LONG, field, reason)
    if not nul and 0 in value:
        raise EncodeError(Fault.EMBEDDED_NUL, field, "contains a NUL byte")
    return _U32.pack(len(value)) + value


def _out_list(
    items: tuple[bytes, ...], bounds: tuple[int, int, int], nul: bool, field: str
) -> bytes:
    max_items, max_item, max_total = bounds
    if len(items) <= max_items and (packed := _short_items(items)) is not None:
        fits = len(packed) <= max_total and len(packed) - 4 * len(items) <= max_item
        if fits and (nul or 0 not in b"".join(items)):
            return _U32.pack(len(items)) + packed
    # Nothing is sure about all of them together, so each is looked at.
    if len(items) > max_items:
        reason = f"{len(items)} items, and at most {max_items} are allowed"
        raise EncodeError(Fault.TOO_MANY, field, reason)
    parts = [_U32.pack(len(items))]
    total = 0
    for item in items:
        parts.append(_out_bytes(item, max_item, nul, field))
        total += len(parts[-1])
        if total > max_total:
            reason = f"{total} bytes or more in all, and at most {max_total} are allowed"
            raise EncodeError(Fault.TOTAL_TOO_LONG, field, reason)
    return b"".join(parts)


def _short_items(items: tuple[bytes, ...]) -> bytes | None:
    try:
        return b"".join([_LENGTHS[len(item)] + item for item in items])
    except IndexError:
        return None


def _out_tail(value: bytes | memoryview, maximum: int, field: str) -> bytes | memoryview:
    if isinstance(value, memoryview):
        value = value.cast("B")
    if len(value) > maximum:
        reason = f"{len(value)} bytes, and at most {maximum} are allowed"
        raise EncodeError(Fault.TOO_LONG, field, reason)
    return value


def _fault(fault: Fault, at: int, number: int, field: str) -> DecodeError:
    return DecodeError(fault, HEADER_SIZE + at, number, field)


def _in_int(
    layout: struct.Struct, body: memoryview, at: int, number: int, field: str
) -> tuple[int, int]:
    try:
        return layout.unpack_from(body, at)[0], at + layout.size
    except struct.error:
        raise _fault(Fault.TRUNCATED, at, number, field) from None


def _in_closed(kind: type[_E], value: int, at: int, number: int, field: str) -> _E:
    # Calling the enum takes three times as long.
    member = kind._value2member_map_.get(value)
    if isinstance(member, kind):
        return member
    raise _fault(Fault.UNKNOWN_VALUE, at, number, field)


def _in_open(kind: type[_E], value: int) -> _E | int:
    member = kind._value2member_map_.get(value)
    return member if isinstance(member, kind) else value


def _in_bytes(
    body: memoryview, at: int, maximum: int, nul: bool, number: int, field: str
) -> tuple[bytes, int]:
    size, start = _in_int(_U32, body, at, number, field)
    if size > maximum:
        raise _fault(Fault.TOO_LONG, at, number, field)
    end = start + size
    if end > len(body):
        raise _fault(Fault.TRUNCATED, start, number, field)
    value = body[start:end].tobytes()
    if not nul and 0 in value:
        raise _fault(Fault.EMBEDDED_NUL, start + value.index(0), number, field)
    return value, end


def _in_list(
    body: memoryview, at: int, bounds: tuple[int, int, int], nul: bool, number: int, field: str
) -> tuple[tuple[bytes, ...], int]:
    max_items, max_item, max_total = bounds
    count, start = _in_int(_U32, body, at, number, field)
    if count > max_items:
        raise _fault(Fault.TOO_MANY, at, number, field)
    items = []
    at = start
    for _ in range(count):
        item, end = _in_bytes(body, at, max_item, nul, number, field)
        if end - start > max_total:
            raise _fault(Fault.TOTAL_TOO_LONG, at, number, field)
        items.append(item)
        at = end
    return tuple(items), at


def _in_tail(body: memoryview, at: int, maximum: int, number: int, field: str) -> memoryview:
    if len(body) - at > maximum:
        raise _fault(Fault.TOO_LONG, at, number, field)
    return body[at:]


def _end(body: memoryview, at: int) -> None:
    if at != len(body):
        raise DecodeError(Fault.TRAILING_BYTES, HEADER_SIZE + at)


def _decode_hello(id_: int, body: memoryview) -> Hello:
    del id_
    constant, at = _in_int(_U64, body, 0, 1, "magic")
    if constant != 0xA6D766F7263696D:
        raise _fault(Fault.UNKNOWN_VALUE, at - 8, 1, "magic")
    version, at = _in_int(_U32, body, at, 2, "version")
    digest, at = _in_int(_U64, body, at, 3, "digest")
    max_body, at = _in_int(_U32, body, at, 4, "max_body")
    nonce, at = _in_int(_U64, body, at, 5, "nonce")
    _end(body, at)
    return Hello(version, digest, max_body, nonce)


def _decode_ready(id_: int, body: memoryview) -> Ready:
    del id_
    constant, at = _in_int(_U64, body, 0, 1, "magic")
    if constant != 0xA6D766F7263696D:
        raise _fault(Fault.UNKNOWN_VALUE, at - 8, 1, "magic")
    version, at = _in_int(_U32, body, at, 2, "version")
    digest, at = _in_int(_U64, body, at, 3, "digest")
    max_body, at = _in_int(_U32, body, at, 4, "max_body")
    nonce, at = _in_int(_U64, body, at, 5, "nonce")
    _end(body, at)
    return Ready(version, digest, max_body, nonce)


def _decode_resume(id_: int, body: memoryview) -> Resume:
    del id_
    realtime_ns, at = _in_int(_U64, body, 0, 1, "realtime_ns")
    entropy, at = _in_bytes(body, at, 64, True, 2, "entropy")
    _end(body, at)
    return Resume(realtime_ns, entropy)


def _decode_ping(id_: int, body: memoryview) -> Ping:
    del id_
    token, at = _in_int(_U64, body, 0, 1, "token")
    _end(body, at)
    return Ping(token)


def _decode_pong(id_: int, body: memoryview) -> Pong:
    del id_
    token, at = _in_int(_U64, body, 0, 1, "token")
    _end(body, at)
    return Pong(token)


def _decode_status_request(id_: int, body: memoryview) -> StatusRequest:
    del id_
    _end(body, 0)
    return StatusRequest()


def _decode_status(id_: int, body: memoryview) -> Status:
    del id_
    started_ns, at = _in_int(_U64, body, 0, 1, "started_ns")
    opened_ns, at = _in_int(_U64, body, at, 2, "opened_ns")
    now_ns, at = _in_int(_U64, body, at, 3, "now_ns")
    frames_seen, at = _in_int(_U64, body, at, 4, "frames_seen")
    frames_refused, at = _in_int(_U64, body, at, 5, "frames_refused")
    execs, at = _in_int(_U64, body, at, 6, "execs")
    bytes_dropped, at = _in_int(_U64, body, at, 7, "bytes_dropped")
    _end(body, at)
    return Status(started_ns, opened_ns, now_ns, frames_seen, frames_refused, execs, bytes_dropped)


def _decode_shutdown(id_: int, body: memoryview) -> Shutdown:
    del id_
    _end(body, 0)
    return Shutdown()


def _decode_goodbye(id_: int, body: memoryview) -> Goodbye:
    del id_
    number, at = _in_int(_U8, body, 0, 1, "reason")
    reason = _in_open(GoodbyeReason, number)
    _end(body, at)
    return Goodbye(reason)


def _decode_error(id_: int, body: memoryview) -> Error:
    number, at = _in_int(_U16, body, 0, 1, "code")
    code = _in_open(ErrorCode, number)
    refused_type, at = _in_int(_U16, body, at, 2, "refused_type")
    offset, at = _in_int(_U32, body, at, 3, "offset")
    field, at = _in_int(_U8, body, at, 4, "field")
    _end(body, at)
    return Error(id_, code, refused_type, offset, field)


def _decode_exec_request(id_: int, body: memoryview) -> ExecRequest:
    command, at = _in_bytes(body, 0, 4096, False, 1, "command")
    cwd, at = _in_bytes(body, at, 4096, False, 2, "cwd")
    argv, at = _in_list(body, at, (16384, 131071, 1048576), False, 3, "argv")
    env, at = _in_list(body, at, (16384, 131071, 1048576), False, 4, "env")
    stdout_credit, at = _in_int(_U32, body, at, 5, "stdout_credit")
    stderr_credit, at = _in_int(_U32, body, at, 6, "stderr_credit")
    user, at = _in_bytes(body, at, 128, False, 7, "user")
    number, at = _in_int(_U8, body, at, 8, "stdin_from")
    stdin_from = _in_closed(StdinKind, number, at - 1, 8, "stdin_from")
    rows, at = _in_int(_U16, body, at, 9, "rows")
    columns, at = _in_int(_U16, body, at, 10, "columns")
    max_processes, at = _in_int(_U32, body, at, 11, "max_processes")
    max_memory, at = _in_int(_U64, body, at, 12, "max_memory")
    _end(body, at)
    return ExecRequest(
        id_,
        command,
        cwd,
        argv,
        env,
        stdout_credit,
        stderr_credit,
        user,
        stdin_from,
        rows,
        columns,
        max_processes,
        max_memory,
    )


def _decode_exec_output(id_: int, body: memoryview) -> ExecOutput:
    number, at = _in_int(_U8, body, 0, 1, "stream")
    stream = _in_closed(Stream, number, at - 1, 1, "stream")
    data = _in_tail(body, at, 65536, 2, "data")
    return ExecOutput(id_, stream, data)


def _decode_exec_response(id_: int, body: memoryview) -> ExecResponse:
    number, at = _in_int(_U8, body, 0, 1, "ending")
    ending = _in_closed(Ending, number, at - 1, 1, "ending")
    status, at = _in_int(_U8, body, at, 2, "status")
    _end(body, at)
    return ExecResponse(id_, ending, status)


def _decode_exec_failed(id_: int, body: memoryview) -> ExecFailed:
    number, at = _in_int(_U8, body, 0, 1, "stage")
    stage = _in_open(Stage, number)
    error_number, at = _in_int(_U32, body, at, 2, "error_number")
    _end(body, at)
    return ExecFailed(id_, stage, error_number)


def _decode_exec_signal(id_: int, body: memoryview) -> ExecSignal:
    signal, at = _in_int(_U8, body, 0, 1, "signal")
    _end(body, at)
    return ExecSignal(id_, signal)


def _decode_exec_kill(id_: int, body: memoryview) -> ExecKill:
    _end(body, 0)
    return ExecKill(id_)


def _decode_exec_terminate(id_: int, body: memoryview) -> ExecTerminate:
    _end(body, 0)
    return ExecTerminate(id_)


def _decode_exec_credit(id_: int, body: memoryview) -> ExecCredit:
    number, at = _in_int(_U8, body, 0, 1, "stream")
    stream = _in_closed(Stream, number, at - 1, 1, "stream")
    amount, at = _in_int(_U32, body, at, 2, "amount")
    _end(body, at)
    return ExecCredit(id_, stream, amount)


def _decode_exec_stdin(id_: int, body: memoryview) -> ExecStdin:
    data = _in_tail(body, 0, 65536, 1, "data")
    return ExecStdin(id_, data)


def _decode_exec_stdin_credit(id_: int, body: memoryview) -> ExecStdinCredit:
    amount, at = _in_int(_U32, body, 0, 1, "amount")
    _end(body, at)
    return ExecStdinCredit(id_, amount)


def _decode_exec_stdin_closed(id_: int, body: memoryview) -> ExecStdinClosed:
    _end(body, 0)
    return ExecStdinClosed(id_)


def _decode_exec_resize(id_: int, body: memoryview) -> ExecResize:
    rows, at = _in_int(_U16, body, 0, 1, "rows")
    columns, at = _in_int(_U16, body, at, 2, "columns")
    _end(body, at)
    return ExecResize(id_, rows, columns)


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a message is from the version `since` on, until another rule has its number."""

    number: int
    since: int
    decode: Callable[[int, memoryview], Message]
    sender: str
    id: str
    max_body: int


_RULES = (
    _Rule(1, 1, _decode_hello, "host", "none", 32),
    _Rule(2, 1, _decode_ready, "guest", "none", 32),
    _Rule(3, 1, _decode_resume, "host", "none", 76),
    _Rule(4, 1, _decode_ping, "host", "none", 8),
    _Rule(5, 1, _decode_pong, "guest", "none", 8),
    _Rule(6, 1, _decode_status_request, "host", "none", 0),
    _Rule(7, 1, _decode_status, "guest", "none", 56),
    _Rule(8, 1, _decode_shutdown, "host", "none", 0),
    _Rule(9, 1, _decode_goodbye, "guest", "none", 1),
    _Rule(10, 1, _decode_error, "guest", "any", 9),
    _Rule(16, 1, _decode_exec_request, "host", "required", 2105517),
    _Rule(17, 1, _decode_exec_output, "guest", "required", 65537),
    _Rule(18, 1, _decode_exec_response, "guest", "required", 2),
    _Rule(19, 1, _decode_exec_failed, "guest", "required", 5),
    _Rule(20, 1, _decode_exec_signal, "host", "required", 1),
    _Rule(21, 1, _decode_exec_kill, "host", "required", 0),
    _Rule(27, 1, _decode_exec_terminate, "host", "required", 0),
    _Rule(22, 1, _decode_exec_credit, "host", "required", 5),
    _Rule(23, 1, _decode_exec_stdin, "host", "required", 65536),
    _Rule(24, 1, _decode_exec_stdin_credit, "guest", "required", 4),
    _Rule(25, 1, _decode_exec_stdin_closed, "guest", "required", 0),
    _Rule(26, 1, _decode_exec_resize, "host", "required", 4),
)


class Decoder:
    """Turns the bytes that one side sends into messages, however they are cut.

    Feed it with :meth:`receive_data`, then take messages with :meth:`next_message` until that
    returns None. It holds at most one frame beyond what it was fed last, and checks a frame's
    length before it keeps any of its body.
    """

    def __init__(self, sender: str, version: int = VERSION) -> None:
        """Decode what `sender` sends, one of END_NAMES, at a version."""
        if sender not in END_NAMES:
            raise ValueError(f"{sender!r} is neither of {END_NAMES}")
        self._sender = sender
        self.version = version
        self._chunk = memoryview(b"")
        self._at = 0
        self._partial = bytearray()
        self._error: DecodeError | None = None

    @property
    def version(self) -> int:
        """The version that both sides agreed on; a new one counts from the next message on."""
        return self._version

    @version.setter
    def version(self, version: int) -> None:
        if not 1 <= version <= VERSION:
            raise ValueError(f"version {version} is not between 1 and {VERSION}")
        self._version = version
        self._rules = {rule.number: rule for rule in _RULES if rule.since <= version}

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes of the stream; messages may refer to `data` without a copy."""
        if self._error is not None:
            return
        if self._at < len(self._chunk):
            data = b"".join((self._chunk[self._at :], data))
        self._chunk = memoryview(data)
        self._at = 0

    def next_message(self) -> Message | None:
        """Return the next whole message, or None when more bytes are needed.

        A tail is a view of the bytes that were fed; everything else is a copy.

        :raises DecodeError: the stream is malformed here; every later call raises it again.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._completed() if self._partial else self._whole()
        except DecodeError as error:
            self._error = error
            self._drop()
            self._partial.clear()
            raise

    def _drop(self) -> None:
        self._chunk = memoryview(b"")
        self._at = 0

    def _whole(self) -> Message | None:
        chunk, start = self._chunk, self._at + HEADER_SIZE
        if start <= len(chunk):
            rule, id_, length = self._header(chunk, self._at)
            end = start + length
            if end <= len(chunk):
                self._at = end
                return rule.decode(id_, chunk[start:end])
        self._partial += chunk[self._at :]
        self._drop()
        return None

    def _completed(self) -> Message | None:
        if not self._fill(HEADER_SIZE):
            return None
        rule, id_, length = self._header(self._partial)
        if not self._fill(HEADER_SIZE + length):
            return None
        frame = memoryview(bytes(self._partial))
        self._partial.clear()
        return rule.decode(id_, frame[HEADER_SIZE:])

    def _fill(self, size: int) -> bool:
        missing = size - len(self._partial)
        if missing > 0:
            piece = self._chunk[self._at : self._at + missing]
            self._partial += piece
            self._at += len(piece)
        return len(self._partial) >= size

    def _header(self, frame: memoryview | bytearray, at: int = 0) -> tuple[_Rule, int, int]:
        length, number, flags, id_ = _HEADER.unpack_from(frame, at)
        rule = self._rules.get(number)
        if rule is None:
            raise DecodeError(Fault.UNKNOWN_TYPE, 4)
        if rule.sender not in (self._sender, "both"):
            raise DecodeError(Fault.BAD_DIRECTION, 4)
        if flags:
            raise DecodeError(Fault.RESERVED_FLAGS, 6)
        if (rule.id == "required" and id_ == 0) or (rule.id == "none" and id_ != 0):
            raise DecodeError(Fault.BAD_ID, 8)
        if length > rule.max_body:
            raise DecodeError(Fault.BODY_TOO_LONG, 0)
        return rule, id_, length
