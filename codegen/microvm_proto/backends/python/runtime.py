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

HELPERS = """
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
"""

LATER_FIELD = """
def _left_out(value: object, default: object, field: str, since: int) -> None:
    if value != default:
        reason = f"it came with version {since}, before which it can only be {default!r}"
        raise EncodeError(Fault.TRAILING_BYTES, field, reason)
"""

LATER_VALUE = """
def _not_later(since: Mapping[int, int], version: int, value: int, field: str) -> None:
    if since.get(value, 1) > version:
        raise EncodeError(Fault.UNKNOWN_VALUE, field, f"{value} came with version {since[value]}")


def _in_version(
    since: Mapping[int, int], version: int, value: int, at: int, number: int, field: str
) -> None:
    if since.get(value, 1) > version:
        raise _fault(Fault.UNKNOWN_VALUE, at, number, field)
"""

RULE = '''
@dataclass(frozen=True, slots=True)
class _Rule:
    """What a message is from the version `since` on, until another rule has its number."""

    number: int
    since: int
    decode: Callable[[int, memoryview], Message]
    sender: str
    id: str
    max_body: int
'''

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
'''
