"""Templates of the Python code that is the same for every schema, whatever its messages are."""

ERRORS = '''
class DecodeError(Exception):
@if cobs datagram check
    """The reason for which a frame was rejected. The decoder continues with the next frame.
@else
    """Raised if a frame is malformed. No further messages can be read from its stream.
@end

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
'''

TYPE_VARIABLE = '_T = TypeVar("_T")'

FROZEN = """
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
"""

FAST = """
# The encodings of frequent lengths. Looking up a length is faster than packing it.
_LENGTHS = tuple(_@I@.pack(length) for length in range(@frequent@))


class _Fallback(Exception):
    pass


# The fast code of a message handles only valid input. If it raises one of these exceptions, the
# `_Layout` of the message, which checks every rule, encodes or decodes the message again.
_FALLBACK_ON = (_Fallback, struct.error, LookupError@more@)


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
    (size,) = _@I@.unpack_from(frame, at)
    if size > maximum:
        raise _Fallback
    end = at + @4@ + size
    value = frame[at + @4@ : end]
    if not nul and 0 in value:
        raise _Fallback
    return value, end


def _take_list(frame: bytes, at: int, safe_size: int, nul: bool) -> tuple[tuple[bytes, ...], int]:
    (count,) = _@I@.unpack_from(frame, at)
    last = at + safe_size
    at += @4@
    if at + @4@ * count > last:
        raise _Fallback
    items = []
    for _ in range(count):
        (size,) = _@I@.unpack_from(frame, at)
        at += @4@ + size
        if at > last:
            raise _Fallback
        items.append(frame[at - size : at])
    if not nul and 0 in b"".join(items):
        raise _Fallback
    return tuple(items), at


def _put_numbers(numbers: Sequence[float], maximum: int, letter: str) -> bytes:
    if len(numbers) > maximum:
        raise _Fallback
    return _@I@.pack(len(numbers)) + struct.pack(f"<{len(numbers)}{letter}", *numbers)


def _put_structs(items: tuple[_T, ...], maximum: int, pack: Callable[[_T], bytes]) -> bytes:
    if len(items) > maximum:
        raise _Fallback
    return _@I@.pack(len(items)) + b"".join(map(pack, items))


def _take_items(frame: bytes, at: int, maximum: int, size: int) -> tuple[bytes, int]:
    (count,) = _@I@.unpack_from(frame, at)
    if count > maximum:
        raise _Fallback
    end = at + @4@ + count * size
    return frame[at + @4@ : end], end


def _numbers(letter: str, size: int, data: bytes) -> tuple[Any, ...]:
    return struct.unpack(f"<{len(data) // size}{letter}", data)


def _finite(*numbers: float) -> tuple[float, ...]:
    # If the sum is finite, none of the numbers is NaN or infinite.
    if not isfinite(sum(numbers)):
        raise _Fallback
    return numbers


def _exactly(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise _Fallback
    return value
"""

FLAGS = """
class _Flags(dict[int, Any]):
    # Maps numbers to instances of an `IntFlag`. Such a class keeps each combination of flags for
    # which it is called. After 1,024 combinations, instances are created without calling the class,
    # so that a peer cannot use up memory.
    def __init__(self, kind: type[enum.IntFlag], mask: int) -> None:
        super().__init__((int(flag), flag) for flag in kind)
        self.kind = kind
        self.mask = mask

    def __missing__(self, number: int) -> enum.IntFlag:
        if number & ~self.mask:
            raise KeyError(number)
        if len(self) < 1024:
            self[number] = flags = self.kind(number)
        else:
            flags = int.__new__(self.kind, number)
            flags._name_, flags._value_ = None, number
        return flags
"""

RULE = """
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
"""

DECODER = '''
class Decoder:
    """A decoder of the stream of bytes that one side sends.

    Pass each chunk of bytes to :meth:`receive_data`, then call :meth:`next_message` until it
    returns None. A chunk may begin and end anywhere. The decoder stores at most one frame in
    addition to the last chunk. It checks the length of a frame before it stores any of its body.
    """

@init@
        self._chunk = b""
        self._at = 0
        self._partial = bytearray()
        self._error: DecodeError | None = None

@version@

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
            @header@ = _HEADER.unpack_from(chunk, self._at)
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
        @header@ = _HEADER.unpack_from(self._partial)
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

@refused@
'''

INIT = '''
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
'''

VERSION = '''
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
'''

REFUSED = """
@if stream
    def _refused(self, length: int, number: int, flags: int, id_: int) -> DecodeError:
@else
    def _refused(self, number: int, id_: int) -> DecodeError:
@end
        if number not in self._rules:
            return DecodeError(Fault.UNKNOWN_TYPE, @type_at@)
        if number not in self._own:
            return DecodeError(Fault.BAD_DIRECTION, @type_at@)
@if stream
        if flags:
            return DecodeError(Fault.RESERVED_FLAGS, @flags_at@)
@end
        if id_ not in self._own[number].ids:
            return DecodeError(Fault.BAD_ID, @id_at@)
        return DecodeError(Fault.BODY_TOO_LONG, 0)
"""
