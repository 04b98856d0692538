"""Encode and decode messages of the protocol sensor, version 1.

Generated from sensor.toml by `microvm-proto gen`. This module does no I/O. Takes measurements on
request, one request at a time.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar, dataclass_transform

VERSION = 1
DIGEST = 0x0B032BFF4D772BC3
DIGESTS: Mapping[int, int] = {1: DIGEST}
HEADER_SIZE = 12
MAX_BODY = 68
END_NAMES = ("reader", "device")


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


class Channel(enum.IntEnum):
    """The quantity that is measured."""

    TEMPERATURE = 1
    """In thousandths of a degree Celsius."""
    HUMIDITY = 2
    """In thousandths of a per cent."""


class Refusal(enum.IntEnum):
    """The reason for which a frame is refused: a fault of a malformed frame, or one of these."""

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
    TOO_OFTEN = 64
    """The request asks for more measurements than the sensor takes at a time."""


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


class Identify(_Frozen):
    """Asks for the name and serial number."""

    TYPE: ClassVar[int] = 1
    MAX_BODY: ClassVar[int] = 0

    __slots__ = __match_args__ = ()

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _HEADER.pack(0, 1, 0, 0)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_IDENTIFY.write(self, version))


class Identity(_Frozen, init=False):
    """Answers `identify`.

    :ivar serial: The serial number.
    :ivar name: The name of the sensor in UTF-8. At most 64 bytes.
    """

    TYPE: ClassVar[int] = 2
    MAX_BODY: ClassVar[int] = 68

    __slots__ = __match_args__ = ("serial", "name")

    serial: int
    name: bytes | memoryview

    def __new__(_cls, serial: int, name: bytes | memoryview) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.serial = serial
        _made.name = name
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        return b"".join(self.encode_parts(version))

    def encode_parts(self, version: int = VERSION) -> tuple[bytes, bytes | memoryview]:
        """Encode the frame as two parts. The second part is `name` itself, not a copy.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            tail = _put_tail(self.name, 64)
            head = _IHHII.pack(4 + len(tail), 2, 0, 0, self.serial)
            return head, tail
        except _FALLBACK_ON:
            return _LAYOUT_IDENTITY.write(self, version)


class Measure(_Frozen, init=False):
    """Asks for measurements; all messages of the answer have its id.

    :ivar id: The id in the frame's header.
    :ivar channel: The quantity to measure.
    :ivar times: The number of measurements.
    """

    TYPE: ClassVar[int] = 3
    MAX_BODY: ClassVar[int] = 3

    __slots__ = __match_args__ = ("id", "channel", "times")

    id: int
    channel: Channel
    times: int

    def __new__(_cls, id: int, channel: Channel, times: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.channel = channel
        _made.times = times
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIBH.pack(3, 3, 0, self.id or None, _AS_CHANNEL[self.channel], self.times)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_MEASURE.write(self, version))


class Reading(_Frozen, init=False):
    """One measurement.

    :ivar id: The id in the frame's header.
    :ivar value: The measured value in the unit of the channel.
    """

    TYPE: ClassVar[int] = 4
    MAX_BODY: ClassVar[int] = 4

    __slots__ = __match_args__ = ("id", "value")

    id: int
    value: int

    def __new__(_cls, id: int, value: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.value = value
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIi.pack(4, 4, 0, self.id or None, self.value)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_READING.write(self, version))


class Done(_Frozen, init=False):
    """All measurements of a request have been sent.

    :ivar id: The id in the frame's header.
    """

    TYPE: ClassVar[int] = 5
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
            return _HEADER.pack(0, 5, 0, self.id or None)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_DONE.write(self, version))


class Refused(_Frozen, init=False):
    """Answers a frame that is refused.

    After a malformed frame, the device stops.

    :ivar id: The id in the frame's header.
    :ivar reason: The reason.
    :ivar offset: The position of the fault, in bytes from the start of the frame.
    """

    TYPE: ClassVar[int] = 6
    MAX_BODY: ClassVar[int] = 6

    __slots__ = __match_args__ = ("id", "reason", "offset")

    id: int
    reason: Refusal | int
    offset: int

    def __new__(_cls, id: int, reason: Refusal | int, offset: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.reason = reason
        _made.offset = offset
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _IHHIHI.pack(6, 6, 0, self.id, self.reason, self.offset)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_REFUSED.write(self, version))


Message: TypeAlias = Identify | Identity | Measure | Reading | Done | Refused


# Each layout is named after its format in `struct`; IHHI is the header.
_HEADER = struct.Struct("<IHHI")
_B = struct.Struct("<B")
_H = struct.Struct("<H")
_I = struct.Struct("<I")
_i = struct.Struct("<i")
_BH = struct.Struct("<BH")
_HI = struct.Struct("<HI")
_IHHII = struct.Struct("<IHHII")
_IHHIi = struct.Struct("<IHHIi")
_IHHIBH = struct.Struct("<IHHIBH")
_IHHIHI = struct.Struct("<IHHIHI")
_AS_CHANNEL = {int(value): value for value in Channel}
_AS_REFUSAL = {int(value): value for value in Refusal}


class _Fallback(Exception):
    pass


# The fast code of a message handles only valid input. If it raises one of these exceptions, the
# `_Layout` of the message, which checks every rule, encodes or decodes the message again.
_FALLBACK_ON = (_Fallback, struct.error, LookupError)


def _put_tail(value: bytes | memoryview, maximum: int) -> bytes | memoryview:
    if isinstance(value, memoryview):
        value = value.cast("B")
    if len(value) > maximum:
        raise _Fallback
    return value


def _decode_identify(id_: int, frame: bytes, start: int, end: int) -> Identify:
    del id_, frame, start, end
    return Identify()


def _decode_identity(id_: int, frame: bytes, start: int, end: int) -> Identity:
    try:
        (serial,) = _I.unpack_from(frame, start)
        if end < start + 4:
            raise _Fallback
        name = memoryview(frame)[start + 4 : end]
        return Identity.__new__(Identity, serial, name)
    except _FALLBACK_ON:
        return _LAYOUT_IDENTITY.read(id_, frame, start, end)


def _decode_measure(id_: int, frame: bytes, start: int, end: int) -> Measure:
    try:
        channel, times = _BH.unpack(frame[start:end])
        return Measure.__new__(Measure, id_, _AS_CHANNEL[channel], times)
    except _FALLBACK_ON:
        return _LAYOUT_MEASURE.read(id_, frame, start, end)


def _decode_reading(id_: int, frame: bytes, start: int, end: int) -> Reading:
    try:
        (value,) = _i.unpack(frame[start:end])
        return Reading.__new__(Reading, id_, value)
    except _FALLBACK_ON:
        return _LAYOUT_READING.read(id_, frame, start, end)


def _decode_done(id_: int, frame: bytes, start: int, end: int) -> Done:
    del frame, start, end
    return Done(id_)


def _decode_refused(id_: int, frame: bytes, start: int, end: int) -> Refused:
    try:
        reason, offset = _HI.unpack(frame[start:end])
        return Refused.__new__(Refused, id_, _AS_REFUSAL.get(reason, reason), offset)
    except _FALLBACK_ON:
        return _LAYOUT_REFUSED.read(id_, frame, start, end)


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


def _check_size(size: int, maximum: int) -> None:
    if size > maximum:
        reason = f"{size} bytes, but at most {maximum} are allowed"
        raise _Wrong(Fault.TOO_LONG, reason=reason)


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


_LAYOUT_IDENTIFY = _Layout(Identify, "identify", _NO_ID)
_LAYOUT_IDENTITY = _Layout(
    Identity,
    "identity",
    _NO_ID,
    _Field(1, "serial", _Number(_I)),
    _Field(2, "name", _Tail(64)),
)
_LAYOUT_MEASURE = _Layout(
    Measure,
    "measure",
    _SOME_ID,
    _Field(1, "channel", _Closed(_B, _AS_CHANNEL)),
    _Field(2, "times", _Number(_H)),
)
_LAYOUT_READING = _Layout(
    Reading,
    "reading",
    _SOME_ID,
    _Field(1, "value", _Number(_i)),
)
_LAYOUT_DONE = _Layout(Done, "done", _SOME_ID)
_LAYOUT_REFUSED = _Layout(
    Refused,
    "refused",
    _ANY_ID,
    _Field(1, "reason", _Open(_H, _AS_REFUSAL)),
    _Field(2, "offset", _Number(_I)),
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
    _Rule(1, 1, _decode_identify, ("reader",), _NO_ID, 0),
    _Rule(2, 1, _decode_identity, ("device",), _NO_ID, 68),
    _Rule(3, 1, _decode_measure, ("reader",), _SOME_ID, 3),
    _Rule(4, 1, _decode_reading, ("device",), _SOME_ID, 4),
    _Rule(5, 1, _decode_done, ("device",), _SOME_ID, 0),
    _Rule(6, 1, _decode_refused, ("device",), _ANY_ID, 6),
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
