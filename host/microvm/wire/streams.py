"""Encode and decode messages of the protocol streams, version 1.

Generated from streams.toml by `microvm-proto gen`. This module does no I/O. Connects a host to
servers in a guest, and clients in the guest to the host. The messages are sent over standard input
and output of the guest's program `relay`, which carries many streams at a time. Each stream is a
connection of `relay` to a server or a client, and has its own id. To connect to a server, the host
sends `connect`. To accept clients, the host sends `listen`, and then an `accept` for each client.
When the guest has answered `connected` or `accepted`, both sides can send `data`, but at most as
many bytes as the other side has given credit for.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar, dataclass_transform

VERSION = 1
DIGEST = 0x85953A5D38ECC0C1
DIGESTS: Mapping[int, int] = {1: DIGEST}
HEADER_SIZE = 12
MAX_BODY = 65524
END_NAMES = ("host", "guest")

PROGRAM = "/proc/1/fd/6"
MAX_STREAMS = 256
MAX_LISTENERS = 16


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


class Connect(_Frozen, init=False):
    """Asks the guest to connect to a server.

    :ivar id: The id in the frame's header.
    :ivar credit: Number of bytes that the guest may send before it gets more credit.
    :ivar port: The TCP port to connect to, first at the address 127.0.0.1 and then at ::1. Ignored
        if there is a path.
    :ivar path: The path of the Unix socket to connect to; empty for a TCP port. At most 107 bytes,
        without NUL.
    """

    TYPE: ClassVar[int] = 1
    MAX_BODY: ClassVar[int] = 117

    __slots__ = __match_args__ = ("id", "credit", "port", "path")

    id: int
    credit: int
    port: int
    path: bytes

    def __new__(_cls, id: int, credit: int, port: int, path: bytes) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.credit = credit
        _made.port = port
        _made.path = path
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            parts = (
                _IH.pack(self.credit, self.port),
                _put(self.path, 107, False),
            )
            body = b"".join(parts)
            return _HEADER.pack(len(body), 1, 0, self.id or None) + body
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_CONNECT.write(self, version))


class Connected(_Frozen, init=False):
    """The guest has connected to the server.

    :ivar id: The id in the frame's header.
    :ivar credit: Number of bytes that the host may send before it gets more credit.
    """

    TYPE: ClassVar[int] = 2
    MAX_BODY: ClassVar[int] = 4

    __slots__ = __match_args__ = ("id", "credit")

    id: int
    credit: int

    def __new__(_cls, id: int, credit: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.credit = credit
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHII.pack(4, 2, 0, self.id or None, self.credit)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_CONNECTED.write(self, version))


class Refused(_Frozen, init=False):
    """The guest cannot connect to the server.

    :ivar id: The id in the frame's header.
    :ivar error_number: The `errno`, as Linux numbers it. For a TCP port, it is that of 127.0.0.1.
    """

    TYPE: ClassVar[int] = 3
    MAX_BODY: ClassVar[int] = 4

    __slots__ = __match_args__ = ("id", "error_number")

    id: int
    error_number: int

    def __new__(_cls, id: int, error_number: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.error_number = error_number
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHII.pack(4, 3, 0, self.id or None, self.error_number)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_REFUSED.write(self, version))


class Data(_Frozen, init=False):
    """Bytes of the stream.

    The frame has at most 64 KiB, including the header.

    :ivar id: The id in the frame's header.
    :ivar data: The next bytes of the stream. At most 65524 bytes.
    """

    TYPE: ClassVar[int] = 4
    MAX_BODY: ClassVar[int] = 65524

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
            tail = _put_tail(self.data, 65524)
            head = _HEADER.pack(len(tail), 4, 0, self.id or None)
            return head, tail
        except _FALLBACK_ON:
            return _LAYOUT_DATA.write(self, version)


class Credit(_Frozen, init=False):
    """Allows the other side to send more data.

    :ivar id: The id in the frame's header.
    :ivar amount: Number of further bytes that the other side may send.
    """

    TYPE: ClassVar[int] = 5
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
            return _IHHII.pack(4, 5, 0, self.id or None, self.amount)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_CREDIT.write(self, version))


class Eof(_Frozen, init=False):
    """The sender sends no more data.

    :ivar id: The id in the frame's header.
    """

    TYPE: ClassVar[int] = 6
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
            return _HEADER.pack(0, 6, 0, self.id or None)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_EOF.write(self, version))


class Reset(_Frozen, init=False):
    """The sender has closed the stream, and drops its data.

    :ivar id: The id in the frame's header.
    """

    TYPE: ClassVar[int] = 7
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
            return _HEADER.pack(0, 7, 0, self.id or None)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_RESET.write(self, version))


class Listen(_Frozen, init=False):
    """Asks the guest to open a listener, whose id is in the header.

    :ivar id: The id in the frame's header.
    :ivar port: The TCP port of the listener; 0 lets the guest choose a free port.
    """

    TYPE: ClassVar[int] = 8
    MAX_BODY: ClassVar[int] = 2

    __slots__ = __match_args__ = ("id", "port")

    id: int
    port: int

    def __new__(_cls, id: int, port: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.port = port
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIH.pack(2, 8, 0, self.id or None, self.port)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_LISTEN.write(self, version))


class Listening(_Frozen, init=False):
    """The guest has opened the listener.

    :ivar id: The id in the frame's header.
    :ivar port: The TCP port of the listener.
    """

    TYPE: ClassVar[int] = 9
    MAX_BODY: ClassVar[int] = 2

    __slots__ = __match_args__ = ("id", "port")

    id: int
    port: int

    def __new__(_cls, id: int, port: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.port = port
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIH.pack(2, 9, 0, self.id or None, self.port)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_LISTENING.write(self, version))


class NotListening(_Frozen, init=False):
    """The guest cannot open the listener.

    :ivar id: The id in the frame's header.
    :ivar error_number: The `errno`, as Linux numbers it.
    """

    TYPE: ClassVar[int] = 10
    MAX_BODY: ClassVar[int] = 4

    __slots__ = __match_args__ = ("id", "error_number")

    id: int
    error_number: int

    def __new__(_cls, id: int, error_number: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.error_number = error_number
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHII.pack(4, 10, 0, self.id or None, self.error_number)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_NOT_LISTENING.write(self, version))


class Accept(_Frozen, init=False):
    """Asks the guest to accept the next client of a listener.

    The id in the header becomes the id of the client's stream.

    :ivar id: The id in the frame's header.
    :ivar credit: Number of bytes that the guest may send before it gets more credit.
    :ivar listener: The id of the listener.
    """

    TYPE: ClassVar[int] = 11
    MAX_BODY: ClassVar[int] = 8

    __slots__ = __match_args__ = ("id", "credit", "listener")

    id: int
    credit: int
    listener: int

    def __new__(_cls, id: int, credit: int, listener: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.credit = credit
        _made.listener = listener
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIII.pack(8, 11, 0, self.id or None, self.credit, self.listener)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_ACCEPT.write(self, version))


class Accepted(_Frozen, init=False):
    """The guest has accepted a client.

    :ivar id: The id in the frame's header.
    :ivar credit: Number of bytes that the host may send before it gets more credit.
    """

    TYPE: ClassVar[int] = 12
    MAX_BODY: ClassVar[int] = 4

    __slots__ = __match_args__ = ("id", "credit")

    id: int
    credit: int

    def __new__(_cls, id: int, credit: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.credit = credit
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHII.pack(4, 12, 0, self.id or None, self.credit)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_ACCEPTED.write(self, version))


class NotAccepted(_Frozen, init=False):
    """The guest has accepted no client, because the listener is closed or because of an error.

    :ivar id: The id in the frame's header.
    :ivar error_number: The `errno`, as Linux numbers it. It is EINVAL if the listener does not
        exist, or if another `accept` waits at it.
    """

    TYPE: ClassVar[int] = 13
    MAX_BODY: ClassVar[int] = 4

    __slots__ = __match_args__ = ("id", "error_number")

    id: int
    error_number: int

    def __new__(_cls, id: int, error_number: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.error_number = error_number
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHII.pack(4, 13, 0, self.id or None, self.error_number)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_NOT_ACCEPTED.write(self, version))


Message: TypeAlias = (
    Connect
    | Connected
    | Refused
    | Data
    | Credit
    | Eof
    | Reset
    | Listen
    | Listening
    | NotListening
    | Accept
    | Accepted
    | NotAccepted
)


# Each layout is named after its format in `struct`; IHHI is the header.
_HEADER = struct.Struct("<IHHI")
_H = struct.Struct("<H")
_I = struct.Struct("<I")
_IH = struct.Struct("<IH")
_II = struct.Struct("<II")
_IHHIH = struct.Struct("<IHHIH")
_IHHII = struct.Struct("<IHHII")
_IHHIII = struct.Struct("<IHHIII")


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


def _decode_connect(id_: int, frame: bytes, start: int, end: int) -> Connect:
    try:
        credit, port = _IH.unpack_from(frame, start)
        path, at = _take(frame, start + 6, 107, False)
        if at != end:
            raise _Fallback
        return Connect.__new__(Connect, id_, credit, port, path)
    except _FALLBACK_ON:
        return _LAYOUT_CONNECT.read(id_, frame, start, end)


def _decode_connected(id_: int, frame: bytes, start: int, end: int) -> Connected:
    try:
        (credit,) = _I.unpack(frame[start:end])
        return Connected.__new__(Connected, id_, credit)
    except _FALLBACK_ON:
        return _LAYOUT_CONNECTED.read(id_, frame, start, end)


def _decode_refused(id_: int, frame: bytes, start: int, end: int) -> Refused:
    try:
        (error_number,) = _I.unpack(frame[start:end])
        return Refused.__new__(Refused, id_, error_number)
    except _FALLBACK_ON:
        return _LAYOUT_REFUSED.read(id_, frame, start, end)


def _decode_data(id_: int, frame: bytes, start: int, end: int) -> Data:
    try:
        data = memoryview(frame)[start:end]
        return Data.__new__(Data, id_, data)
    except _FALLBACK_ON:
        return _LAYOUT_DATA.read(id_, frame, start, end)


def _decode_credit(id_: int, frame: bytes, start: int, end: int) -> Credit:
    try:
        (amount,) = _I.unpack(frame[start:end])
        return Credit.__new__(Credit, id_, amount)
    except _FALLBACK_ON:
        return _LAYOUT_CREDIT.read(id_, frame, start, end)


def _decode_eof(id_: int, frame: bytes, start: int, end: int) -> Eof:
    del frame, start, end
    return Eof(id_)


def _decode_reset(id_: int, frame: bytes, start: int, end: int) -> Reset:
    del frame, start, end
    return Reset(id_)


def _decode_listen(id_: int, frame: bytes, start: int, end: int) -> Listen:
    try:
        (port,) = _H.unpack(frame[start:end])
        return Listen.__new__(Listen, id_, port)
    except _FALLBACK_ON:
        return _LAYOUT_LISTEN.read(id_, frame, start, end)


def _decode_listening(id_: int, frame: bytes, start: int, end: int) -> Listening:
    try:
        (port,) = _H.unpack(frame[start:end])
        return Listening.__new__(Listening, id_, port)
    except _FALLBACK_ON:
        return _LAYOUT_LISTENING.read(id_, frame, start, end)


def _decode_not_listening(id_: int, frame: bytes, start: int, end: int) -> NotListening:
    try:
        (error_number,) = _I.unpack(frame[start:end])
        return NotListening.__new__(NotListening, id_, error_number)
    except _FALLBACK_ON:
        return _LAYOUT_NOT_LISTENING.read(id_, frame, start, end)


def _decode_accept(id_: int, frame: bytes, start: int, end: int) -> Accept:
    try:
        credit, listener = _II.unpack(frame[start:end])
        return Accept.__new__(Accept, id_, credit, listener)
    except _FALLBACK_ON:
        return _LAYOUT_ACCEPT.read(id_, frame, start, end)


def _decode_accepted(id_: int, frame: bytes, start: int, end: int) -> Accepted:
    try:
        (credit,) = _I.unpack(frame[start:end])
        return Accepted.__new__(Accepted, id_, credit)
    except _FALLBACK_ON:
        return _LAYOUT_ACCEPTED.read(id_, frame, start, end)


def _decode_not_accepted(id_: int, frame: bytes, start: int, end: int) -> NotAccepted:
    try:
        (error_number,) = _I.unpack(frame[start:end])
        return NotAccepted.__new__(NotAccepted, id_, error_number)
    except _FALLBACK_ON:
        return _LAYOUT_NOT_ACCEPTED.read(id_, frame, start, end)


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


_LAYOUT_CONNECT = _Layout(
    Connect,
    "connect",
    _SOME_ID,
    _Field(1, "credit", _Number(_I)),
    _Field(2, "port", _Number(_H)),
    _Field(3, "path", _Bytes(107, nul=False)),
)
_LAYOUT_CONNECTED = _Layout(
    Connected,
    "connected",
    _SOME_ID,
    _Field(1, "credit", _Number(_I)),
)
_LAYOUT_REFUSED = _Layout(
    Refused,
    "refused",
    _SOME_ID,
    _Field(1, "error_number", _Number(_I)),
)
_LAYOUT_DATA = _Layout(
    Data,
    "data",
    _SOME_ID,
    _Field(1, "data", _Tail(65524)),
)
_LAYOUT_CREDIT = _Layout(
    Credit,
    "credit",
    _SOME_ID,
    _Field(1, "amount", _Number(_I)),
)
_LAYOUT_EOF = _Layout(Eof, "eof", _SOME_ID)
_LAYOUT_RESET = _Layout(Reset, "reset", _SOME_ID)
_LAYOUT_LISTEN = _Layout(
    Listen,
    "listen",
    _SOME_ID,
    _Field(1, "port", _Number(_H)),
)
_LAYOUT_LISTENING = _Layout(
    Listening,
    "listening",
    _SOME_ID,
    _Field(1, "port", _Number(_H)),
)
_LAYOUT_NOT_LISTENING = _Layout(
    NotListening,
    "not_listening",
    _SOME_ID,
    _Field(1, "error_number", _Number(_I)),
)
_LAYOUT_ACCEPT = _Layout(
    Accept,
    "accept",
    _SOME_ID,
    _Field(1, "credit", _Number(_I)),
    _Field(2, "listener", _Number(_I)),
)
_LAYOUT_ACCEPTED = _Layout(
    Accepted,
    "accepted",
    _SOME_ID,
    _Field(1, "credit", _Number(_I)),
)
_LAYOUT_NOT_ACCEPTED = _Layout(
    NotAccepted,
    "not_accepted",
    _SOME_ID,
    _Field(1, "error_number", _Number(_I)),
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
    _Rule(1, 1, _decode_connect, ("host",), _SOME_ID, 117),
    _Rule(2, 1, _decode_connected, ("guest",), _SOME_ID, 4),
    _Rule(3, 1, _decode_refused, ("guest",), _SOME_ID, 4),
    _Rule(4, 1, _decode_data, END_NAMES, _SOME_ID, 65524),
    _Rule(5, 1, _decode_credit, END_NAMES, _SOME_ID, 4),
    _Rule(6, 1, _decode_eof, END_NAMES, _SOME_ID, 0),
    _Rule(7, 1, _decode_reset, END_NAMES, _SOME_ID, 0),
    _Rule(8, 1, _decode_listen, ("host",), _SOME_ID, 2),
    _Rule(9, 1, _decode_listening, ("guest",), _SOME_ID, 2),
    _Rule(10, 1, _decode_not_listening, ("guest",), _SOME_ID, 4),
    _Rule(11, 1, _decode_accept, ("host",), _SOME_ID, 8),
    _Rule(12, 1, _decode_accepted, ("guest",), _SOME_ID, 4),
    _Rule(13, 1, _decode_not_accepted, ("guest",), _SOME_ID, 4),
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
