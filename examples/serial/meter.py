"""Encode and decode messages of the protocol meter, version 1.

Generated from meter.toml by `microvm-proto gen`. This module does no I/O. Takes measurements on
request, over a line that sometimes flips bits.
"""

from __future__ import annotations

import binascii
import enum
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar, dataclass_transform

VERSION = 1
DIGEST = 0xEF242EB51E314B12
DIGESTS: Mapping[int, int] = {1: DIGEST}
HEADER_SIZE = 4
CHECK_SIZE = 2
MAX_BODY = 40
END_NAMES = ("reader", "meter")


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

    VOLTAGE = 1
    """In millivolts."""
    CURRENT = 2
    """In microamperes."""


class DecodeError(Exception):
    """The reason for which a frame was rejected. The decoder continues with the next frame.

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


class Identify(_Frozen, init=False):
    """Asks for the model and serial number.

    :ivar id: The id in the frame's header.
    """

    TYPE: ClassVar[int] = 1
    MAX_BODY: ClassVar[int] = 0

    __slots__ = __match_args__ = ("id",)

    id: int

    def __new__(_cls, id: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION, sequence: int = 0) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            head = _HEADER.pack(1, self.id or None, sequence & 0xFF)
            return _sealed(head, version)
        except _FALLBACK_ON:
            return _LAYOUT_IDENTIFY.frame(self, version, sequence)


class Identity(_Frozen, init=False):
    """Answers `identify`.

    :ivar id: The id in the frame's header.
    :ivar serial: The serial number.
    :ivar model: The model of the meter in ASCII. At most 32 bytes, without NUL.
    """

    TYPE: ClassVar[int] = 2
    MAX_BODY: ClassVar[int] = 40

    __slots__ = __match_args__ = ("id", "serial", "model")

    id: int
    serial: int
    model: bytes

    def __new__(_cls, id: int, serial: int, model: bytes) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.serial = serial
        _made.model = model
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION, sequence: int = 0) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            parts = (
                _I.pack(self.serial),
                _put(self.model, 32, False),
            )
            body = b"".join(parts)
            head = _HEADER.pack(2, self.id or None, sequence & 0xFF)
            return _sealed(head + body, version)
        except _FALLBACK_ON:
            return _LAYOUT_IDENTITY.frame(self, version, sequence)


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

    def encode(self, version: int = VERSION, sequence: int = 0) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            head = _BHBBH.pack(
                3, self.id or None, sequence & 0xFF, _AS_CHANNEL[self.channel], self.times
            )
            return _sealed(head, version)
        except _FALLBACK_ON:
            return _LAYOUT_MEASURE.frame(self, version, sequence)


class Reading(_Frozen, init=False):
    """One measurement.

    :ivar id: The id in the frame's header.
    :ivar tick: The number of the measurement since the meter was switched on, from 0.
    :ivar value: The measured value in the unit of the channel.
    """

    TYPE: ClassVar[int] = 4
    MAX_BODY: ClassVar[int] = 8

    __slots__ = __match_args__ = ("id", "tick", "value")

    id: int
    tick: int
    value: int

    def __new__(_cls, id: int, tick: int, value: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.tick = tick
        _made.value = value
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION, sequence: int = 0) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            head = _BHBIi.pack(4, self.id or None, sequence & 0xFF, self.tick, self.value)
            return _sealed(head, version)
        except _FALLBACK_ON:
            return _LAYOUT_READING.frame(self, version, sequence)


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

    def encode(self, version: int = VERSION, sequence: int = 0) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            head = _HEADER.pack(5, self.id or None, sequence & 0xFF)
            return _sealed(head, version)
        except _FALLBACK_ON:
            return _LAYOUT_DONE.frame(self, version, sequence)


class Status(_Frozen, init=False):
    """The counts of received frames since the meter was switched on; sent before `done`.

    :ivar id: The id in the frame's header.
    :ivar frames: The number of valid frames.
    :ivar bad: The number of frames that were refused.
    :ivar lost: The number of frames that are missing, by the numbers of the other frames.
    """

    TYPE: ClassVar[int] = 6
    MAX_BODY: ClassVar[int] = 12

    __slots__ = __match_args__ = ("id", "frames", "bad", "lost")

    id: int
    frames: int
    bad: int
    lost: int

    def __new__(_cls, id: int, frames: int, bad: int, lost: int) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.id = id
        _made.frames = frames
        _made.bad = bad
        _made.lost = lost
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION, sequence: int = 0) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            head = _BHB3I.pack(
                6, self.id or None, sequence & 0xFF, self.frames, self.bad, self.lost
            )
            return _sealed(head, version)
        except _FALLBACK_ON:
            return _LAYOUT_STATUS.frame(self, version, sequence)


Message: TypeAlias = Identify | Identity | Measure | Reading | Done | Status


# Each layout is named after its format in `struct`; BHB is the header.
_HEADER = struct.Struct("<BHB")
_B = struct.Struct("<B")
_H = struct.Struct("<H")
_I = struct.Struct("<I")
_i = struct.Struct("<i")
_3I = struct.Struct("<3I")
_BH = struct.Struct("<BH")
_Ii = struct.Struct("<Ii")
_BHB3I = struct.Struct("<BHB3I")
_BHBBH = struct.Struct("<BHBBH")
_BHBIi = struct.Struct("<BHBIi")
_AS_CHANNEL = {int(value): value for value in Channel}


def _crc(data: bytes) -> int:
    return binascii.crc_hqx(data, 0xFFFF)


_CODES = tuple(bytes([code]) for code in range(1, 256))


def _stuffed(frame: bytes) -> bytes:
    parts = []
    at = 0
    while True:
        zero = frame.find(0, at, at + 254)
        run = frame[at : at + 254 if zero < 0 else zero]
        parts.append(_CODES[len(run)])
        parts.append(run)
        at += len(run)
        if zero >= 0:
            at += 1
        elif at == len(frame):
            return b"".join((*parts, b"\0"))


def _unstuffed(data: bytes, most: int) -> bytes | None:
    # Decodes COBS; returns None if the data ends too early. If more than `most` bytes are decoded,
    # returns only `most` + 1 of them, so that the caller sees that the frame is too long.
    parts = []
    at, end = 0, len(data)
    while at < end:
        code = data[at]
        parts.append(data[at + 1 : at + code])
        at += code
        if code < 0xFF and at < end:
            parts.append(b"\0")
    bare = b"".join(parts)
    return None if at > end and len(bare) <= most else bare[: most + 1]


def _seed(version: int) -> int:
    # Returns the number with which checksums are XORed. It identifies the schema and version, so
    # that a decoder rejects frames of a sender that has another schema.
    return 0x644F


def _seed_of(frame: bytes) -> int:
    # Returns the number with which the sender has XORed the checksum of the frame.
    return _crc(frame[:-CHECK_SIZE]) ^ int.from_bytes(frame[-CHECK_SIZE:], "little")


def _sealed(frame: bytes, version: int) -> bytes:
    frame += (_crc(frame) ^ _seed(version)).to_bytes(CHECK_SIZE, "little")
    return _stuffed(frame)


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


def _take(frame: bytes, at: int, maximum: int, nul: bool) -> tuple[bytes, int]:
    (size,) = _I.unpack_from(frame, at)
    if size > maximum:
        raise _Fallback
    end = at + 4 + size
    value = frame[at + 4 : end]
    if not nul and 0 in value:
        raise _Fallback
    return value, end


def _decode_identify(id_: int, frame: bytes, start: int, end: int) -> Identify:
    del frame, start, end
    return Identify(id_)


def _decode_identity(id_: int, frame: bytes, start: int, end: int) -> Identity:
    try:
        (serial,) = _I.unpack_from(frame, start)
        model, at = _take(frame, start + 4, 32, False)
        if at != end:
            raise _Fallback
        return Identity.__new__(Identity, id_, serial, model)
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
        tick, value = _Ii.unpack(frame[start:end])
        return Reading.__new__(Reading, id_, tick, value)
    except _FALLBACK_ON:
        return _LAYOUT_READING.read(id_, frame, start, end)


def _decode_done(id_: int, frame: bytes, start: int, end: int) -> Done:
    del frame, start, end
    return Done(id_)


def _decode_status(id_: int, frame: bytes, start: int, end: int) -> Status:
    try:
        frames, bad, lost = _3I.unpack(frame[start:end])
        return Status.__new__(Status, id_, frames, bad, lost)
    except _FALLBACK_ON:
        return _LAYOUT_STATUS.read(id_, frame, start, end)


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


_NO_ID, _SOME_ID, _ANY_ID = range(1), range(1, 1 << 16), range(1 << 16)


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

    def write(self, message: Any, version: int, sequence: int) -> tuple[bytes, bytes | memoryview]:
        if version < self.since:
            reason = f"{self.name} was added in version {self.since}"
            raise EncodeError(Fault.UNKNOWN_TYPE, "type", reason)
        id_ = 0 if self.ids is _NO_ID else message.id
        if id_ not in self.ids:
            reason = f"{id_} is not between {self.ids.start} and 2^16 - 1"
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
        header = _HEADER.pack(message.TYPE, id_, sequence & 0xFF)
        return header + body, tail

    def frame(self, message: Any, version: int, sequence: int) -> bytes:
        parts = self.write(message, version, sequence)
        return _sealed(b"".join(parts), version)


_LAYOUT_IDENTIFY = _Layout(Identify, "identify", _SOME_ID)
_LAYOUT_IDENTITY = _Layout(
    Identity,
    "identity",
    _SOME_ID,
    _Field(1, "serial", _Number(_I)),
    _Field(2, "model", _Bytes(32, nul=False)),
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
    _Field(1, "tick", _Number(_I)),
    _Field(2, "value", _Number(_i)),
)
_LAYOUT_DONE = _Layout(Done, "done", _SOME_ID)
_LAYOUT_STATUS = _Layout(
    Status,
    "status",
    _SOME_ID,
    _Field(1, "frames", _Number(_I)),
    _Field(2, "bad", _Number(_I)),
    _Field(3, "lost", _Number(_I)),
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
    _Rule(1, 1, _decode_identify, ("reader",), _SOME_ID, 0),
    _Rule(2, 1, _decode_identity, ("meter",), _SOME_ID, 40),
    _Rule(3, 1, _decode_measure, ("reader",), _SOME_ID, 3),
    _Rule(4, 1, _decode_reading, ("meter",), _SOME_ID, 8),
    _Rule(5, 1, _decode_done, ("meter",), _SOME_ID, 0),
    _Rule(6, 1, _decode_status, ("meter",), _SOME_ID, 12),
)


class Encoder:
    """An encoder of the messages that one side sends. It numbers the frames."""

    def __init__(self, version: int = VERSION) -> None:
        """Create an encoder for the version that both sides agreed on."""
        self.version = version
        self._sequence = 0

    def encode(self, message: Message) -> bytes:
        """Encode the message as the next frame.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        frame = message.encode(self.version, self._sequence)
        self._sequence = (self._sequence + 1) & 0xFF
        return frame


class Decoder:
    """A decoder of the frames that one side sends. After a bad frame it continues with the next.

    Pass each chunk of bytes to :meth:`receive_data`, then call :meth:`next_message` until it
    returns None. A chunk may begin and end anywhere. The decoder stores at most one frame in
    addition to the last chunk. Counters never decrease. Byte counts are those on the wire.

    :ivar frames: Number of messages that were decoded.
    :ivar bad: Number of bad frames. A run of bytes that contains no frame counts as one.
    :ivar foreign: Number of bad frames whose wrong checksum is correct for the same seed as that of
        the frame before. This happens if the sender has another schema, but hardly ever if frames
        are damaged in transit.
    :ivar skipped: Number of bytes that were rejected.
    :ivar lost: Number of frames that are missing between the received sequence numbers.
    :ivar error: Error of the last frame or bytes that were rejected, or None.
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
        self.frames = self.bad = self.skipped = 0
        self.error: DecodeError | None = None
        self.foreign = 0
        self._seed = _seed(version)
        self.lost = 0
        self._next: int | None = None
        self._data = bytearray()
        self._at = 0
        self._longest = max((rule.max_body for rule in _RULES if sender in rule.senders), default=0)
        self._longest += HEADER_SIZE + CHECK_SIZE
        self._beyond = 0

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
        """Add the next bytes of the stream."""
        if self._beyond:
            end = data.find(0)
            self._beyond += len(data) if end < 0 else end
            data = b"" if end < 0 else data[end:]
        del self._data[: self._at]
        self._data += data
        self._at = 0

    def next_message(self) -> Message | None:
        """Return the next complete message, or None if more bytes are needed.

        A tail is a view of the bytes of its frame. All other values are copies.
        """
        while (end := self._data.find(0, self._at)) >= 0:
            stuffed = bytes(self._data[self._at : end])
            self._at = end + 1
            if stuffed:
                size = len(stuffed) + 1 + self._beyond
                self._beyond = 0
                frame = _unstuffed(stuffed, self._longest)
                if frame is None:
                    self._refuse(DecodeError(Fault.BAD_STUFFING, 0), size)
                elif (message := self._decoded(frame, size)) is not None:
                    return message
        # If a frame is too long, keep only as many bytes of it as are needed to reject it.
        most = self._longest + self._longest // 254 + 3
        self._beyond += max(0, len(self._data) - self._at - most)
        del self._data[self._at + most :]
        return None

    def _decoded(self, frame: bytes, size: int) -> Message | None:
        end = len(frame) - CHECK_SIZE
        try:
            if end < HEADER_SIZE:
                raise DecodeError(Fault.TRUNCATED, len(frame))
            number, id_, sequence = _HEADER.unpack_from(frame)
            rule = self._own.get(number)
            if rule is None or id_ not in rule.ids or end - HEADER_SIZE > rule.max_body:
                raise self._refused(number, id_)
            if (seed := _seed_of(frame)) != _seed(self.version):
                self._is_foreign(seed)
                raise DecodeError(Fault.BAD_CHECK, end)
            message = rule.decode(id_, frame, HEADER_SIZE, end)
        except DecodeError as error:
            self._refuse(error, size)
            return None
        self._accept(number, sequence)
        return message

    def _refuse(self, error: DecodeError, size: int) -> None:
        self.bad += 1
        self.skipped += size
        self.error = error

    def _accept(self, number: int, sequence: int) -> None:
        self.frames += 1
        self._seed = _seed(self.version)
        gap = (sequence - self._next) & 0xFF if self._next is not None else 0
        # If the number is lower than expected, the datagram is late, so no frame counts as lost.
        if gap < 128:
            self.lost += gap
            self._next = sequence + 1

    def _is_foreign(self, seed: int) -> bool:
        again = self._seed == seed
        self._seed = seed
        self.foreign += again
        return again

    def _refused(self, number: int, id_: int) -> DecodeError:
        if number not in self._rules:
            return DecodeError(Fault.UNKNOWN_TYPE, 0)
        if number not in self._own:
            return DecodeError(Fault.BAD_DIRECTION, 0)
        if id_ not in self._own[number].ids:
            return DecodeError(Fault.BAD_ID, 1)
        return DecodeError(Fault.BODY_TOO_LONG, 0)
