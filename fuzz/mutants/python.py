"""Bugs in the Python codec, which the host runs."""

from __future__ import annotations

from . import Mutant

_CODEC = "host/microvm/wire/codec.py"

MUTANTS = (
    Mutant(
        "a value's bound is not checked on the fast path",
        _CODEC,
        "    (size,) = _I.unpack_from(frame, at)\n    if size > maximum:\n        raise _Fallback\n",
        "    (size,) = _I.unpack_from(frame, at)\n",
        "logic",
    ),
    Mutant(
        "a NUL is not looked for on the fast path",
        _CODEC,
        "    value = frame[at + 4 : end]\n    if not nul and 0 in value:\n        raise _Fallback\n",
        "    value = frame[at + 4 : end]\n",
        "logic",
    ),
    Mutant(
        "NULs in a list are not looked for",
        _CODEC,
        '    if not nul and 0 in b"".join(items):\n'
        "        raise _Fallback\n"
        "    return tuple(items), at",
        "    return tuple(items), at",
        "logic",
    ),
    Mutant(
        "a list runs on beyond its bounds",
        _CODEC,
        "        if at > last:\n            raise _Fallback\n        items.append",
        "        items.append",
        "logic",
    ),
    Mutant(
        "an item of a list lacks its last byte",
        _CODEC,
        "items.append(frame[at - size : at])",
        "items.append(frame[at - size : at - (size > 40)])",
        "logic",
    ),
    Mutant(
        "a hello without its magic is taken",
        _CODEC,
        "        if magic != 0xA6D766F7263696D:\n"
        "            raise _Fallback\n"
        "        return _LAYOUT_HELLO",
        "        return _LAYOUT_HELLO",
        "logic",
    ),
    Mutant(
        "what follows a resume is ignored",
        _CODEC,
        "        entropy, at = _take(frame, start + 8, 64, True)\n"
        "        if at != end:\n"
        "            raise _Fallback\n",
        "        entropy, at = _take(frame, start + 8, 64, True)\n",
        "logic",
    ),
    Mutant(
        "a truncated integer is blamed on its end",
        _CODEC,
        "            raise self.malformed(Fault.TRUNCATED, at) from None\n"
        "\n"
        "    def write(self, value: Any, version: int) -> bytes:\n"
        "        try:\n"
        "            return self.layout.pack(value)\n"
        "        except struct.error as error",
        "            raise self.malformed(Fault.TRUNCATED, len(body)) from None\n"
        "\n"
        "    def write(self, value: Any, version: int) -> bytes:\n"
        "        try:\n"
        "            return self.layout.pack(value)\n"
        "        except struct.error as error",
        "logic",
    ),
    Mutant(
        "the longest value is refused",
        _CODEC,
        "        if size > self.maximum:\n            raise self.malformed(Fault.TOO_LONG, at)",
        "        if size >= self.maximum:\n            raise self.malformed(Fault.TOO_LONG, at)",
        "logic",
    ),
    Mutant(
        "the place of a NUL is that of its value",
        _CODEC,
        "start + value.index(0))",
        "start)",
        "logic",
    ),
    Mutant(
        "a list's total is off by one",
        _CODEC,
        "            if end - start > self.total:",
        "            if end - start > self.total + 1:",
        "logic",
    ),
    Mutant(
        "a list's total is blamed on its first item",
        _CODEC,
        "raise self.malformed(Fault.TOTAL_TOO_LONG, at)",
        "raise self.malformed(Fault.TOTAL_TOO_LONG, start)",
        "logic",
    ),
    Mutant(
        "an item too many is taken",
        _CODEC,
        "        if count > self.items:",
        "        if count > self.items + 1:",
        "logic",
    ),
    Mutant(
        "trailing bytes are counted from the body",
        _CODEC,
        "raise DecodeError(Fault.TRAILING_BYTES, HEADER_SIZE + at)",
        "raise DecodeError(Fault.TRAILING_BYTES, at)",
        "logic",
    ),
    Mutant(
        "the decoder lets flags pass in a frame in pieces",
        _CODEC,
        "        length, number, flags, id_ = _HEADER.unpack_from(self._partial)\n"
        "        rule = self._own.get(number)\n"
        "        if rule is None or flags or",
        "        length, number, flags, id_ = _HEADER.unpack_from(self._partial)\n"
        "        rule = self._own.get(number)\n"
        "        if rule is None or",
        "logic",
    ),
    Mutant(
        "a frame in pieces can be longer than its type",
        _CODEC,
        "        if rule is None or flags or id_ not in rule.ids or length > rule.max_body:\n"
        "            raise self._refused(length, number, flags, id_)\n"
        "        if not self._fill",
        "        if rule is None or flags or id_ not in rule.ids:\n"
        "            raise self._refused(length, number, flags, id_)\n"
        "        if not self._fill",
        "logic",
    ),
    Mutant(
        "a piece is taken twice",
        _CODEC,
        "            self._at += len(piece)\n            if len(piece) < missing:",
        "            if len(piece) < missing:",
        "logic",
    ),
    Mutant(
        "what has been collected stays for the next frame",
        _CODEC,
        "        frame = bytes(self._partial)\n        self._partial.clear()\n",
        "        frame = bytes(self._partial)\n",
        "logic",
    ),
    Mutant(
        "a piece's rest is forgotten when more comes",
        _CODEC,
        "        if self._at < len(self._chunk):\n"
        '            data = b"".join((memoryview(self._chunk)[self._at :], data))\n',
        "",
        "logic",
    ),
    Mutant(
        "an id of 0 is taken",
        _CODEC,
        "_NO_ID, _SOME_ID, _ANY_ID = range(1), range(1, 1 << 32), range(1 << 32)",
        "_NO_ID, _SOME_ID, _ANY_ID = range(1), range(1 << 32), range(1 << 32)",
        "logic",
    ),
    Mutant(
        "flags come before the direction",
        _CODEC,
        "        if number not in self._own:\n"
        "            return DecodeError(Fault.BAD_DIRECTION, 4)\n"
        "        if flags:\n"
        "            return DecodeError(Fault.RESERVED_FLAGS, 6)\n",
        "        if flags:\n"
        "            return DecodeError(Fault.RESERVED_FLAGS, 6)\n"
        "        if number not in self._own:\n"
        "            return DecodeError(Fault.BAD_DIRECTION, 4)\n",
        "logic",
    ),
)
