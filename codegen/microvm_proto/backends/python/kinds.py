"""Template of the Python classes that read, check and write values: one for each kind of type."""

KINDS = """
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


class _Finite(_Number):
    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        value, end = super().read(body, at, version)
        if not isfinite(value):
            raise _Wrong(Fault.NOT_FINITE, at)
        return value, end

    def write(self, value: Any, version: int) -> bytes:
        packed = super().write(value, version)
        if not isfinite(value):
            raise _Wrong(Fault.NOT_FINITE, reason=f"{value} is not finite")
        return packed


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


class _Absent(_Number):
    # A number or None, which is encoded as the number `absent`.
    def __init__(self, layout: struct.Struct, absent: int) -> None:
        super().__init__(layout)
        self.absent = absent

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        value, end = super().read(body, at, version)
        return None if value == self.absent else value, end

    def write(self, value: Any, version: int) -> bytes:
        return super().write(self.absent if value is None else value, version)


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


class _Bits(_Closed):
    # Flags. The keys of `sinces` are bits that later versions added, and its values these versions.
    def since(self, number: int) -> int:
        return max((since for bit, since in self.sinces.items() if number & bit), default=1)


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


class _Array(_Kind):
    def __init__(self, element: _Kind, count: int) -> None:
        self.element = element
        self.count = count

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        values = []
        for _ in range(self.count):
            value, at = self.element.read(body, at, version)
            values.append(value)
        return tuple(values), at

    def write(self, value: Any, version: int) -> bytes:
        _check_count(len(value), self.count, "elements")
        return b"".join([self.element.write(each, version) for each in value])


class _Struct(_Kind):
    def __init__(self, make: Callable[..., Any], /, **fields: _Kind) -> None:
        self.make = make
        self.fields = fields

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        values = {}
        for name, field in self.fields.items():
            values[name], at = field.read(body, at, version)
        return self.make(**values), at

    def write(self, value: Any, version: int) -> bytes:
        fields = self.fields.items()
        return b"".join([field.write(getattr(value, name), version) for name, field in fields])


def _prefix(body: memoryview, at: int) -> tuple[int, int]:
    try:
        return _@I@.unpack_from(body, at)[0], at + @4@
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
        return b"".join((_@I@.pack(len(value)), value))


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
        parts: list[bytes | memoryview] = [_@I@.pack(len(value))]
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
"""
