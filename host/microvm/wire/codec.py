"""Encode and decode messages of the protocol sandboxd, version 4.

Generated from sandboxd.toml by `microvm-proto gen`. This module does no I/O. Runs commands inside a
virtual machine, streams their output, and reports how they ended. The host is the peer that starts
the machine. The guest is `sandboxd`, the first process of the machine.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar, dataclass_transform

VERSION = 4
DIGEST = 0x2957ADF01E17C144
DIGESTS: Mapping[int, int] = {
    1: 0xBAF4A9AF3981CAF5,
    2: 0x928513142A578A32,
    3: 0x10B62806AF5993C0,
    4: DIGEST,
}
HEADER_SIZE = 12
MAX_BODY = 6299831
END_NAMES = ("host", "guest")

PORT_NAME = "microvm.sandboxd.0"
MAGIC = 0xA6D766F7263696D
MAX_COMMANDS = 64


class Fault(enum.IntEnum):
    """The reasons for which a frame is rejected."""

    UNKNOWN_TYPE = 1
    """No message has this type."""
    BAD_DIRECTION = 2
    """Only the other side may send this message."""
    RESERVED_FLAGS = 3
    """The header's flags are not 0."""
    BAD_ID = 4
    """The id is 0 but the message needs one, or not 0 but the message has none."""
    BODY_TOO_LONG = 5
    """The body is longer than this message's maximum."""
    TRUNCATED = 6
    """A field, or the length of a field, extends beyond the body."""
    TOO_LONG = 7
    """A value of variable length is longer than its bound."""
    TOO_MANY = 8
    """A list has more items than its bound."""
    TOTAL_TOO_LONG = 9
    """The items of a list, with their lengths, exceed its total bound."""
    UNKNOWN_VALUE = 10
    """A value is not among those that its field allows."""
    EMBEDDED_NUL = 11
    """A value that must not contain a NUL byte contains one."""
    TRAILING_BYTES = 12
    """The body continues after its last field."""
    NOT_UTF8 = 13
    """Text is not valid UTF-8."""
    NOT_FINITE = 14
    """A float that must be finite is a NaN or an infinity."""
    BAD_CHECK = 15
    """The frame's check is wrong."""
    BAD_STUFFING = 16
    """The bytes between two delimiters are not a stuffed frame."""


class ErrorCode(enum.IntEnum):
    """The reasons for which a frame is refused."""

    UNKNOWN_TYPE = 1
    """No message has this type."""
    BAD_DIRECTION = 2
    """Only the other side may send this message."""
    RESERVED_FLAGS = 3
    """The header's flags are not 0."""
    BAD_ID = 4
    """The id is 0 but the message needs one, or not 0 but the message has none."""
    BODY_TOO_LONG = 5
    """The body is longer than this message's maximum."""
    TRUNCATED = 6
    """A field, or the length of a field, extends beyond the body."""
    TOO_LONG = 7
    """A value of variable length is longer than its bound."""
    TOO_MANY = 8
    """A list has more items than its bound."""
    TOTAL_TOO_LONG = 9
    """The items of a list, with their lengths, exceed its total bound."""
    UNKNOWN_VALUE = 10
    """A value is not among those that its field allows."""
    EMBEDDED_NUL = 11
    """A value that must not contain a NUL byte contains one."""
    TRAILING_BYTES = 12
    """The body continues after its last field."""
    NOT_UTF8 = 13
    """Text is not valid UTF-8."""
    NOT_FINITE = 14
    """A float that must be finite is a NaN or an infinity."""
    BAD_CHECK = 15
    """The frame's check is wrong."""
    BAD_STUFFING = 16
    """The bytes between two delimiters are not a stuffed frame."""
    BUSY = 64
    """The command must not run at the same time as the running commands."""
    UNKNOWN_ID = 65
    """The message is about a command that was never requested: its id is higher than that of
    every `exec_request` so far.
    """
    STALE_ID = 66
    """The id of an `exec_request` is not higher than the ids of all earlier ones."""
    OVER_CREDIT = 67
    """An `exec_stdin` contains more data than the guest has allowed by `exec_stdin_credit`."""


class Stream(enum.IntEnum):
    """The output streams of a command; the numbers are its file descriptors."""

    STDOUT = 1
    """Standard output."""
    STDERR = 2
    """Standard error."""


class Ending(enum.IntEnum):
    """The ways in which a command can end."""

    EXITED = 0
    """The command exited by itself; the status is its exit code."""
    SIGNALLED = 1
    """A signal killed the command; the status is the signal's number."""
    OUT_OF_MEMORY = 2
    """The kernel killed the command and all processes that it had started, because together they
    exceeded `max_memory`.

    The status is the signal's number. A host that speaks version 1 gets `signalled` instead.
    """


class Stage(enum.IntEnum):
    """The steps of a command's start, at each of which it can fail."""

    PIPE = 1
    """Creating the pipes for the command's standard streams."""
    FORK = 2
    """Creating the process."""
    SETUP = 3
    """Giving the process its streams, session and limits."""
    CHDIR = 4
    """Entering the working directory."""
    LOOKUP = 5
    """Looking up the command: no folder of PATH has it."""
    EXEC = 6
    """Executing the command."""
    INTERPRETER = 7
    """Executing the command: its file exists, but the interpreter of that file does not."""
    USER = 8
    """Changing to the user: there is no user of that name."""
    LIMIT = 9
    """Limiting memory or processes."""


class StdinKind(enum.IntEnum):
    """The sources of a command's standard input."""

    NULL = 0
    """`/dev/null`, so that the command has no input."""
    HOST = 1
    """The host, which sends the input in `exec_stdin` messages."""


class GoodbyeReason(enum.IntEnum):
    """The reasons why the guest shuts itself down."""

    SHUTDOWN = 1
    """The host has sent `shutdown`."""
    BROKEN = 2
    """The daemon cannot continue, or its connection to the host has ended."""


class DecodeError(Exception):
    """Raised if a frame is malformed. No further messages can be read from its stream.

    :ivar fault: Reason for which the frame was rejected.
    :ivar offset: Offset of the error in bytes from the start of the frame.
    :ivar field_number: Number of the message's field, counted from 1; 0 for the header.
    :ivar field: Name of the message's field; empty for the header.
    """

    def __init__(self, fault: Fault, offset: int, field_number: int = 0, field: str = "") -> None:
        where = f"{field} " if field else ""
        super().__init__(f"{where}{fault.name.lower()} at offset {offset}")
        self.fault = fault
        self.offset = offset
        self.field_number = field_number
        self.field = field


class EncodeError(ValueError):
    """Raised if a message cannot be encoded because a decoder would reject it.

    :ivar fault: Fault that a decoder would report.
    :ivar field: Name of the invalid field of the message, or `id` or `type` for the header.
    """

    def __init__(self, fault: Fault, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.fault = fault
        self.field = field


_T = TypeVar("_T")


class _Fields:
    # Lists the fields of a class, so that the functions of `dataclasses` work with the class. The
    # list is made on first use, because importing that module takes long.
    def __get__(self, instance: object, kind: Any) -> Any:
        from dataclasses import field, make_dataclass

        later = kind.__new__.__kwdefaults__ or {} if kind.__slots__ else {}
        listed = [
            (
                name,
                kind.__annotations__[name],
                field(default=later[name], kw_only=True) if name in later else field(),
            )
            for name in kind.__slots__
        ]
        made: Any = make_dataclass(kind.__name__, listed)
        kind.__dataclass_fields__ = made.__dataclass_fields__
        return made.__dataclass_fields__


@dataclass_transform(frozen_default=True)
class _Frozen:
    # The base class of immutable classes, which behave like frozen dataclasses. Setting each field
    # with `object.__setattr__` would take most of the time of decoding. So an instance is created
    # from a mutable class with the same slots, and its `__class__` is changed at the end.
    __slots__: ClassVar[tuple[str, ...]] = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    __dataclass_fields__: ClassVar[Any] = _Fields()
    _mutable: ClassVar[Any]

    def __init_subclass__(cls, *, init: bool = True) -> None:
        del init  # it only tells a type checker that the class has a `__new__`
        if "__setattr__" not in vars(cls):
            # Define both methods: if a class has only one of them, each call looks up the other.
            own = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
            cls._mutable = type(cls.__name__, (_Frozen,), {"__slots__": cls.__slots__, **own})

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Frozen) or type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((*self._values().values(),))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self._values().items())
        return f"{type(self).__qualname__}({values})"

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self._values()), ()

    def __replace__(self, **changes: Any) -> Self:
        return type(self)(**{**self._values(), **changes})

    def __setattr__(self, name: str, value: object) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot delete field {name!r}")


_new = object.__new__


class Hello(_Frozen, init=False):
    """Starts a new session on the stream.

    :ivar version: The highest version of this protocol that the sender speaks.
    :ivar digest: The digest of the sender's schema.
    :ivar max_body: The longest body that the sender can receive, in bytes; information only.
    :ivar nonce: A random number, which is a new one for each `hello`.
    """

    TYPE: ClassVar[int] = 1
    MAX_BODY: ClassVar[int] = 32

    __slots__ = __match_args__ = ("version", "digest", "max_body", "nonce")

    version: int
    digest: int
    max_body: int
    nonce: int

    def __new__(_cls, version: int, digest: int, max_body: int, nonce: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.version = version
        _made.digest = digest
        _made.max_body = max_body
        _made.nonce = nonce
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIQIQIQ.pack(
                32, 1, 0, 0, 0xA6D766F7263696D, self.version, self.digest, self.max_body, self.nonce
            )
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_HELLO.write(self, version))


class Ready(_Frozen, init=False):
    """Answers `hello`.

    :ivar version: The highest version of this protocol that the sender speaks.
    :ivar digest: The digest of the sender's schema.
    :ivar max_body: The longest body that the sender can receive, in bytes; information only.
    :ivar nonce: The nonce of the `hello` that this answers.
    """

    TYPE: ClassVar[int] = 2
    MAX_BODY: ClassVar[int] = 32

    __slots__ = __match_args__ = ("version", "digest", "max_body", "nonce")

    version: int
    digest: int
    max_body: int
    nonce: int

    def __new__(_cls, version: int, digest: int, max_body: int, nonce: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.version = version
        _made.digest = digest
        _made.max_body = max_body
        _made.nonce = nonce
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIQIQIQ.pack(
                32, 2, 0, 0, 0xA6D766F7263696D, self.version, self.digest, self.max_body, self.nonce
            )
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_READY.write(self, version))


class Resume(_Frozen, init=False):
    """Gives a machine that was just started or restored the time and random bytes.

    A daemon that is not PID 1, as in tests, ignores the message.

    :ivar realtime_ns: The wall clock, in nanoseconds since 1970-01-01 UTC.
    :ivar entropy: Random bytes for the guest's kernel, which counts all their bits as entropy. At
        most 64 bytes.
    """

    TYPE: ClassVar[int] = 3
    MAX_BODY: ClassVar[int] = 76

    __slots__ = __match_args__ = ("realtime_ns", "entropy")

    realtime_ns: int
    entropy: bytes

    def __new__(_cls, realtime_ns: int, entropy: bytes) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.realtime_ns = realtime_ns
        _made.entropy = entropy
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            parts = (
                _Q.pack(self.realtime_ns),
                _put(self.entropy, 64, True),
            )
            body = b"".join(parts)
            return _HEADER.pack(len(body), 3, 0, 0) + body
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_RESUME.write(self, version))


class Ping(_Frozen, init=False):
    """Asks whether the guest is alive.

    The guest also answers while a command runs.

    :ivar token: Any number.
    """

    TYPE: ClassVar[int] = 4
    MAX_BODY: ClassVar[int] = 8

    __slots__ = __match_args__ = ("token",)

    token: int

    def __new__(_cls, token: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.token = token
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIQ.pack(8, 4, 0, 0, self.token)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_PING.write(self, version))


class Pong(_Frozen, init=False):
    """Answers `ping`.

    :ivar token: The number from the `ping`.
    """

    TYPE: ClassVar[int] = 5
    MAX_BODY: ClassVar[int] = 8

    __slots__ = __match_args__ = ("token",)

    token: int

    def __new__(_cls, token: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.token = token
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIQ.pack(8, 5, 0, 0, self.token)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_PONG.write(self, version))


class StatusRequest(_Frozen):
    """Asks for the daemon's counters."""

    TYPE: ClassVar[int] = 6
    MAX_BODY: ClassVar[int] = 0

    __slots__ = __match_args__ = ()

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _HEADER.pack(0, 6, 0, 0)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_STATUS_REQUEST.write(self, version))


class Status(_Frozen, init=False):
    """Answers `status_request`.

    Times are of CLOCK_MONOTONIC, in nanoseconds since the guest's kernel started.

    :ivar started_ns: The time at which the daemon started.
    :ivar opened_ns: The time at which the daemon had opened its port to the host.
    :ivar now_ns: The time at which the daemon wrote this message.
    :ivar frames_seen: Number of well-formed frames since the daemon started, including the
        `status_request`.
    :ivar frames_refused: Number of frames that the daemon answered with `error`.
    :ivar execs: Number of commands that the daemon has started, without failed starts.
    :ivar bytes_dropped: Number of bytes skipped in search of a `hello`, including those of the
        malformed frame before.
    :ivar descriptors: Number of files that the daemon has open.
    :ivar zombies: 1 if a child process has exited and was not reaped yet, otherwise 0.
    :ivar memory: The resident memory of the daemon, in bytes; 0 if it has no `/proc`.
    """

    TYPE: ClassVar[int] = 7
    MAX_BODY: ClassVar[int] = 69

    __slots__ = __match_args__ = (
        "started_ns",
        "opened_ns",
        "now_ns",
        "frames_seen",
        "frames_refused",
        "execs",
        "bytes_dropped",
        "descriptors",
        "zombies",
        "memory",
    )

    started_ns: int
    opened_ns: int
    now_ns: int
    frames_seen: int
    frames_refused: int
    execs: int
    bytes_dropped: int
    descriptors: int
    zombies: int
    memory: int

    def __new__(
        _cls,
        started_ns: int,
        opened_ns: int,
        now_ns: int,
        frames_seen: int,
        frames_refused: int,
        execs: int,
        bytes_dropped: int,
        descriptors: int,
        zombies: int,
        memory: int,
    ) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.started_ns = started_ns
        _made.opened_ns = opened_ns
        _made.now_ns = now_ns
        _made.frames_seen = frames_seen
        _made.frames_refused = frames_refused
        _made.execs = execs
        _made.bytes_dropped = bytes_dropped
        _made.descriptors = descriptors
        _made.zombies = zombies
        _made.memory = memory
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHI7QIBQ.pack(
                69,
                7,
                0,
                0,
                self.started_ns,
                self.opened_ns,
                self.now_ns,
                self.frames_seen,
                self.frames_refused,
                self.execs,
                self.bytes_dropped,
                self.descriptors,
                self.zombies,
                self.memory,
            )
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_STATUS.write(self, version))


class Shutdown(_Frozen):
    """Shuts the guest down: it kills all commands, sends `goodbye`, and resets the machine."""

    TYPE: ClassVar[int] = 8
    MAX_BODY: ClassVar[int] = 0

    __slots__ = __match_args__ = ()

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _HEADER.pack(0, 8, 0, 0)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_SHUTDOWN.write(self, version))


class Goodbye(_Frozen, init=False):
    """The last frame of a guest that shuts down on purpose.

    :ivar reason: The reason.
    """

    TYPE: ClassVar[int] = 9
    MAX_BODY: ClassVar[int] = 1

    __slots__ = __match_args__ = ("reason",)

    reason: GoodbyeReason | int

    def __new__(_cls, reason: GoodbyeReason | int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.reason = reason
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIB.pack(1, 9, 0, 0, self.reason)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_GOODBYE.write(self, version))


class Error(_Frozen, init=False):
    """Refuses a frame.

    The header's id is that of the refused frame.

    :ivar id: The id in the frame's header.
    :ivar code: The reason.
    :ivar refused_type: The type in the refused frame's header.
    :ivar offset: The position of the fault, in bytes from the start of the frame; 0 for codes from
        64 on.
    :ivar field: The number of the faulty field, from 1; 0 for the header, for `trailing_bytes`, and
        for codes from 64 on.
    """

    TYPE: ClassVar[int] = 10
    MAX_BODY: ClassVar[int] = 9

    __slots__ = __match_args__ = ("id", "code", "refused_type", "offset", "field")

    id: int
    code: ErrorCode | int
    refused_type: int
    offset: int
    field: int

    def __new__(
        _cls, id: int, code: ErrorCode | int, refused_type: int, offset: int, field: int
    ) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.code = code
        _made.refused_type = refused_type
        _made.offset = offset
        _made.field = field
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIHHIB.pack(
                9, 10, 0, self.id, self.code, self.refused_type, self.offset, self.field
            )
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_ERROR.write(self, version))


class Keep(_Frozen):
    """Freezes all processes, and the next `hello` does not kill them.

    Refused as `busy` while a command runs.
    """

    TYPE: ClassVar[int] = 11
    MAX_BODY: ClassVar[int] = 0

    __slots__ = __match_args__ = ()

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        if version < 2:
            return b"".join(_LAYOUT_KEEP.write(self, version))
        try:
            return _HEADER.pack(0, 11, 0, 0)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_KEEP.write(self, version))


class ExecRequest(_Frozen, init=False):
    """Runs a command.

    :ivar id: The id in the frame's header.
    :ivar command: The file to execute. Without a slash, it is looked up in PATH. At most 4096
        bytes, without NUL.
    :ivar cwd: The working directory. When it is empty, it is the user's home, or `/` if the home
        cannot be entered. At most 4096 bytes, without NUL.
    :ivar argv: The arguments, as for `execve`: the first is the program's own name. At most 16384
        items of at most 131071 bytes, without NUL. At most 1048576 bytes in all, including 4 bytes
        for each item.
    :ivar env: The environment variables, as `KEY=VALUE`. The guest adds defaults, such as PATH, for
        those that are missing. At most 16384 items of at most 131071 bytes, without NUL. At most
        1048576 bytes in all, including 4 bytes for each item.
    :ivar stdout_credit: Number of bytes of standard output that the guest may send before the first
        `exec_credit`.
    :ivar stderr_credit: Number of bytes of standard error that the guest may send before the first
        `exec_credit`.
    :ivar user: The user to run as: `NAME`, `UID`, or either with `:GROUP`. If it is empty, the
        daemon's own user, which is root in a machine. At most 128 bytes, without NUL.
    :ivar stdin_from: The source of standard input. The source for a terminal is always the host.
    :ivar rows: Number of lines of the command's terminal; 0: the command has no terminal.
    :ivar columns: Number of columns of the terminal.
    :ivar max_processes: Maximum number of processes and threads of the command at a time, if the
        guest has cgroups; 0: as many as the kernel allows.
    :ivar max_memory: Maximum number of bytes of memory that the command's processes may use
        together, if the guest has cgroups; 0: no limit.
    :ivar more_argv: The arguments after those in `argv`, for which `argv` has no room. At most
        262144 items of at most 131071 bytes, without NUL. At most 2097152 bytes in all, including 4
        bytes for each item. Since version 2.
    :ivar more_env: The entries after those in `env`, for which `env` has no room. At most 262144
        items of at most 131071 bytes, without NUL. At most 2097152 bytes in all, including 4 bytes
        for each item. Since version 2.
    :ivar beside: True if the command may run at the same time as other commands whose `beside` is
        true; false if it may only run alone. Since version 4.
    :ivar joined: True if standard error is the same pipe as standard output, so that the output of
        both arrives in order, as standard output. Since version 4.
    """

    TYPE: ClassVar[int] = 16
    MAX_BODY: ClassVar[int] = 6299831

    __match_args__ = (
        "id",
        "command",
        "cwd",
        "argv",
        "env",
        "stdout_credit",
        "stderr_credit",
        "user",
        "stdin_from",
        "rows",
        "columns",
        "max_processes",
        "max_memory",
    )
    __slots__ = (*__match_args__, "more_argv", "more_env", "beside", "joined")

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
    more_argv: tuple[bytes, ...]
    more_env: tuple[bytes, ...]
    beside: bool
    joined: bool

    def __new__(
        _cls,
        id: int,
        command: bytes,
        cwd: bytes,
        argv: tuple[bytes, ...],
        env: tuple[bytes, ...],
        stdout_credit: int,
        stderr_credit: int,
        user: bytes,
        stdin_from: StdinKind,
        rows: int,
        columns: int,
        max_processes: int,
        max_memory: int,
        *,
        more_argv: tuple[bytes, ...] = (),
        more_env: tuple[bytes, ...] = (),
        beside: bool = False,
        joined: bool = False,
    ) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.command = command
        _made.cwd = cwd
        _made.argv = argv
        _made.env = env
        _made.stdout_credit = stdout_credit
        _made.stderr_credit = stderr_credit
        _made.user = user
        _made.stdin_from = stdin_from
        _made.rows = rows
        _made.columns = columns
        _made.max_processes = max_processes
        _made.max_memory = max_memory
        _made.more_argv = more_argv
        _made.more_env = more_env
        _made.beside = beside
        _made.joined = joined
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        if version < 4:
            return b"".join(_LAYOUT_EXEC_REQUEST.write(self, version))
        try:
            parts = (
                _put(self.command, 4096, False),
                _put(self.cwd, 4096, False),
                _put_list(self.argv, 65540, False),
                _put_list(self.env, 65540, False),
                _II.pack(self.stdout_credit, self.stderr_credit),
                _put(self.user, 128, False),
                _BHHIQ.pack(
                    _AS_STDIN_KIND[self.stdin_from],
                    self.rows,
                    self.columns,
                    self.max_processes,
                    self.max_memory,
                ),
                _put_list(self.more_argv, 65540, False),
                _put_list(self.more_env, 65540, False),
                _BB.pack(_AS_BOOL[self.beside], _AS_BOOL[self.joined]),
            )
            body = b"".join(parts)
            return _HEADER.pack(len(body), 16, 0, self.id or None) + body
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_EXEC_REQUEST.write(self, version))


class ExecOutput(_Frozen, init=False):
    """Output of the command.

    :ivar id: The id in the frame's header.
    :ivar stream: The stream that the command wrote to.
    :ivar data: The bytes, at least one. At most 65536 bytes.
    """

    TYPE: ClassVar[int] = 17
    MAX_BODY: ClassVar[int] = 65537

    __slots__ = __match_args__ = ("id", "stream", "data")

    id: int
    stream: Stream
    data: bytes | memoryview

    def __new__(_cls, id: int, stream: Stream, data: bytes | memoryview) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.stream = stream
        _made.data = data
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        return b"".join(self.encode_parts(version))

    def encode_parts(self, version: int = VERSION) -> tuple[bytes, bytes | memoryview]:
        """Encode the frame as two parts. The second part is `data` itself, not a copy.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            tail = _put_tail(self.data, 65536)
            head = _IHHIB.pack(1 + len(tail), 17, 0, self.id or None, _AS_STREAM[self.stream])
            return head, tail
        except _FALLBACK_ON:
            return _LAYOUT_EXEC_OUTPUT.write(self, version)


class ExecResponse(_Frozen, init=False):
    """The command has ended, and all of its output has been sent.

    :ivar id: The id in the frame's header.
    :ivar ending: The way in which the command ended.
    :ivar status: The exit code or the number of the signal, depending on `ending`.
    :ivar memory: The peak memory use of the command and all processes that it started, in bytes; 0
        if it is not known. Since version 3.
    """

    TYPE: ClassVar[int] = 18
    MAX_BODY: ClassVar[int] = 10

    __match_args__ = ("id", "ending", "status")
    __slots__ = (*__match_args__, "memory")

    id: int
    ending: Ending
    status: int
    memory: int

    def __new__(_cls, id: int, ending: Ending, status: int, *, memory: int = 0) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.ending = ending
        _made.status = status
        _made.memory = memory
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        if version < 3:
            return b"".join(_LAYOUT_EXEC_RESPONSE.write(self, version))
        try:
            return _IHHIBBQ.pack(
                10, 18, 0, self.id or None, _AS_ENDING[self.ending], self.status, self.memory
            )
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_EXEC_RESPONSE.write(self, version))


class ExecFailed(_Frozen, init=False):
    """The command could not be started.

    :ivar id: The id in the frame's header.
    :ivar stage: The step that failed.
    :ivar error_number: The `errno` of the failure, as Linux numbers it.
    :ivar missing: For the stage `interpreter`, the first bytes of the path of the missing
        interpreter, which the host cannot know; otherwise empty. At most 96 bytes. Since version 2.
    """

    TYPE: ClassVar[int] = 19
    MAX_BODY: ClassVar[int] = 105

    __match_args__ = ("id", "stage", "error_number")
    __slots__ = (*__match_args__, "missing")

    id: int
    stage: Stage | int
    error_number: int
    missing: bytes

    def __new__(
        _cls, id: int, stage: Stage | int, error_number: int, *, missing: bytes = b""
    ) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.stage = stage
        _made.error_number = error_number
        _made.missing = missing
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        if version < 2:
            return b"".join(_LAYOUT_EXEC_FAILED.write(self, version))
        try:
            parts = (
                _BI.pack(self.stage, self.error_number),
                _put(self.missing, 96, True),
            )
            body = b"".join(parts)
            return _HEADER.pack(len(body), 19, 0, self.id or None) + body
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_EXEC_FAILED.write(self, version))


class ExecSignal(_Frozen, init=False):
    """Sends a signal to the command's process group.

    :ivar id: The id in the frame's header.
    :ivar signal: The number of the signal. 0 and numbers that the guest's kernel does not have are
        ignored.
    """

    TYPE: ClassVar[int] = 20
    MAX_BODY: ClassVar[int] = 1

    __slots__ = __match_args__ = ("id", "signal")

    id: int
    signal: int

    def __new__(_cls, id: int, signal: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.signal = signal
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIB.pack(1, 20, 0, self.id or None, self.signal)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_EXEC_SIGNAL.write(self, version))


class ExecKill(_Frozen, init=False):
    """Kills the command and all processes that it has started.

    The guest then sends the response, even if the host does not allow it to send the rest of the
    output.

    :ivar id: The id in the frame's header.
    """

    TYPE: ClassVar[int] = 21
    MAX_BODY: ClassVar[int] = 0

    __slots__ = __match_args__ = ("id",)

    id: int

    def __new__(_cls, id: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _HEADER.pack(0, 21, 0, self.id or None)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_EXEC_KILL.write(self, version))


class ExecTerminate(_Frozen, init=False):
    """Asks the command to exit, by SIGTERM.

    When it has exited, the guest kills all processes that it leaves behind.

    :ivar id: The id in the frame's header.
    """

    TYPE: ClassVar[int] = 27
    MAX_BODY: ClassVar[int] = 0

    __slots__ = __match_args__ = ("id",)

    id: int

    def __new__(_cls, id: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _HEADER.pack(0, 27, 0, self.id or None)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_EXEC_TERMINATE.write(self, version))


class ExecCredit(_Frozen, init=False):
    """Allows the guest to send more output of the command.

    :ivar id: The id in the frame's header.
    :ivar stream: The output stream of which the guest may send more.
    :ivar amount: Number of bytes that the guest may send in addition. The total number that it may
        send is limited to 4294967295.
    """

    TYPE: ClassVar[int] = 22
    MAX_BODY: ClassVar[int] = 5

    __slots__ = __match_args__ = ("id", "stream", "amount")

    id: int
    stream: Stream
    amount: int

    def __new__(_cls, id: int, stream: Stream, amount: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.stream = stream
        _made.amount = amount
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIBI.pack(5, 22, 0, self.id or None, _AS_STREAM[self.stream], self.amount)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_EXEC_CREDIT.write(self, version))


class ExecStdin(_Frozen, init=False):
    """Bytes for the standard input of the command.

    An empty message is the end of file.

    :ivar id: The id in the frame's header.
    :ivar data: The bytes. At most 65536 bytes.
    """

    TYPE: ClassVar[int] = 23
    MAX_BODY: ClassVar[int] = 65536

    __slots__ = __match_args__ = ("id", "data")

    id: int
    data: bytes | memoryview

    def __new__(_cls, id: int, data: bytes | memoryview) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.data = data
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        return b"".join(self.encode_parts(version))

    def encode_parts(self, version: int = VERSION) -> tuple[bytes, bytes | memoryview]:
        """Encode the frame as two parts. The second part is `data` itself, not a copy.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            tail = _put_tail(self.data, 65536)
            head = _HEADER.pack(len(tail), 23, 0, self.id or None)
            return head, tail
        except _FALLBACK_ON:
            return _LAYOUT_EXEC_STDIN.write(self, version)


class ExecStdinCredit(_Frozen, init=False):
    """Allows the host to send more standard input for the command.

    :ivar id: The id in the frame's header.
    :ivar amount: Number of bytes that the host may send in addition, at least one.
    """

    TYPE: ClassVar[int] = 24
    MAX_BODY: ClassVar[int] = 4

    __slots__ = __match_args__ = ("id", "amount")

    id: int
    amount: int

    def __new__(_cls, id: int, amount: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.amount = amount
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHII.pack(4, 24, 0, self.id or None, self.amount)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_EXEC_STDIN_CREDIT.write(self, version))


class ExecStdinClosed(_Frozen, init=False):
    """The command has closed its standard input.

    The guest drops any more input.

    :ivar id: The id in the frame's header.
    """

    TYPE: ClassVar[int] = 25
    MAX_BODY: ClassVar[int] = 0

    __slots__ = __match_args__ = ("id",)

    id: int

    def __new__(_cls, id: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _HEADER.pack(0, 25, 0, self.id or None)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_EXEC_STDIN_CLOSED.write(self, version))


class ExecResize(_Frozen, init=False):
    """Changes the size of the command's terminal.

    :ivar id: The id in the frame's header.
    :ivar rows: Number of lines.
    :ivar columns: Number of columns.
    """

    TYPE: ClassVar[int] = 26
    MAX_BODY: ClassVar[int] = 4

    __slots__ = __match_args__ = ("id", "rows", "columns")

    id: int
    rows: int
    columns: int

    def __new__(_cls, id: int, rows: int, columns: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.rows = rows
        _made.columns = columns
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIHH.pack(4, 26, 0, self.id or None, self.rows, self.columns)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_EXEC_RESIZE.write(self, version))


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
    | Keep
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


# Each layout is named after its format in `struct`; IHHI is the header.
_HEADER = struct.Struct("<IHHI")
_B = struct.Struct("<B")
_H = struct.Struct("<H")
_I = struct.Struct("<I")
_Q = struct.Struct("<Q")
_BB = struct.Struct("<BB")
_BI = struct.Struct("<BI")
_HH = struct.Struct("<HH")
_II = struct.Struct("<II")
_BBQ = struct.Struct("<BBQ")
_HHIB = struct.Struct("<HHIB")
_7QIBQ = struct.Struct("<7QIBQ")
_BHHIQ = struct.Struct("<BHHIQ")
_IHHIB = struct.Struct("<IHHIB")
_IHHII = struct.Struct("<IHHII")
_IHHIQ = struct.Struct("<IHHIQ")
_QIQIQ = struct.Struct("<QIQIQ")
_IHHIBI = struct.Struct("<IHHIBI")
_IHHIHH = struct.Struct("<IHHIHH")
_IHHIBBQ = struct.Struct("<IHHIBBQ")
_IHHIHHIB = struct.Struct("<IHHIHHIB")
_IHHI7QIBQ = struct.Struct("<IHHI7QIBQ")
_IHHIQIQIQ = struct.Struct("<IHHIQIQIQ")
_AS_GOODBYE_REASON = {int(value): value for value in GoodbyeReason}
_AS_ERROR_CODE = {int(value): value for value in ErrorCode}
_AS_STDIN_KIND = {int(value): value for value in StdinKind}
_AS_BOOL = {0: False, 1: True}
_AS_STREAM = {int(value): value for value in Stream}
_AS_ENDING = {int(value): value for value in Ending}
_AS_STAGE = {int(value): value for value in Stage}


# The encodings of frequent lengths. Looking up a length is faster than packing it.
_LENGTHS = tuple(_I.pack(length) for length in range(1024))


class _Fallback(Exception):
    pass


# The fast code of a message handles only valid input. If it raises one of these exceptions, the
# `_Layout` of the message, which checks every rule, encodes or decodes the message again.
_FALLBACK_ON = (_Fallback, struct.error, LookupError)


def _put(value: bytes, maximum: int, nul: bool) -> bytes:
    if len(value) > maximum or (not nul and 0 in value):
        raise _Fallback
    return _LENGTHS[len(value)] + value


def _put_list(items: tuple[bytes, ...], safe_size: int, nul: bool) -> bytes:
    # A list whose encoding has at most `safe_size` bytes is within all bounds of its type.
    parts = [_LENGTHS[len(items)]]
    for item in items:
        parts.append(_LENGTHS[len(item)])
        parts.append(item)
    packed = b"".join(parts)
    if len(packed) > safe_size or (not nul and 0 in b"".join(items)):
        raise _Fallback
    return packed


def _put_tail(value: bytes | memoryview, maximum: int) -> bytes | memoryview:
    if isinstance(value, memoryview):
        value = value.cast("B")
    if len(value) > maximum:
        raise _Fallback
    return value


def _take(frame: bytes, at: int, maximum: int, nul: bool) -> tuple[bytes, int]:
    (size,) = _I.unpack_from(frame, at)
    if size > maximum:
        raise _Fallback
    end = at + 4 + size
    value = frame[at + 4 : end]
    if not nul and 0 in value:
        raise _Fallback
    return value, end


def _take_list(frame: bytes, at: int, safe_size: int, nul: bool) -> tuple[tuple[bytes, ...], int]:
    (count,) = _I.unpack_from(frame, at)
    last = at + safe_size
    at += 4
    if at + 4 * count > last:
        raise _Fallback
    items = []
    for _ in range(count):
        (size,) = _I.unpack_from(frame, at)
        at += 4 + size
        if at > last:
            raise _Fallback
        items.append(frame[at - size : at])
    if not nul and 0 in b"".join(items):
        raise _Fallback
    return tuple(items), at


def _decode_hello(id_: int, frame: bytes, start: int, end: int) -> Hello:
    try:
        magic, version, digest, max_body, nonce = _QIQIQ.unpack(frame[start:end])
        if magic != 0xA6D766F7263696D:
            raise _Fallback
        return Hello.__new__(Hello, version, digest, max_body, nonce)
    except _FALLBACK_ON:
        return _LAYOUT_HELLO.read(id_, frame, start, end)


def _decode_ready(id_: int, frame: bytes, start: int, end: int) -> Ready:
    try:
        magic, version, digest, max_body, nonce = _QIQIQ.unpack(frame[start:end])
        if magic != 0xA6D766F7263696D:
            raise _Fallback
        return Ready.__new__(Ready, version, digest, max_body, nonce)
    except _FALLBACK_ON:
        return _LAYOUT_READY.read(id_, frame, start, end)


def _decode_resume(id_: int, frame: bytes, start: int, end: int) -> Resume:
    try:
        (realtime_ns,) = _Q.unpack_from(frame, start)
        entropy, at = _take(frame, start + 8, 64, True)
        if at != end:
            raise _Fallback
        return Resume.__new__(Resume, realtime_ns, entropy)
    except _FALLBACK_ON:
        return _LAYOUT_RESUME.read(id_, frame, start, end)


def _decode_ping(id_: int, frame: bytes, start: int, end: int) -> Ping:
    try:
        (token,) = _Q.unpack(frame[start:end])
        return Ping.__new__(Ping, token)
    except _FALLBACK_ON:
        return _LAYOUT_PING.read(id_, frame, start, end)


def _decode_pong(id_: int, frame: bytes, start: int, end: int) -> Pong:
    try:
        (token,) = _Q.unpack(frame[start:end])
        return Pong.__new__(Pong, token)
    except _FALLBACK_ON:
        return _LAYOUT_PONG.read(id_, frame, start, end)


def _decode_status_request(id_: int, frame: bytes, start: int, end: int) -> StatusRequest:
    del id_, frame, start, end
    return StatusRequest()


def _decode_status(id_: int, frame: bytes, start: int, end: int) -> Status:
    try:
        (
            started_ns,
            opened_ns,
            now_ns,
            frames_seen,
            frames_refused,
            execs,
            bytes_dropped,
            descriptors,
            zombies,
            memory,
        ) = _7QIBQ.unpack(frame[start:end])
        return Status.__new__(
            Status,
            started_ns,
            opened_ns,
            now_ns,
            frames_seen,
            frames_refused,
            execs,
            bytes_dropped,
            descriptors,
            zombies,
            memory,
        )
    except _FALLBACK_ON:
        return _LAYOUT_STATUS.read(id_, frame, start, end)


def _decode_shutdown(id_: int, frame: bytes, start: int, end: int) -> Shutdown:
    del id_, frame, start, end
    return Shutdown()


def _decode_goodbye(id_: int, frame: bytes, start: int, end: int) -> Goodbye:
    try:
        (reason,) = _B.unpack(frame[start:end])
        return Goodbye.__new__(Goodbye, _AS_GOODBYE_REASON.get(reason, reason))
    except _FALLBACK_ON:
        return _LAYOUT_GOODBYE.read(id_, frame, start, end)


def _decode_error(id_: int, frame: bytes, start: int, end: int) -> Error:
    try:
        code, refused_type, offset, field = _HHIB.unpack(frame[start:end])
        return Error.__new__(
            Error, id_, _AS_ERROR_CODE.get(code, code), refused_type, offset, field
        )
    except _FALLBACK_ON:
        return _LAYOUT_ERROR.read(id_, frame, start, end)


def _decode_keep(id_: int, frame: bytes, start: int, end: int) -> Keep:
    del id_, frame, start, end
    return Keep()


def _decode_exec_request(id_: int, frame: bytes, start: int, end: int) -> ExecRequest:
    try:
        command, at = _take(frame, start, 4096, False)
        cwd, at = _take(frame, at, 4096, False)
        argv, at = _take_list(frame, at, 65540, False)
        env, at = _take_list(frame, at, 65540, False)
        stdout_credit, stderr_credit = _II.unpack_from(frame, at)
        user, at = _take(frame, at + 8, 128, False)
        stdin_from, rows, columns, max_processes, max_memory = _BHHIQ.unpack_from(frame, at)
        more_argv, at = _take_list(frame, at + 17, 65540, False)
        more_env, at = _take_list(frame, at, 65540, False)
        beside, joined = _BB.unpack(frame[at:end])
        return ExecRequest.__new__(
            ExecRequest,
            id_,
            command,
            cwd,
            argv,
            env,
            stdout_credit,
            stderr_credit,
            user,
            _AS_STDIN_KIND[stdin_from],
            rows,
            columns,
            max_processes,
            max_memory,
            more_argv=more_argv,
            more_env=more_env,
            beside=_AS_BOOL[beside],
            joined=_AS_BOOL[joined],
        )
    except _FALLBACK_ON:
        return _LAYOUT_EXEC_REQUEST.read(id_, frame, start, end)


def _decode_exec_output(id_: int, frame: bytes, start: int, end: int) -> ExecOutput:
    try:
        stream = frame[start]
        if end < start + 1:
            raise _Fallback
        data = memoryview(frame)[start + 1 : end]
        return ExecOutput.__new__(ExecOutput, id_, _AS_STREAM[stream], data)
    except _FALLBACK_ON:
        return _LAYOUT_EXEC_OUTPUT.read(id_, frame, start, end)


def _decode_exec_response(id_: int, frame: bytes, start: int, end: int) -> ExecResponse:
    try:
        ending, status, memory = _BBQ.unpack(frame[start:end])
        return ExecResponse.__new__(ExecResponse, id_, _AS_ENDING[ending], status, memory=memory)
    except _FALLBACK_ON:
        return _LAYOUT_EXEC_RESPONSE.read(id_, frame, start, end)


def _decode_exec_failed(id_: int, frame: bytes, start: int, end: int) -> ExecFailed:
    try:
        stage, error_number = _BI.unpack_from(frame, start)
        missing, at = _take(frame, start + 5, 96, True)
        if at != end:
            raise _Fallback
        return ExecFailed.__new__(
            ExecFailed, id_, _AS_STAGE.get(stage, stage), error_number, missing=missing
        )
    except _FALLBACK_ON:
        return _LAYOUT_EXEC_FAILED.read(id_, frame, start, end)


def _decode_exec_signal(id_: int, frame: bytes, start: int, end: int) -> ExecSignal:
    try:
        (signal,) = _B.unpack(frame[start:end])
        return ExecSignal.__new__(ExecSignal, id_, signal)
    except _FALLBACK_ON:
        return _LAYOUT_EXEC_SIGNAL.read(id_, frame, start, end)


def _decode_exec_kill(id_: int, frame: bytes, start: int, end: int) -> ExecKill:
    del frame, start, end
    return ExecKill(id_)


def _decode_exec_terminate(id_: int, frame: bytes, start: int, end: int) -> ExecTerminate:
    del frame, start, end
    return ExecTerminate(id_)


def _decode_exec_credit(id_: int, frame: bytes, start: int, end: int) -> ExecCredit:
    try:
        stream, amount = _BI.unpack(frame[start:end])
        return ExecCredit.__new__(ExecCredit, id_, _AS_STREAM[stream], amount)
    except _FALLBACK_ON:
        return _LAYOUT_EXEC_CREDIT.read(id_, frame, start, end)


def _decode_exec_stdin(id_: int, frame: bytes, start: int, end: int) -> ExecStdin:
    try:
        data = memoryview(frame)[start:end]
        return ExecStdin.__new__(ExecStdin, id_, data)
    except _FALLBACK_ON:
        return _LAYOUT_EXEC_STDIN.read(id_, frame, start, end)


def _decode_exec_stdin_credit(id_: int, frame: bytes, start: int, end: int) -> ExecStdinCredit:
    try:
        (amount,) = _I.unpack(frame[start:end])
        return ExecStdinCredit.__new__(ExecStdinCredit, id_, amount)
    except _FALLBACK_ON:
        return _LAYOUT_EXEC_STDIN_CREDIT.read(id_, frame, start, end)


def _decode_exec_stdin_closed(id_: int, frame: bytes, start: int, end: int) -> ExecStdinClosed:
    del frame, start, end
    return ExecStdinClosed(id_)


def _decode_exec_resize(id_: int, frame: bytes, start: int, end: int) -> ExecResize:
    try:
        rows, columns = _HH.unpack(frame[start:end])
        return ExecResize.__new__(ExecResize, id_, rows, columns)
    except _FALLBACK_ON:
        return _LAYOUT_EXEC_RESIZE.read(id_, frame, start, end)


class _Wrong(Exception):
    # Raised for an invalid value. A decoder sets `at` to the offset of the value in the body. An
    # encoder sets `reason` to a text that says why the value is invalid.
    def __init__(self, fault: Fault, at: int = 0, reason: str = "") -> None:
        super().__init__(reason)
        self.fault = fault
        self.at = at
        self.reason = reason


class _Kind:
    # The base class of types. It decodes and encodes values in the body of a message.
    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        raise NotImplementedError

    def write(self, value: Any, version: int) -> bytes | memoryview:
        raise NotImplementedError


class _Number(_Kind):
    def __init__(self, layout: struct.Struct) -> None:
        self.layout = layout

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        try:
            return self.layout.unpack_from(body, at)[0], at + self.layout.size
        except struct.error:
            raise _Wrong(Fault.TRUNCATED, at) from None

    def write(self, value: Any, version: int) -> bytes:
        try:
            return self.layout.pack(value)
        except (struct.error, OverflowError) as error:
            raise _Wrong(Fault.UNKNOWN_VALUE, reason=f"{value}: {error}") from None


class _Constant(_Number):
    def __init__(self, layout: struct.Struct, value: int) -> None:
        super().__init__(layout)
        self.value = value

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        value, end = super().read(body, at, version)
        if value != self.value:
            raise _Wrong(Fault.UNKNOWN_VALUE, at)
        return value, end

    def write(self, value: Any, version: int) -> bytes:
        return self.layout.pack(self.value)


class _Open(_Number):
    # An open enum. `names` maps numbers to the values of the enum; other numbers stay an `int`.
    def __init__(self, layout: struct.Struct, names: Mapping[int, Any]) -> None:
        super().__init__(layout)
        self.names = names

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        value, end = super().read(body, at, version)
        return self.names.get(value, value), end


class _Closed(_Number):
    # A closed enum or `bool`: only the numbers in `names` are valid. The keys of `sinces` are the
    # numbers that later versions of the protocol added, and its values are these versions.
    def __init__(
        self,
        layout: struct.Struct,
        names: Mapping[int, Any],
        sinces: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__(layout)
        self.names = names
        self.sinces = sinces or {}

    def since(self, number: int) -> int:
        return self.sinces.get(number, 1)

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        number, end = super().read(body, at, version)
        try:
            value = self.names[number]
        except KeyError:
            raise _Wrong(Fault.UNKNOWN_VALUE, at) from None
        if self.since(number) > version:
            raise _Wrong(Fault.UNKNOWN_VALUE, at)
        return value, end

    def write(self, value: Any, version: int) -> bytes:
        if (since := self.since(value)) > version:
            raise _Wrong(Fault.UNKNOWN_VALUE, reason=f"{value} was added in version {since}")
        try:
            return self.layout.pack(self.names[value])
        except KeyError:
            raise _Wrong(Fault.UNKNOWN_VALUE, reason=f"{value} is not a known value") from None


def _prefix(body: memoryview, at: int) -> tuple[int, int]:
    try:
        return _I.unpack_from(body, at)[0], at + 4
    except struct.error:
        raise _Wrong(Fault.TRUNCATED, at) from None


def _check_size(size: int, maximum: int) -> None:
    if size > maximum:
        reason = f"{size} bytes, but at most {maximum} are allowed"
        raise _Wrong(Fault.TOO_LONG, reason=reason)


class _Bytes(_Kind):
    def __init__(self, maximum: int, *, nul: bool) -> None:
        self.maximum = maximum
        self.nul = nul

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        size, start = _prefix(body, at)
        if size > self.maximum:
            raise _Wrong(Fault.TOO_LONG, at)
        end = start + size
        if end > len(body):
            raise _Wrong(Fault.TRUNCATED, start)
        value = body[start:end].tobytes()
        if not self.nul and 0 in value:
            raise _Wrong(Fault.EMBEDDED_NUL, start + value.index(0))
        return value, end

    def write(self, value: Any, version: int) -> bytes:
        _check_size(len(value), self.maximum)
        if not self.nul and 0 in value:
            raise _Wrong(Fault.EMBEDDED_NUL, reason="contains a NUL byte")
        return b"".join((_I.pack(len(value)), value))


class _List(_Kind):
    # A list. `total` is the maximum number of bytes of all its items together, or None.
    def __init__(self, element: _Kind, items: int, total: int | None = None) -> None:
        self.element = element
        self.items = items
        self.total = total

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        count, start = _prefix(body, at)
        if count > self.items:
            raise _Wrong(Fault.TOO_MANY, at)
        items = []
        at = start
        for _ in range(count):
            item, end = self.element.read(body, at, version)
            if self.total is not None and end - start > self.total:
                raise _Wrong(Fault.TOTAL_TOO_LONG, at)
            items.append(item)
            at = end
        return tuple(items), at

    def write(self, value: Any, version: int) -> bytes:
        if len(value) > self.items:
            reason = f"{len(value)} items, but at most {self.items} are allowed"
            raise _Wrong(Fault.TOO_MANY, reason=reason)
        parts: list[bytes | memoryview] = [_I.pack(len(value))]
        total = 0
        for item in value:
            parts.append(self.element.write(item, version))
            total += len(parts[-1])
            if self.total is not None and total > self.total:
                reason = f"{total} bytes or more in all, but at most {self.total} are allowed"
                raise _Wrong(Fault.TOTAL_TOO_LONG, reason=reason)
        return b"".join(parts)


class _Tail(_Kind):
    def __init__(self, maximum: int) -> None:
        self.maximum = maximum

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        if len(body) - at > self.maximum:
            raise _Wrong(Fault.TOO_LONG, at)
        return body[at:], len(body)

    def write(self, value: Any, version: int) -> bytes | memoryview:
        flat: bytes | memoryview = value.cast("B") if isinstance(value, memoryview) else value
        _check_size(len(flat), self.maximum)
        return flat


class _Field:
    def __init__(
        self,
        number: int,
        name: str,
        kind: _Kind,
        *,
        since: int = 1,
        default: object = None,
        attribute: str = "",
    ) -> None:
        self.number = number
        self.name = name
        self.kind = kind
        self.since = since
        self.default = default
        self.attribute = attribute or name

    def is_default(self, value: object) -> bool:
        try:
            return self.kind.write(value, VERSION) == self.kind.write(self.default, VERSION)
        except _Wrong:
            return False


_NO_ID, _SOME_ID, _ANY_ID = range(1), range(1, 1 << 32), range(1 << 32)


class _Layout(Generic[_T]):
    # Decodes and encodes a message of any version, field by field, and checks every rule.
    def __init__(
        self, kind: Callable[..., _T], name: str, ids: range, *fields: _Field, since: int = 1
    ) -> None:
        self.kind = kind
        self.name = name
        self.ids = ids
        self.fields = fields
        self.since = since

    def read(self, id_: int, frame: bytes, start: int, end: int, version: int = VERSION) -> _T:
        body = memoryview(frame)[start:end]
        values: dict[str, Any] = {} if self.ids is _NO_ID else {"id": id_}
        at = 0
        for field in self.fields:
            value = field.default
            if field.since <= version:
                try:
                    value, at = field.kind.read(body, at, version)
                except _Wrong as wrong:
                    where = HEADER_SIZE + wrong.at
                    raise DecodeError(wrong.fault, where, field.number, field.name) from None
            if not isinstance(field.kind, _Constant):
                values[field.attribute] = value
        if at != len(body):
            raise DecodeError(Fault.TRAILING_BYTES, HEADER_SIZE + at)
        return self.kind(**values)

    def write(self, message: Any, version: int) -> tuple[bytes, bytes | memoryview]:
        if version < self.since:
            reason = f"{self.name} was added in version {self.since}"
            raise EncodeError(Fault.UNKNOWN_TYPE, "type", reason)
        id_ = 0 if self.ids is _NO_ID else message.id
        if id_ not in self.ids:
            reason = f"{id_} is not between {self.ids.start} and 2^32 - 1"
            raise EncodeError(Fault.BAD_ID, "id", reason)
        parts: list[bytes | memoryview] = []
        tail: bytes | memoryview = b""
        for field in self.fields:
            value = getattr(message, field.attribute, None)
            if field.since <= version:
                parts.append(tail)
                try:
                    tail = field.kind.write(value, version)
                except _Wrong as wrong:
                    raise EncodeError(wrong.fault, field.name, wrong.reason) from None
            elif not field.is_default(value):
                only = f"in older versions it can only be {field.default!r}"
                reason = f"it was added in version {field.since}; {only}"
                raise EncodeError(Fault.TRAILING_BYTES, field.name, reason)
        body = b"".join(parts)
        return _HEADER.pack(len(body) + len(tail), message.TYPE, 0, id_) + body, tail


_SINCE_ENDING: Mapping[int, int] = {
    2: 2,
}


_LAYOUT_HELLO = _Layout(
    Hello,
    "hello",
    _NO_ID,
    _Field(1, "magic", _Constant(_Q, 0xA6D766F7263696D)),
    _Field(2, "version", _Number(_I)),
    _Field(3, "digest", _Number(_Q)),
    _Field(4, "max_body", _Number(_I)),
    _Field(5, "nonce", _Number(_Q)),
)
_LAYOUT_READY = _Layout(
    Ready,
    "ready",
    _NO_ID,
    _Field(1, "magic", _Constant(_Q, 0xA6D766F7263696D)),
    _Field(2, "version", _Number(_I)),
    _Field(3, "digest", _Number(_Q)),
    _Field(4, "max_body", _Number(_I)),
    _Field(5, "nonce", _Number(_Q)),
)
_LAYOUT_RESUME = _Layout(
    Resume,
    "resume",
    _NO_ID,
    _Field(1, "realtime_ns", _Number(_Q)),
    _Field(2, "entropy", _Bytes(64, nul=True)),
)
_LAYOUT_PING = _Layout(
    Ping,
    "ping",
    _NO_ID,
    _Field(1, "token", _Number(_Q)),
)
_LAYOUT_PONG = _Layout(
    Pong,
    "pong",
    _NO_ID,
    _Field(1, "token", _Number(_Q)),
)
_LAYOUT_STATUS_REQUEST = _Layout(StatusRequest, "status_request", _NO_ID)
_LAYOUT_STATUS = _Layout(
    Status,
    "status",
    _NO_ID,
    _Field(1, "started_ns", _Number(_Q)),
    _Field(2, "opened_ns", _Number(_Q)),
    _Field(3, "now_ns", _Number(_Q)),
    _Field(4, "frames_seen", _Number(_Q)),
    _Field(5, "frames_refused", _Number(_Q)),
    _Field(6, "execs", _Number(_Q)),
    _Field(7, "bytes_dropped", _Number(_Q)),
    _Field(8, "descriptors", _Number(_I)),
    _Field(9, "zombies", _Number(_B)),
    _Field(10, "memory", _Number(_Q)),
)
_LAYOUT_SHUTDOWN = _Layout(Shutdown, "shutdown", _NO_ID)
_LAYOUT_GOODBYE = _Layout(
    Goodbye,
    "goodbye",
    _NO_ID,
    _Field(1, "reason", _Open(_B, _AS_GOODBYE_REASON)),
)
_LAYOUT_ERROR = _Layout(
    Error,
    "error",
    _ANY_ID,
    _Field(1, "code", _Open(_H, _AS_ERROR_CODE)),
    _Field(2, "refused_type", _Number(_H)),
    _Field(3, "offset", _Number(_I)),
    _Field(4, "field", _Number(_B)),
)
_LAYOUT_KEEP = _Layout(Keep, "keep", _NO_ID, since=2)
_LAYOUT_EXEC_REQUEST = _Layout(
    ExecRequest,
    "exec_request",
    _SOME_ID,
    _Field(1, "command", _Bytes(4096, nul=False)),
    _Field(2, "cwd", _Bytes(4096, nul=False)),
    _Field(3, "argv", _List(_Bytes(131071, nul=False), 16384, 1048576)),
    _Field(4, "env", _List(_Bytes(131071, nul=False), 16384, 1048576)),
    _Field(5, "stdout_credit", _Number(_I)),
    _Field(6, "stderr_credit", _Number(_I)),
    _Field(7, "user", _Bytes(128, nul=False)),
    _Field(8, "stdin_from", _Closed(_B, _AS_STDIN_KIND)),
    _Field(9, "rows", _Number(_H)),
    _Field(10, "columns", _Number(_H)),
    _Field(11, "max_processes", _Number(_I)),
    _Field(12, "max_memory", _Number(_Q)),
    _Field(13, "more_argv", _List(_Bytes(131071, nul=False), 262144, 2097152), since=2, default=()),
    _Field(14, "more_env", _List(_Bytes(131071, nul=False), 262144, 2097152), since=2, default=()),
    _Field(15, "beside", _Closed(_B, _AS_BOOL), since=4, default=False),
    _Field(16, "joined", _Closed(_B, _AS_BOOL), since=4, default=False),
)
_LAYOUT_EXEC_OUTPUT = _Layout(
    ExecOutput,
    "exec_output",
    _SOME_ID,
    _Field(1, "stream", _Closed(_B, _AS_STREAM)),
    _Field(2, "data", _Tail(65536)),
)
_LAYOUT_EXEC_RESPONSE = _Layout(
    ExecResponse,
    "exec_response",
    _SOME_ID,
    _Field(1, "ending", _Closed(_B, _AS_ENDING, _SINCE_ENDING)),
    _Field(2, "status", _Number(_B)),
    _Field(3, "memory", _Number(_Q), since=3, default=0),
)
_LAYOUT_EXEC_FAILED = _Layout(
    ExecFailed,
    "exec_failed",
    _SOME_ID,
    _Field(1, "stage", _Open(_B, _AS_STAGE)),
    _Field(2, "error_number", _Number(_I)),
    _Field(3, "missing", _Bytes(96, nul=True), since=2, default=b""),
)
_LAYOUT_EXEC_SIGNAL = _Layout(
    ExecSignal,
    "exec_signal",
    _SOME_ID,
    _Field(1, "signal", _Number(_B)),
)
_LAYOUT_EXEC_KILL = _Layout(ExecKill, "exec_kill", _SOME_ID)
_LAYOUT_EXEC_TERMINATE = _Layout(ExecTerminate, "exec_terminate", _SOME_ID)
_LAYOUT_EXEC_CREDIT = _Layout(
    ExecCredit,
    "exec_credit",
    _SOME_ID,
    _Field(1, "stream", _Closed(_B, _AS_STREAM)),
    _Field(2, "amount", _Number(_I)),
)
_LAYOUT_EXEC_STDIN = _Layout(
    ExecStdin,
    "exec_stdin",
    _SOME_ID,
    _Field(1, "data", _Tail(65536)),
)
_LAYOUT_EXEC_STDIN_CREDIT = _Layout(
    ExecStdinCredit,
    "exec_stdin_credit",
    _SOME_ID,
    _Field(1, "amount", _Number(_I)),
)
_LAYOUT_EXEC_STDIN_CLOSED = _Layout(ExecStdinClosed, "exec_stdin_closed", _SOME_ID)
_LAYOUT_EXEC_RESIZE = _Layout(
    ExecResize,
    "exec_resize",
    _SOME_ID,
    _Field(1, "rows", _Number(_H)),
    _Field(2, "columns", _Number(_H)),
)


class _Rule:
    # A rule for checking and decoding messages whose number is `number`. It applies from the
    # version `since` on, up to the version of the next rule for the same number.
    def __init__(
        self,
        number: int,
        since: int,
        decode: Callable[[int, bytes, int, int], Message],
        senders: tuple[str, ...],
        ids: range,
        max_body: int,
    ) -> None:
        self.number = number
        self.since = since
        self.decode = decode
        self.senders = senders
        self.ids = ids
        self.max_body = max_body


_RULES = (
    _Rule(1, 1, _decode_hello, ("host",), _NO_ID, 32),
    _Rule(2, 1, _decode_ready, ("guest",), _NO_ID, 32),
    _Rule(3, 1, _decode_resume, ("host",), _NO_ID, 76),
    _Rule(4, 1, _decode_ping, ("host",), _NO_ID, 8),
    _Rule(5, 1, _decode_pong, ("guest",), _NO_ID, 8),
    _Rule(6, 1, _decode_status_request, ("host",), _NO_ID, 0),
    _Rule(7, 1, _decode_status, ("guest",), _NO_ID, 69),
    _Rule(8, 1, _decode_shutdown, ("host",), _NO_ID, 0),
    _Rule(9, 1, _decode_goodbye, ("guest",), _NO_ID, 1),
    _Rule(10, 1, _decode_error, ("guest",), _ANY_ID, 9),
    _Rule(11, 2, _decode_keep, ("host",), _NO_ID, 0),
    _Rule(16, 1, partial(_LAYOUT_EXEC_REQUEST.read, version=1), ("host",), _SOME_ID, 2105517),
    _Rule(16, 2, partial(_LAYOUT_EXEC_REQUEST.read, version=2), ("host",), _SOME_ID, 6299829),
    _Rule(16, 4, _decode_exec_request, ("host",), _SOME_ID, 6299831),
    _Rule(17, 1, _decode_exec_output, ("guest",), _SOME_ID, 65537),
    _Rule(18, 1, partial(_LAYOUT_EXEC_RESPONSE.read, version=1), ("guest",), _SOME_ID, 2),
    _Rule(18, 2, partial(_LAYOUT_EXEC_RESPONSE.read, version=2), ("guest",), _SOME_ID, 2),
    _Rule(18, 3, _decode_exec_response, ("guest",), _SOME_ID, 10),
    _Rule(19, 1, partial(_LAYOUT_EXEC_FAILED.read, version=1), ("guest",), _SOME_ID, 5),
    _Rule(19, 2, _decode_exec_failed, ("guest",), _SOME_ID, 105),
    _Rule(20, 1, _decode_exec_signal, ("host",), _SOME_ID, 1),
    _Rule(21, 1, _decode_exec_kill, ("host",), _SOME_ID, 0),
    _Rule(27, 1, _decode_exec_terminate, ("host",), _SOME_ID, 0),
    _Rule(22, 1, _decode_exec_credit, ("host",), _SOME_ID, 5),
    _Rule(23, 1, _decode_exec_stdin, ("host",), _SOME_ID, 65536),
    _Rule(24, 1, _decode_exec_stdin_credit, ("guest",), _SOME_ID, 4),
    _Rule(25, 1, _decode_exec_stdin_closed, ("guest",), _SOME_ID, 0),
    _Rule(26, 1, _decode_exec_resize, ("host",), _SOME_ID, 4),
)


class Decoder:
    """A decoder of the stream of bytes that one side sends.

    Pass each chunk of bytes to :meth:`receive_data`, then call :meth:`next_message` until it
    returns None. A chunk may begin and end anywhere. The decoder stores at most one frame in
    addition to the last chunk. It checks the length of a frame before it stores any of its body.
    """

    def __init__(self, sender: str, version: int = VERSION) -> None:
        """Create a decoder of the messages from one end.

        :param sender: Name of the end, one of END_NAMES.
        :param version: Version of the protocol that both sides agreed on.
        :raises ValueError: Raised if the end or the version does not exist.
        """
        if sender not in END_NAMES:
            raise ValueError(f"{sender!r} is not one of {END_NAMES}")
        self._sender = sender
        self.version = version
        self._chunk = b""
        self._at = 0
        self._partial = bytearray()
        self._error: DecodeError | None = None

    @property
    def version(self) -> int:
        """The version that both sides agreed on. A change applies from the next message on.

        :raises ValueError: Raised when it is set to a version that does not exist.
        """
        return self._version

    @version.setter
    def version(self, version: int) -> None:
        if not 1 <= version <= VERSION:
            raise ValueError(f"version {version} is not between 1 and {VERSION}")
        self._version = version
        self._rules = {rule.number: rule for rule in _RULES if rule.since <= version}
        self._own = {n: rule for n, rule in self._rules.items() if self._sender in rule.senders}

    def receive_data(self, data: bytes) -> None:
        """Add the next bytes of the stream. The decoder may keep `data` without copying it."""
        if self._error is not None:
            return
        if self._at < len(self._chunk):
            data = b"".join((memoryview(self._chunk)[self._at :], data))
        self._chunk = data if type(data) is bytes else bytes(data)
        self._at = 0

    def next_message(self) -> Message | None:
        """Return the next complete message, or None if more bytes are needed.

        A tail is a view of the received bytes. All other values are copies.

        :raises DecodeError: Raised if the stream is malformed, and again by every later call.
        """
        try:
            chunk, start = self._chunk, self._at + HEADER_SIZE
            if start > len(chunk) or self._partial:
                return self._completed()
            length, number, flags, id_ = _HEADER.unpack_from(chunk, self._at)
            rule = self._own.get(number)
            if rule is None or flags or id_ not in rule.ids or length > rule.max_body:
                raise self._refused(length, number, flags, id_)
            end = start + length
            if end > len(chunk):
                return self._completed()
            self._at = end
            return rule.decode(id_, chunk, start, end)
        except DecodeError as error:
            self._error = error
            self._drop()
            self._partial.clear()
            raise

    def _drop(self) -> None:
        self._chunk = b""
        self._at = 0

    def _completed(self) -> Message | None:
        if self._error is not None:
            raise self._error
        if not self._fill(HEADER_SIZE):
            return None
        length, number, flags, id_ = _HEADER.unpack_from(self._partial)
        rule = self._own.get(number)
        if rule is None or flags or id_ not in rule.ids or length > rule.max_body:
            raise self._refused(length, number, flags, id_)
        if not self._fill(HEADER_SIZE + length):
            return None
        frame = bytes(self._partial)
        self._partial.clear()
        return rule.decode(id_, frame, HEADER_SIZE, len(frame))

    def _fill(self, size: int) -> bool:
        missing = size - len(self._partial)
        if missing > 0:
            piece = memoryview(self._chunk)[self._at : self._at + missing]
            self._partial += piece
            self._at += len(piece)
            if len(piece) < missing:
                self._drop()
                return False
        return True

    def _refused(self, length: int, number: int, flags: int, id_: int) -> DecodeError:
        if number not in self._rules:
            return DecodeError(Fault.UNKNOWN_TYPE, 4)
        if number not in self._own:
            return DecodeError(Fault.BAD_DIRECTION, 4)
        if flags:
            return DecodeError(Fault.RESERVED_FLAGS, 6)
        if id_ not in self._own[number].ids:
            return DecodeError(Fault.BAD_ID, 8)
        return DecodeError(Fault.BODY_TOO_LONG, 0)
