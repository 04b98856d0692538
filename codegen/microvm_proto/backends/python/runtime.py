"""What every generated codec has, whatever its schema."""

ERRORS = '''
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
'''

MESSAGE = '''
_T = TypeVar("_T")

_MAKING = """
def __init__(_self, {parameters}):
    _become(_self, _thawed)
    {sets}
    _self.__class__ = _frozen

def make({parameters}):
    _self = _new(_thawed)
    {sets}
    _self.__class__ = _frozen
    return _self
"""


def _quickly_made(kind: type[_T]) -> type[_T]:
    # A frozen dataclass sets each field by a call, which takes most of a decoder's time. So an
    # instance is for a moment of a class with the same slots that is not frozen.
    made: Any = kind
    fields = dataclasses.fields(made)
    names = [field.name for field in fields if not field.kw_only]
    later = [field.name for field in fields if field.kw_only]
    scope: dict[str, Any] = {
        "_become": vars(object)["__class__"].__set__,
        "_frozen": kind,
        "_new": object.__new__,
        "_thawed": type(kind.__name__, (), {"__slots__": made.__slots__}),
    }
    parameters = ", ".join([*names, *(["*"] if later else []), *later])
    sets = "; ".join(f"_self.{name} = {name}" for name in (*names, *later))
    exec(_MAKING.format(parameters=parameters, sets=sets), scope)  # noqa: S102 - as dataclasses do
    slow, quick = made.__init__, scope["__init__"]
    quick.__defaults__, quick.__kwdefaults__ = slow.__defaults__, slow.__kwdefaults__
    made.__init__ = update_wrapper(quick, slow)
    made._make = scope["make"]
    return kind
'''

FAST = """
# The lengths that are frequent: looking one up is faster than packing it.
_LENGTHS = tuple(_I.pack(length) for length in range(1024))


class _Unsure(Exception):
    pass


# The code of each message is fast and knows only what is right from what may not be; that is done
# again by the message's layout, which knows every rule.
_UNSURE = (_Unsure, struct.error, LookupError)


def _put(value: bytes, maximum: int, nul: bool) -> bytes:
    if len(value) > maximum or (not nul and 0 in value):
        raise _Unsure
    return _LENGTHS[len(value)] + value


def _put_list(items: tuple[bytes, ...], sure: int, nul: bool) -> bytes:
    # A list that takes no more than `sure` bytes can break none of its bounds.
    parts = [_LENGTHS[len(items)]]
    for item in items:
        parts.append(_LENGTHS[len(item)])
        parts.append(item)
    packed = b"".join(parts)
    if len(packed) > sure or (not nul and 0 in b"".join(items)):
        raise _Unsure
    return packed


def _put_tail(value: bytes | memoryview, maximum: int) -> bytes | memoryview:
    if isinstance(value, memoryview):
        value = value.cast("B")
    if len(value) > maximum:
        raise _Unsure
    return value


def _take(frame: bytes, at: int, maximum: int, nul: bool) -> tuple[bytes, int]:
    (size,) = _I.unpack_from(frame, at)
    if size > maximum:
        raise _Unsure
    end = at + 4 + size
    value = frame[at + 4 : end]
    if not nul and 0 in value:
        raise _Unsure
    return value, end


def _take_list(frame: bytes, at: int, sure: int, nul: bool) -> tuple[tuple[bytes, ...], int]:
    (count,) = _I.unpack_from(frame, at)
    last = at + sure
    at += 4
    if at + 4 * count > last:
        raise _Unsure
    items = []
    for _ in range(count):
        (size,) = _I.unpack_from(frame, at)
        at += 4 + size
        if at > last:
            raise _Unsure
        items.append(frame[at - size : at])
    if not nul and 0 in b"".join(items):
        raise _Unsure
    return tuple(items), at
"""

PRECISE = """
class _Field:
    def __init__(self, number: int, name: str, *, since: int = 1, default: object = None) -> None:
        self.number = number
        self.name = name
        self.since = since
        self.default = default

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        raise NotImplementedError

    def write(self, value: Any, version: int) -> bytes | memoryview:
        raise NotImplementedError

    def malformed(self, fault: Fault, at: int) -> DecodeError:
        return DecodeError(fault, HEADER_SIZE + at, self.number, self.name)

    def refused(self, fault: Fault, reason: str) -> EncodeError:
        return EncodeError(fault, self.name, reason)

    def too_long(self, size: int, maximum: int) -> EncodeError:
        return self.refused(Fault.TOO_LONG, f"{size} bytes, and at most {maximum} are allowed")


class _Integer(_Field):
    def __init__(self, number: int, name: str, layout: struct.Struct, **later: Any) -> None:
        super().__init__(number, name, **later)
        self.layout = layout

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        try:
            return self.layout.unpack_from(body, at)[0], at + self.layout.size
        except struct.error:
            raise self.malformed(Fault.TRUNCATED, at) from None

    def write(self, value: Any, version: int) -> bytes:
        try:
            return self.layout.pack(value)
        except struct.error as error:
            raise self.refused(Fault.UNKNOWN_VALUE, f"{value}: {error}") from None


class _Constant(_Integer):
    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        value, end = super().read(body, at, version)
        if value != self.default:
            raise self.malformed(Fault.UNKNOWN_VALUE, at)
        return value, end


class _Open(_Integer):
    def __init__(
        self, number: int, name: str, layout: struct.Struct, kind: type[enum.IntEnum], **later: Any
    ) -> None:
        super().__init__(number, name, layout, **later)
        self.kind = kind

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        value, end = super().read(body, at, version)
        return self.kind._value2member_map_.get(value, value), end


class _Closed(_Open):
    # The values that came later than their enum have the version in `sinces`.
    def __init__(self, *field: Any, sinces: Mapping[int, int] | None = None, **later: Any) -> None:
        super().__init__(*field, **later)
        self.sinces = sinces or {}

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        value, end = super().read(body, at, version)
        if not isinstance(value, self.kind) or self.sinces.get(value, 1) > version:
            raise self.malformed(Fault.UNKNOWN_VALUE, at)
        return value, end

    def write(self, value: Any, version: int) -> bytes:
        if (since := self.sinces.get(value, 1)) > version:
            raise self.refused(Fault.UNKNOWN_VALUE, f"{value} came with version {since}")
        try:
            return self.layout.pack(self.kind(value))
        except ValueError as error:
            raise self.refused(Fault.UNKNOWN_VALUE, str(error)) from None


class _Bytes(_Field):
    def __init__(self, number: int, name: str, maximum: int, *, nul: bool, **later: Any) -> None:
        super().__init__(number, name, **later)
        self.maximum = maximum
        self.nul = nul

    def prefix(self, body: memoryview, at: int) -> tuple[int, int]:
        try:
            return _I.unpack_from(body, at)[0], at + 4
        except struct.error:
            raise self.malformed(Fault.TRUNCATED, at) from None

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        size, start = self.prefix(body, at)
        if size > self.maximum:
            raise self.malformed(Fault.TOO_LONG, at)
        end = start + size
        if end > len(body):
            raise self.malformed(Fault.TRUNCATED, start)
        value = body[start:end].tobytes()
        if not self.nul and 0 in value:
            raise self.malformed(Fault.EMBEDDED_NUL, start + value.index(0))
        return value, end

    def write(self, value: Any, version: int) -> bytes:
        if len(value) > self.maximum:
            raise self.too_long(len(value), self.maximum)
        if not self.nul and 0 in value:
            raise self.refused(Fault.EMBEDDED_NUL, "contains a NUL byte")
        return b"".join((_I.pack(len(value)), value))


class _List(_Bytes):
    def __init__(self, *field: Any, items: int, total: int, **more: Any) -> None:
        super().__init__(*field, **more)
        self.items = items
        self.total = total

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        count, start = self.prefix(body, at)
        if count > self.items:
            raise self.malformed(Fault.TOO_MANY, at)
        items = []
        at = start
        for _ in range(count):
            item, end = super().read(body, at, version)
            if end - start > self.total:
                raise self.malformed(Fault.TOTAL_TOO_LONG, at)
            items.append(item)
            at = end
        return tuple(items), at

    def write(self, value: Any, version: int) -> bytes:
        if len(value) > self.items:
            reason = f"{len(value)} items, and at most {self.items} are allowed"
            raise self.refused(Fault.TOO_MANY, reason)
        parts = [_I.pack(len(value))]
        total = 0
        for item in value:
            parts.append(super().write(item, version))
            total += len(parts[-1])
            if total > self.total:
                reason = f"{total} bytes or more in all, and at most {self.total} are allowed"
                raise self.refused(Fault.TOTAL_TOO_LONG, reason)
        return b"".join(parts)


class _Tail(_Field):
    def __init__(self, number: int, name: str, maximum: int, **later: Any) -> None:
        super().__init__(number, name, **later)
        self.maximum = maximum

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        if len(body) - at > self.maximum:
            raise self.malformed(Fault.TOO_LONG, at)
        return body[at:], len(body)

    def write(self, value: Any, version: int) -> bytes | memoryview:
        flat: bytes | memoryview = value.cast("B") if isinstance(value, memoryview) else value
        if len(flat) > self.maximum:
            raise self.too_long(len(flat), self.maximum)
        return flat


_NO_ID, _SOME_ID, _ANY_ID = range(1), range(1, 1 << 32), range(1 << 32)


class _Layout(Generic[_T]):
    # Reads and writes a message field by field, with every rule, as any version has it.
    def __init__(
        self, kind: Callable[..., _T], name: str, ids: range, *fields: _Field, since: int = 1
    ) -> None:
        self.kind = kind
        self.make: Callable[..., _T] = getattr(kind, "_make", kind)
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
                value, at = field.read(body, at, version)
            if not isinstance(field, _Constant):
                values[field.name] = value
        if at != len(body):
            raise DecodeError(Fault.TRAILING_BYTES, HEADER_SIZE + at)
        return self.kind(**values)

    def write(self, message: Any, version: int) -> tuple[bytes, bytes | memoryview]:
        if version < self.since:
            reason = f"{self.name} came with version {self.since}"
            raise EncodeError(Fault.UNKNOWN_TYPE, "type", reason)
        parts: list[bytes | memoryview] = []
        tail: bytes | memoryview = b""
        for field in self.fields:
            value = getattr(message, field.name, field.default)
            if field.since <= version:
                parts.append(tail)
                tail = field.write(value, version)
            elif value != field.default:
                only = f"before which it can only be {field.default!r}"
                reason = f"it came with version {field.since}, {only}"
                raise field.refused(Fault.TRAILING_BYTES, reason)
        id_ = 0 if self.ids is _NO_ID else message.id
        if id_ not in self.ids:
            reason = f"{id_} is not between {self.ids.start} and 2^32 - 1"
            raise EncodeError(Fault.BAD_ID, "id", reason)
        body = b"".join(parts)
        return _HEADER.pack(len(body) + len(tail), message.TYPE, 0, id_) + body, tail
"""

RULE = """
@dataclass(frozen=True, slots=True)
class _Rule:
    # What a message is from the version `since` on, until another rule has its number.
    number: int
    since: int
    decode: Callable[[int, bytes, int, int], Message]
    senders: tuple[str, ...]
    ids: range
    max_body: int
"""

DECODER = '''
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
        self._chunk = b""
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
        self._own = {n: rule for n, rule in self._rules.items() if self._sender in rule.senders}

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes of the stream; messages may refer to `data` without a copy."""
        if self._error is not None:
            return
        if self._at < len(self._chunk):
            data = self._chunk[self._at :] + data
        self._chunk = data if type(data) is bytes else bytes(data)
        self._at = 0

    def next_message(self) -> Message | None:
        """Return the next whole message, or None when more bytes are needed.

        A tail is a view of the bytes that were fed; everything else is a copy.

        :raises DecodeError: the stream is malformed here; every later call raises it again.
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
'''
