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


def _frame(number: int, id_: int, parts: Iterable[bytes | memoryview]) -> bytes:
    body = b"".join(parts)
    return _HEADER.pack(len(body), number, 0, id_) + body


def _out_id(id_: int, least: int) -> int:
    if not least <= id_ <= 0xFFFFFFFF:
        raise EncodeError(Fault.BAD_ID, "id", f"{id_} is not between {least} and 2^32 - 1")
    return id_


def _closed(kind: type[_E], value: int, field: str) -> int:
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
    if not nul and b"\\0" in value:
        raise EncodeError(Fault.EMBEDDED_NUL, field, "contains a NUL byte")
    return _U32.pack(len(value)) + value


def _out_list(
    items: tuple[bytes, ...], bounds: tuple[int, int, int], nul: bool, field: str
) -> bytes:
    max_items, max_item, max_total = bounds
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


def _out_tail(value: bytes | memoryview, maximum: int, field: str) -> bytes | memoryview:
    if len(value) > maximum:
        reason = f"{len(value)} bytes, and at most {maximum} are allowed"
        raise EncodeError(Fault.TOO_LONG, field, reason)
    return value


def _fault(fault: Fault, at: int, number: int, field: str) -> DecodeError:
    return DecodeError(fault, HEADER_SIZE + at, number, field)


def _in_int(
    layout: struct.Struct, body: memoryview, at: int, number: int, field: str
) -> tuple[int, int]:
    end = at + layout.size
    if end > len(body):
        raise _fault(Fault.TRUNCATED, at, number, field)
    value: int = layout.unpack_from(body, at)[0]
    return value, end


def _in_closed(kind: type[_E], value: int, at: int, number: int, field: str) -> _E:
    try:
        return kind(value)
    except ValueError:
        raise _fault(Fault.UNKNOWN_VALUE, at, number, field) from None


def _in_open(kind: type[_E], value: int) -> _E | int:
    try:
        return kind(value)
    except ValueError:
        return value


def _in_bytes(
    body: memoryview, at: int, maximum: int, nul: bool, number: int, field: str
) -> tuple[bytes, int]:
    size, start = _in_int(_U32, body, at, number, field)
    if size > maximum:
        raise _fault(Fault.TOO_LONG, at, number, field)
    end = start + size
    if end > len(body):
        raise _fault(Fault.TRUNCATED, start, number, field)
    value = bytes(body[start:end])
    if not nul and (found := value.find(0)) >= 0:
        raise _fault(Fault.EMBEDDED_NUL, start + found, number, field)
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
        self._chunk = memoryview(b"".join((self._chunk, data)) if self._chunk else data)

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
            self._chunk = memoryview(b"")
            self._partial.clear()
            raise

    def _whole(self) -> Message | None:
        chunk = self._chunk
        if len(chunk) >= HEADER_SIZE:
            rule, id_, size = self._header(chunk)
            if len(chunk) >= size:
                self._chunk = chunk[size:]
                return rule.decode(id_, chunk[HEADER_SIZE:size])
        self._partial += chunk
        self._chunk = memoryview(b"")
        return None

    def _completed(self) -> Message | None:
        if not self._fill(HEADER_SIZE):
            return None
        rule, id_, size = self._header(self._partial)
        if not self._fill(size):
            return None
        frame = memoryview(bytes(self._partial))
        self._partial.clear()
        return rule.decode(id_, frame[HEADER_SIZE:])

    def _fill(self, size: int) -> bool:
        missing = size - len(self._partial)
        if missing > 0:
            self._partial += self._chunk[:missing]
            self._chunk = self._chunk[missing:]
        return len(self._partial) >= size

    def _header(self, frame: memoryview | bytearray) -> tuple[_Rule, int, int]:
        length, number, flags, id_ = _HEADER.unpack_from(frame)
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
        return rule, id_, HEADER_SIZE + length
'''
