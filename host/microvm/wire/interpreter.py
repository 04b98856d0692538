"""Encode and decode messages of the protocol interpreter, version 1.

Generated from interpreter.toml by `microvm-proto gen`. This module does no I/O. Runs cells, which
are pieces of Python code, in an interpreter that keeps its variables from one cell to the next. The
guest is a program of two processes. The worker executes the cells. The keeper never executes code
of a cell: it listens at a Unix socket, sends the worker's output to the host, and checks each
message of the worker. The host connects to this socket, and sends one request at a time, such as
`run`. The guest answers each request, for example with `result`.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar, dataclass_transform

VERSION = 1
DIGEST = 0xFA76BF3313C0EFE5
DIGESTS: Mapping[int, int] = {1: DIGEST}
HEADER_SIZE = 12
MAX_BODY = 65524
END_NAMES = ("host", "guest")

MAX_TEXT = 4194304


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


class Stream(enum.IntEnum):
    """The output streams of the worker; the numbers are its file descriptors."""

    STDOUT = 1
    """Standard output."""
    STDERR = 2
    """Standard error."""


class CellEnding(enum.IntEnum):
    """The ways in which a cell can end."""

    COMPLETED = 0
    """The cell was executed to its end."""
    RAISED = 1
    """The cell is not valid Python, or raised an exception."""
    EXITED = 2
    """The cell raised SystemExit, for example by `exit()`.

    The interpreter continues.
    """


class Death(enum.IntEnum):
    """The ways in which a worker can die."""

    EXITED = 0
    """The worker exited by itself, for example by `os._exit()`; the status is its exit code."""
    SIGNALLED = 1
    """A signal killed the worker; the status is the signal's number."""
    OUT_OF_MEMORY = 2
    """The kernel killed the worker because memory was exhausted; the status is the signal's
    number.
    """
    KILLED = 3
    """The keeper killed the worker, because the host has sent `kill`; the status is the signal's
    number.
    """
    BROKEN = 4
    """The keeper killed the worker, which broke the protocol or closed its connection; the
    status is the signal's number.
    """


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


class Ready(_Frozen, init=False):
    """The guest waits for a request.

    :ivar digest: The schema digest of the guest.
    """

    TYPE: ClassVar[int] = 1
    MAX_BODY: ClassVar[int] = 8

    __slots__ = __match_args__ = ("digest",)

    digest: int

    def __new__(_cls, digest: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.digest = digest
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIQ.pack(8, 1, 0, 0, self.digest)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_READY.write(self, version))


class Credit(_Frozen, init=False):
    """Allows the guest to send more bytes.

    :ivar amount: Number of further bytes of output, pieces and displays that the guest may send.
    """

    TYPE: ClassVar[int] = 2
    MAX_BODY: ClassVar[int] = 4

    __slots__ = __match_args__ = ("amount",)

    amount: int

    def __new__(_cls, amount: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.amount = amount
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHII.pack(4, 2, 0, 0, self.amount)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_CREDIT.write(self, version))


class Piece(_Frozen, init=False):
    """A part of a long text, which a later message completes.

    :ivar offset: Number of bytes of the text before these; 0 begins a new text.
    :ivar data: The next bytes of the text. At most 65520 bytes.
    """

    TYPE: ClassVar[int] = 3
    MAX_BODY: ClassVar[int] = 65524

    __slots__ = __match_args__ = ("offset", "data")

    offset: int
    data: bytes | memoryview

    def __new__(_cls, offset: int, data: bytes | memoryview) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.offset = offset
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
            tail = _put_tail(self.data, 65520)
            head = _IHHII.pack(4 + len(tail), 3, 0, 0, self.offset)
            return head, tail
        except _FALLBACK_ON:
            return _LAYOUT_PIECE.write(self, version)


class Run(_Frozen, init=False):
    """Asks the guest to execute a cell.

    Completes the text of its code.

    :ivar offset: Number of bytes of the code in the preceding pieces.
    :ivar code: The rest of the Python code, in UTF-8. At most 65520 bytes.
    """

    TYPE: ClassVar[int] = 4
    MAX_BODY: ClassVar[int] = 65524

    __slots__ = __match_args__ = ("offset", "code")

    offset: int
    code: bytes | memoryview

    def __new__(_cls, offset: int, code: bytes | memoryview) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.offset = offset
        _made.code = code
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        return b"".join(self.encode_parts(version))

    def encode_parts(self, version: int = VERSION) -> tuple[bytes, bytes | memoryview]:
        """Encode the frame as two parts. The second part is `code` itself, not a copy.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            tail = _put_tail(self.code, 65520)
            head = _IHHII.pack(4 + len(tail), 4, 0, 0, self.offset)
            return head, tail
        except _FALLBACK_ON:
            return _LAYOUT_RUN.write(self, version)


class Output(_Frozen, init=False):
    """Output of the worker, its threads or its child processes.

    :ivar stream: The stream to which the bytes were written.
    :ivar data: The next bytes of the stream. At most 65520 bytes.
    """

    TYPE: ClassVar[int] = 5
    MAX_BODY: ClassVar[int] = 65521

    __slots__ = __match_args__ = ("stream", "data")

    stream: Stream
    data: bytes | memoryview

    def __new__(_cls, stream: Stream, data: bytes | memoryview) -> Self:
        _made: Any = _new(_cls._mutable)
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
            tail = _put_tail(self.data, 65520)
            head = _IHHIB.pack(1 + len(tail), 5, 0, 0, _AS_STREAM[self.stream])
            return head, tail
        except _FALLBACK_ON:
            return _LAYOUT_OUTPUT.write(self, version)


class Display(_Frozen, init=False):
    """One representation of an object that the cell displays, such as a picture.

    An object with several representations, for example PNG and HTML, is sent as several messages.

    :ivar first: True if this is the first representation of an object; false if it is another
        representation of the same object.
    :ivar of_value: True if the object is the value of the cell's last expression.
    :ivar mime: The MIME type of the data; for a PNG, it is image/png. At most 127 bytes of UTF-8,
        without NUL.
    :ivar offset: Number of bytes of the data in the preceding pieces.
    :ivar data: The rest of the data. Text is UTF-8; pictures are binary. At most 65280 bytes.
    """

    TYPE: ClassVar[int] = 6
    MAX_BODY: ClassVar[int] = 65417

    __slots__ = __match_args__ = ("first", "of_value", "mime", "offset", "data")

    first: bool
    of_value: bool
    mime: str
    offset: int
    data: bytes | memoryview

    def __new__(
        _cls, first: bool, of_value: bool, mime: str, offset: int, data: bytes | memoryview
    ) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.first = first
        _made.of_value = of_value
        _made.mime = mime
        _made.offset = offset
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
            tail = _put_tail(self.data, 65280)
            parts = (
                _BB.pack(_AS_BOOL[self.first], _AS_BOOL[self.of_value]),
                _put(self.mime.encode(), 127, False),
                _I.pack(self.offset),
            )
            body = b"".join(parts)
            return _HEADER.pack(len(body) + len(tail), 6, 0, 0) + body, tail
        except _FALLBACK_ON:
            return _LAYOUT_DISPLAY.write(self, version)


class Ask(_Frozen, init=False):
    """The cell waits for a line of input, for example in `input()`.

    An interrupt of the cell ends the wait.

    :ivar question: The number of the question, which is higher than the numbers of all earlier
        ones.
    :ivar secret: True if the line is a password, which must not be shown while it is typed.
    :ivar prompt: The prompt to show before the input. At most 4096 bytes of UTF-8.
    """

    TYPE: ClassVar[int] = 7
    MAX_BODY: ClassVar[int] = 4105

    __slots__ = __match_args__ = ("question", "secret", "prompt")

    question: int
    secret: bool
    prompt: str

    def __new__(_cls, question: int, secret: bool, prompt: str) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.question = question
        _made.secret = secret
        _made.prompt = prompt
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            parts = (
                _IB.pack(self.question, _AS_BOOL[self.secret]),
                _put(self.prompt.encode(), 4096, True),
            )
            body = b"".join(parts)
            return _HEADER.pack(len(body), 7, 0, 0) + body
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_ASK.write(self, version))


class Answer(_Frozen, init=False):
    """Answers an `ask` with a line of input.

    The guest ignores the answer if the cell no longer waits for this line.

    :ivar question: The number of the question.
    :ivar given: True if the host has a line for the cell. Otherwise the cell's `input()` raises
        EOFError.
    :ivar line: The line, without a newline at its end. At most 65000 bytes of UTF-8.
    """

    TYPE: ClassVar[int] = 8
    MAX_BODY: ClassVar[int] = 65009

    __slots__ = __match_args__ = ("question", "given", "line")

    question: int
    given: bool
    line: str

    def __new__(_cls, question: int, given: bool, line: str) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.question = question
        _made.given = given
        _made.line = line
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            parts = (
                _IB.pack(self.question, _AS_BOOL[self.given]),
                _put(self.line.encode(), 65000, True),
            )
            body = b"".join(parts)
            return _HEADER.pack(len(body), 8, 0, 0) + body
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_ANSWER.write(self, version))


class Result(_Frozen, init=False):
    """The cell has ended.

    Completes the text of the value of the cell's last expression.

    :ivar ending: The way in which the cell ended.
    :ivar status: The exit status that SystemExit stands for; otherwise 0.
    :ivar has_value: True if the last statement of the cell is an expression whose value is not
        None.
    :ivar error_type: The name of the exception's class, with its module unless that is `builtins`;
        empty for a cell that was completed. At most 256 bytes of UTF-8.
    :ivar error_message: The exception as `str` converts it, cut at the maximum. At most 8192 bytes
        of UTF-8.
    :ivar traceback: The traceback, as Python prints it, without the frames of the worker; cut in
        the middle at the maximum. At most 32768 bytes of UTF-8.
    :ivar offset: Number of bytes of the value in the preceding pieces.
    :ivar value: The rest of the value as `repr` converts it, in UTF-8, cut at `max_text`. At most
        16384 bytes.
    """

    TYPE: ClassVar[int] = 9
    MAX_BODY: ClassVar[int] = 57619

    __slots__ = __match_args__ = (
        "ending",
        "status",
        "has_value",
        "error_type",
        "error_message",
        "traceback",
        "offset",
        "value",
    )

    ending: CellEnding
    status: int
    has_value: bool
    error_type: str
    error_message: str
    traceback: str
    offset: int
    value: bytes | memoryview

    def __new__(
        _cls,
        ending: CellEnding,
        status: int,
        has_value: bool,
        error_type: str,
        error_message: str,
        traceback: str,
        offset: int,
        value: bytes | memoryview,
    ) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.ending = ending
        _made.status = status
        _made.has_value = has_value
        _made.error_type = error_type
        _made.error_message = error_message
        _made.traceback = traceback
        _made.offset = offset
        _made.value = value
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        return b"".join(self.encode_parts(version))

    def encode_parts(self, version: int = VERSION) -> tuple[bytes, bytes | memoryview]:
        """Encode the frame as two parts. The second part is `value` itself, not a copy.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            tail = _put_tail(self.value, 16384)
            parts = (
                _3B.pack(_AS_CELL_ENDING[self.ending], self.status, _AS_BOOL[self.has_value]),
                _put(self.error_type.encode(), 256, True),
                _put(self.error_message.encode(), 8192, True),
                _put(self.traceback.encode(), 32768, True),
                _I.pack(self.offset),
            )
            body = b"".join(parts)
            return _HEADER.pack(len(body) + len(tail), 9, 0, 0) + body, tail
        except _FALLBACK_ON:
            return _LAYOUT_RESULT.write(self, version)


class Assign(_Frozen, init=False):
    """Asks the guest to set a global variable of the cells.

    Completes the text of the value.

    :ivar name: The name of the variable. At most 255 bytes of UTF-8, without NUL.
    :ivar offset: Number of bytes of the JSON in the preceding pieces.
    :ivar json: The rest of the value as JSON, in UTF-8. At most 65000 bytes.
    """

    TYPE: ClassVar[int] = 10
    MAX_BODY: ClassVar[int] = 65263

    __slots__ = __match_args__ = ("name", "offset", "json")

    name: str
    offset: int
    json: bytes | memoryview

    def __new__(_cls, name: str, offset: int, json: bytes | memoryview) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.name = name
        _made.offset = offset
        _made.json = json
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        return b"".join(self.encode_parts(version))

    def encode_parts(self, version: int = VERSION) -> tuple[bytes, bytes | memoryview]:
        """Encode the frame as two parts. The second part is `json` itself, not a copy.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            tail = _put_tail(self.json, 65000)
            parts = (
                _put(self.name.encode(), 255, False),
                _I.pack(self.offset),
            )
            body = b"".join(parts)
            return _HEADER.pack(len(body) + len(tail), 10, 0, 0) + body, tail
        except _FALLBACK_ON:
            return _LAYOUT_ASSIGN.write(self, version)


class Fetch(_Frozen, init=False):
    """Asks the guest for the value of a global variable of the cells.

    :ivar name: The name of the variable. At most 255 bytes of UTF-8, without NUL.
    """

    TYPE: ClassVar[int] = 11
    MAX_BODY: ClassVar[int] = 259

    __slots__ = __match_args__ = ("name",)

    name: str

    def __new__(_cls, name: str) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.name = name
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            body = _put(self.name.encode(), 255, False)
            return _HEADER.pack(len(body), 11, 0, 0) + body
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_FETCH.write(self, version))


class Value(_Frozen, init=False):
    """Answers `fetch`.

    Completes the text of the variable's value.

    :ivar offset: Number of bytes of the JSON in the preceding pieces.
    :ivar json: The rest of the value as JSON, in UTF-8. At most 65520 bytes.
    """

    TYPE: ClassVar[int] = 12
    MAX_BODY: ClassVar[int] = 65524

    __slots__ = __match_args__ = ("offset", "json")

    offset: int
    json: bytes | memoryview

    def __new__(_cls, offset: int, json: bytes | memoryview) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.offset = offset
        _made.json = json
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        return b"".join(self.encode_parts(version))

    def encode_parts(self, version: int = VERSION) -> tuple[bytes, bytes | memoryview]:
        """Encode the frame as two parts. The second part is `json` itself, not a copy.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            tail = _put_tail(self.json, 65520)
            head = _IHHII.pack(4 + len(tail), 12, 0, 0, self.offset)
            return head, tail
        except _FALLBACK_ON:
            return _LAYOUT_VALUE.write(self, version)


class Renew(_Frozen, init=False):
    """Asks the guest to seed its random number generators, so that copies of a snapshot differ.

    :ivar seed: Random bytes of the host. Always 32 bytes.
    """

    TYPE: ClassVar[int] = 13
    MAX_BODY: ClassVar[int] = 32

    __slots__ = __match_args__ = ("seed",)

    seed: bytes

    def __new__(_cls, seed: bytes) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.seed = seed
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHI32s.pack(32, 13, 0, 0, _exactly(self.seed, 32))
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_RENEW.write(self, version))


class Done(_Frozen):
    """The guest has executed `assign` or `renew`."""

    TYPE: ClassVar[int] = 14
    MAX_BODY: ClassVar[int] = 0

    __slots__ = __match_args__ = ()

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _HEADER.pack(0, 14, 0, 0)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_DONE.write(self, version))


class Failed(_Frozen, init=False):
    """The guest could not execute `assign`, `fetch` or `renew`.

    For example, the variable does not exist, or its value is not JSON.

    :ivar error_type: The name of the exception's class, such as `NameError`. At most 256 bytes of
        UTF-8.
    :ivar error_message: The exception as `str` converts it, cut at the maximum. At most 8192 bytes
        of UTF-8.
    """

    TYPE: ClassVar[int] = 15
    MAX_BODY: ClassVar[int] = 8456

    __slots__ = __match_args__ = ("error_type", "error_message")

    error_type: str
    error_message: str

    def __new__(_cls, error_type: str, error_message: str) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.error_type = error_type
        _made.error_message = error_message
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            parts = (
                _put(self.error_type.encode(), 256, True),
                _put(self.error_message.encode(), 8192, True),
            )
            body = b"".join(parts)
            return _HEADER.pack(len(body), 15, 0, 0) + body
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_FAILED.write(self, version))


class Interrupt(_Frozen):
    """Asks the guest to raise KeyboardInterrupt in the request that it executes."""

    TYPE: ClassVar[int] = 16
    MAX_BODY: ClassVar[int] = 0

    __slots__ = __match_args__ = ()

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _HEADER.pack(0, 16, 0, 0)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_INTERRUPT.write(self, version))


class KillStarted(_Frozen):
    """Asks the guest to kill all processes of the request.

    The worker continues.
    """

    TYPE: ClassVar[int] = 17
    MAX_BODY: ClassVar[int] = 0

    __slots__ = __match_args__ = ()

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _HEADER.pack(0, 17, 0, 0)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_KILL_STARTED.write(self, version))


class Kill(_Frozen):
    """Asks the guest to kill the worker and all processes that it has started."""

    TYPE: ClassVar[int] = 18
    MAX_BODY: ClassVar[int] = 0

    __slots__ = __match_args__ = ()

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _HEADER.pack(0, 18, 0, 0)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_KILL.write(self, version))


class Died(_Frozen, init=False):
    """The worker is dead, and the state of the interpreter is lost.

    This is the guest's last message.

    :ivar ending: The way in which the worker died.
    :ivar status: The exit code or the number of the signal.
    """

    TYPE: ClassVar[int] = 19
    MAX_BODY: ClassVar[int] = 5

    __slots__ = __match_args__ = ("ending", "status")

    ending: Death
    status: int

    def __new__(_cls, ending: Death, status: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.ending = ending
        _made.status = status
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIBI.pack(5, 19, 0, 0, _AS_DEATH[self.ending], self.status)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_DIED.write(self, version))


Message: TypeAlias = (
    Ready
    | Credit
    | Piece
    | Run
    | Output
    | Display
    | Ask
    | Answer
    | Result
    | Assign
    | Fetch
    | Value
    | Renew
    | Done
    | Failed
    | Interrupt
    | KillStarted
    | Kill
    | Died
)


# Each layout is named after its format in `struct`; IHHI is the header.
_HEADER = struct.Struct("<IHHI")
_B = struct.Struct("<B")
_I = struct.Struct("<I")
_Q = struct.Struct("<Q")
_3B = struct.Struct("<3B")
_BB = struct.Struct("<BB")
_BI = struct.Struct("<BI")
_IB = struct.Struct("<IB")
_32s = struct.Struct("<32s")
_IHHIB = struct.Struct("<IHHIB")
_IHHII = struct.Struct("<IHHII")
_IHHIQ = struct.Struct("<IHHIQ")
_IHHIBI = struct.Struct("<IHHIBI")
_IHHI32s = struct.Struct("<IHHI32s")
_AS_STREAM = {int(value): value for value in Stream}
_AS_BOOL = {0: False, 1: True}
_AS_CELL_ENDING = {int(value): value for value in CellEnding}
_AS_DEATH = {int(value): value for value in Death}


# The encodings of frequent lengths. Looking up a length is faster than packing it.
_LENGTHS = tuple(_I.pack(length) for length in range(1024))


class _Fallback(Exception):
    pass


# The fast code of a message handles only valid input. If it raises one of these exceptions, the
# `_Layout` of the message, which checks every rule, encodes or decodes the message again.
_FALLBACK_ON = (_Fallback, struct.error, LookupError, UnicodeError)


def _put(value: bytes, maximum: int, nul: bool) -> bytes:
    if len(value) > maximum or (not nul and 0 in value):
        raise _Fallback
    return _LENGTHS[len(value)] + value


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


def _exactly(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise _Fallback
    return value


def _decode_ready(id_: int, frame: bytes, start: int, end: int) -> Ready:
    try:
        (digest,) = _Q.unpack(frame[start:end])
        return Ready.__new__(Ready, digest)
    except _FALLBACK_ON:
        return _LAYOUT_READY.read(id_, frame, start, end)


def _decode_credit(id_: int, frame: bytes, start: int, end: int) -> Credit:
    try:
        (amount,) = _I.unpack(frame[start:end])
        return Credit.__new__(Credit, amount)
    except _FALLBACK_ON:
        return _LAYOUT_CREDIT.read(id_, frame, start, end)


def _decode_piece(id_: int, frame: bytes, start: int, end: int) -> Piece:
    try:
        (offset,) = _I.unpack_from(frame, start)
        if end < start + 4:
            raise _Fallback
        data = memoryview(frame)[start + 4 : end]
        return Piece.__new__(Piece, offset, data)
    except _FALLBACK_ON:
        return _LAYOUT_PIECE.read(id_, frame, start, end)


def _decode_run(id_: int, frame: bytes, start: int, end: int) -> Run:
    try:
        (offset,) = _I.unpack_from(frame, start)
        if end < start + 4:
            raise _Fallback
        code = memoryview(frame)[start + 4 : end]
        return Run.__new__(Run, offset, code)
    except _FALLBACK_ON:
        return _LAYOUT_RUN.read(id_, frame, start, end)


def _decode_output(id_: int, frame: bytes, start: int, end: int) -> Output:
    try:
        stream = frame[start]
        if end < start + 1:
            raise _Fallback
        data = memoryview(frame)[start + 1 : end]
        return Output.__new__(Output, _AS_STREAM[stream], data)
    except _FALLBACK_ON:
        return _LAYOUT_OUTPUT.read(id_, frame, start, end)


def _decode_display(id_: int, frame: bytes, start: int, end: int) -> Display:
    try:
        first, of_value = _BB.unpack_from(frame, start)
        mime, at = _take(frame, start + 2, 127, False)
        (offset,) = _I.unpack_from(frame, at)
        if end < at + 4 or end > at + 4 + 65280:
            raise _Fallback
        data = memoryview(frame)[at + 4 : end]
        return Display.__new__(
            Display, _AS_BOOL[first], _AS_BOOL[of_value], mime.decode(), offset, data
        )
    except _FALLBACK_ON:
        return _LAYOUT_DISPLAY.read(id_, frame, start, end)


def _decode_ask(id_: int, frame: bytes, start: int, end: int) -> Ask:
    try:
        question, secret = _IB.unpack_from(frame, start)
        prompt, at = _take(frame, start + 5, 4096, True)
        if at != end:
            raise _Fallback
        return Ask.__new__(Ask, question, _AS_BOOL[secret], prompt.decode())
    except _FALLBACK_ON:
        return _LAYOUT_ASK.read(id_, frame, start, end)


def _decode_answer(id_: int, frame: bytes, start: int, end: int) -> Answer:
    try:
        question, given = _IB.unpack_from(frame, start)
        line, at = _take(frame, start + 5, 65000, True)
        if at != end:
            raise _Fallback
        return Answer.__new__(Answer, question, _AS_BOOL[given], line.decode())
    except _FALLBACK_ON:
        return _LAYOUT_ANSWER.read(id_, frame, start, end)


def _decode_result(id_: int, frame: bytes, start: int, end: int) -> Result:
    try:
        ending, status, has_value = _3B.unpack_from(frame, start)
        error_type, at = _take(frame, start + 3, 256, True)
        error_message, at = _take(frame, at, 8192, True)
        traceback, at = _take(frame, at, 32768, True)
        (offset,) = _I.unpack_from(frame, at)
        if end < at + 4 or end > at + 4 + 16384:
            raise _Fallback
        value = memoryview(frame)[at + 4 : end]
        return Result.__new__(
            Result,
            _AS_CELL_ENDING[ending],
            status,
            _AS_BOOL[has_value],
            error_type.decode(),
            error_message.decode(),
            traceback.decode(),
            offset,
            value,
        )
    except _FALLBACK_ON:
        return _LAYOUT_RESULT.read(id_, frame, start, end)


def _decode_assign(id_: int, frame: bytes, start: int, end: int) -> Assign:
    try:
        name, at = _take(frame, start, 255, False)
        (offset,) = _I.unpack_from(frame, at)
        if end < at + 4 or end > at + 4 + 65000:
            raise _Fallback
        json = memoryview(frame)[at + 4 : end]
        return Assign.__new__(Assign, name.decode(), offset, json)
    except _FALLBACK_ON:
        return _LAYOUT_ASSIGN.read(id_, frame, start, end)


def _decode_fetch(id_: int, frame: bytes, start: int, end: int) -> Fetch:
    try:
        name, at = _take(frame, start, 255, False)
        if at != end:
            raise _Fallback
        return Fetch.__new__(Fetch, name.decode())
    except _FALLBACK_ON:
        return _LAYOUT_FETCH.read(id_, frame, start, end)


def _decode_value(id_: int, frame: bytes, start: int, end: int) -> Value:
    try:
        (offset,) = _I.unpack_from(frame, start)
        if end < start + 4:
            raise _Fallback
        json = memoryview(frame)[start + 4 : end]
        return Value.__new__(Value, offset, json)
    except _FALLBACK_ON:
        return _LAYOUT_VALUE.read(id_, frame, start, end)


def _decode_renew(id_: int, frame: bytes, start: int, end: int) -> Renew:
    try:
        (seed,) = _32s.unpack(frame[start:end])
        return Renew.__new__(Renew, seed)
    except _FALLBACK_ON:
        return _LAYOUT_RENEW.read(id_, frame, start, end)


def _decode_done(id_: int, frame: bytes, start: int, end: int) -> Done:
    del id_, frame, start, end
    return Done()


def _decode_failed(id_: int, frame: bytes, start: int, end: int) -> Failed:
    try:
        error_type, at = _take(frame, start, 256, True)
        error_message, at = _take(frame, at, 8192, True)
        if at != end:
            raise _Fallback
        return Failed.__new__(Failed, error_type.decode(), error_message.decode())
    except _FALLBACK_ON:
        return _LAYOUT_FAILED.read(id_, frame, start, end)


def _decode_interrupt(id_: int, frame: bytes, start: int, end: int) -> Interrupt:
    del id_, frame, start, end
    return Interrupt()


def _decode_kill_started(id_: int, frame: bytes, start: int, end: int) -> KillStarted:
    del id_, frame, start, end
    return KillStarted()


def _decode_kill(id_: int, frame: bytes, start: int, end: int) -> Kill:
    del id_, frame, start, end
    return Kill()


def _decode_died(id_: int, frame: bytes, start: int, end: int) -> Died:
    try:
        ending, status = _BI.unpack(frame[start:end])
        return Died.__new__(Died, _AS_DEATH[ending], status)
    except _FALLBACK_ON:
        return _LAYOUT_DIED.read(id_, frame, start, end)


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


def _check_count(count: int, expected: int, what: str) -> None:
    # If an array has the wrong length, raises an error with the fault that decoders report for it.
    if count != expected:
        fault = Fault.TRUNCATED if count < expected else Fault.TRAILING_BYTES
        raise _Wrong(fault, reason=f"{count} {what}, but it must have {expected}")


class _Octets(_Kind):
    def __init__(self, size: int) -> None:
        self.size = size

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        end = at + self.size
        if end > len(body):
            raise _Wrong(Fault.TRUNCATED, at)
        return body[at:end].tobytes(), end

    def write(self, value: Any, version: int) -> bytes:
        _check_count(len(value), self.size, "bytes")
        return b"".join((value,))


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


class _Text(_Bytes):
    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        value, end = super().read(body, at, version)
        try:
            return value.decode(), end
        except UnicodeDecodeError as error:
            raise _Wrong(Fault.NOT_UTF8, end - len(value) + error.start) from None

    def write(self, value: Any, version: int) -> bytes:
        packed = super().write(value.encode("utf-8", "surrogatepass"), version)
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise _Wrong(Fault.NOT_UTF8, reason=str(error)) from None
        return packed


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


_LAYOUT_READY = _Layout(
    Ready,
    "ready",
    _NO_ID,
    _Field(1, "digest", _Number(_Q)),
)
_LAYOUT_CREDIT = _Layout(
    Credit,
    "credit",
    _NO_ID,
    _Field(1, "amount", _Number(_I)),
)
_LAYOUT_PIECE = _Layout(
    Piece,
    "piece",
    _NO_ID,
    _Field(1, "offset", _Number(_I)),
    _Field(2, "data", _Tail(65520)),
)
_LAYOUT_RUN = _Layout(
    Run,
    "run",
    _NO_ID,
    _Field(1, "offset", _Number(_I)),
    _Field(2, "code", _Tail(65520)),
)
_LAYOUT_OUTPUT = _Layout(
    Output,
    "output",
    _NO_ID,
    _Field(1, "stream", _Closed(_B, _AS_STREAM)),
    _Field(2, "data", _Tail(65520)),
)
_LAYOUT_DISPLAY = _Layout(
    Display,
    "display",
    _NO_ID,
    _Field(1, "first", _Closed(_B, _AS_BOOL)),
    _Field(2, "of_value", _Closed(_B, _AS_BOOL)),
    _Field(3, "mime", _Text(127, nul=False)),
    _Field(4, "offset", _Number(_I)),
    _Field(5, "data", _Tail(65280)),
)
_LAYOUT_ASK = _Layout(
    Ask,
    "ask",
    _NO_ID,
    _Field(1, "question", _Number(_I)),
    _Field(2, "secret", _Closed(_B, _AS_BOOL)),
    _Field(3, "prompt", _Text(4096, nul=True)),
)
_LAYOUT_ANSWER = _Layout(
    Answer,
    "answer",
    _NO_ID,
    _Field(1, "question", _Number(_I)),
    _Field(2, "given", _Closed(_B, _AS_BOOL)),
    _Field(3, "line", _Text(65000, nul=True)),
)
_LAYOUT_RESULT = _Layout(
    Result,
    "result",
    _NO_ID,
    _Field(1, "ending", _Closed(_B, _AS_CELL_ENDING)),
    _Field(2, "status", _Number(_B)),
    _Field(3, "has_value", _Closed(_B, _AS_BOOL)),
    _Field(4, "error_type", _Text(256, nul=True)),
    _Field(5, "error_message", _Text(8192, nul=True)),
    _Field(6, "traceback", _Text(32768, nul=True)),
    _Field(7, "offset", _Number(_I)),
    _Field(8, "value", _Tail(16384)),
)
_LAYOUT_ASSIGN = _Layout(
    Assign,
    "assign",
    _NO_ID,
    _Field(1, "name", _Text(255, nul=False)),
    _Field(2, "offset", _Number(_I)),
    _Field(3, "json", _Tail(65000)),
)
_LAYOUT_FETCH = _Layout(
    Fetch,
    "fetch",
    _NO_ID,
    _Field(1, "name", _Text(255, nul=False)),
)
_LAYOUT_VALUE = _Layout(
    Value,
    "value",
    _NO_ID,
    _Field(1, "offset", _Number(_I)),
    _Field(2, "json", _Tail(65520)),
)
_LAYOUT_RENEW = _Layout(
    Renew,
    "renew",
    _NO_ID,
    _Field(1, "seed", _Octets(32)),
)
_LAYOUT_DONE = _Layout(Done, "done", _NO_ID)
_LAYOUT_FAILED = _Layout(
    Failed,
    "failed",
    _NO_ID,
    _Field(1, "error_type", _Text(256, nul=True)),
    _Field(2, "error_message", _Text(8192, nul=True)),
)
_LAYOUT_INTERRUPT = _Layout(Interrupt, "interrupt", _NO_ID)
_LAYOUT_KILL_STARTED = _Layout(KillStarted, "kill_started", _NO_ID)
_LAYOUT_KILL = _Layout(Kill, "kill", _NO_ID)
_LAYOUT_DIED = _Layout(
    Died,
    "died",
    _NO_ID,
    _Field(1, "ending", _Closed(_B, _AS_DEATH)),
    _Field(2, "status", _Number(_I)),
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
    _Rule(1, 1, _decode_ready, ("guest",), _NO_ID, 8),
    _Rule(2, 1, _decode_credit, ("host",), _NO_ID, 4),
    _Rule(3, 1, _decode_piece, END_NAMES, _NO_ID, 65524),
    _Rule(4, 1, _decode_run, ("host",), _NO_ID, 65524),
    _Rule(5, 1, _decode_output, ("guest",), _NO_ID, 65521),
    _Rule(6, 1, _decode_display, ("guest",), _NO_ID, 65417),
    _Rule(7, 1, _decode_ask, ("guest",), _NO_ID, 4105),
    _Rule(8, 1, _decode_answer, ("host",), _NO_ID, 65009),
    _Rule(9, 1, _decode_result, ("guest",), _NO_ID, 57619),
    _Rule(10, 1, _decode_assign, ("host",), _NO_ID, 65263),
    _Rule(11, 1, _decode_fetch, ("host",), _NO_ID, 259),
    _Rule(12, 1, _decode_value, ("guest",), _NO_ID, 65524),
    _Rule(13, 1, _decode_renew, ("host",), _NO_ID, 32),
    _Rule(14, 1, _decode_done, ("guest",), _NO_ID, 0),
    _Rule(15, 1, _decode_failed, ("guest",), _NO_ID, 8456),
    _Rule(16, 1, _decode_interrupt, ("host",), _NO_ID, 0),
    _Rule(17, 1, _decode_kill_started, ("host",), _NO_ID, 0),
    _Rule(18, 1, _decode_kill, ("host",), _NO_ID, 0),
    _Rule(19, 1, _decode_died, ("guest",), _NO_ID, 5),
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
