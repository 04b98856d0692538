"""An importer, which converts MAVLink's message definitions into a schema.

The body of a message has the same bytes as the payload of the message in MAVLink 2, except that
MAVLink does not send zeros at the end of a payload, so append them before decoding. The schema does
not describe MAVLink's frames and checksums.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TypeAlias

from microvm_proto.importers.mavlink.dialect import (
    TYPES,
    Dialect,
    MavlinkEnum,
    MavlinkField,
    MavlinkMessage,
    read,
    sentences,
)
from microvm_proto.lint import FIELD_SUFFIX, FIELD_WORDS, nearest_name
from microvm_proto.released import Value, table
from microvm_proto.types import INTEGERS, Integer

_COMMENT = "# Made by `microvm-proto import mavlink`."
_MAX_PAYLOAD = 255
_INSTEAD_OF_0 = 65535
"""Number of MAVLink's message 0, the heartbeat, in the schema, which does not allow 0."""

_LIMIT = re.compile(r"(U?)INT(8|16|32|64)_(MIN|MAX)")
_NUMBER = re.compile(r"-?(?:\d{1,20}|0[xX][0-9a-fA-F]{1,16})")
_FACTOR = re.compile(r"(\d+(?:\.\d+)?(?:[eE]-?\d)?)(?:/([1-9]\d*))?")

_Keys: TypeAlias = Mapping[str, Value | None]
_Table: TypeAlias = tuple[str, _Keys]


@dataclass(frozen=True, slots=True)
class Imported:
    """The schema that was converted from MAVLink, and the definitions that could not be converted.

    :ivar left_out: One line for each definition that the schema lacks, which gives the reason.
    """

    text: str
    left_out: tuple[str, ...]


def import_(path: Path, name: str) -> Imported:
    """Convert the MAVLink definitions in the file at `path` into a schema called `name`."""
    conversion = _Conversion(read(path))
    tables = [*_heads(path.name, name), *conversion.enums(), *conversion.messages()]
    text = "\n\n".join([_COMMENT, *(table(head, keys) for head, keys in tables)]) + "\n"
    return Imported(text, tuple(conversion.left_out))


def _heads(source: str, name: str) -> Iterator[_Table]:
    doc = f"The messages of MAVLink's {source}. A body is a full-length payload of MAVLink 2."
    ends = ["vehicle", "station"]
    yield "[protocol]", {"name": name, "version": 1, "ends": ends, "doc": doc}
    yield "[[output]]", {"backend": "python", "file": f"{name}.py"}
    yield "[[output]]", {"backend": "c", "file": f"{name}.h"}


class _Conversion:
    """A conversion of MAVLink definitions into the TOML tables of a schema."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.left_out: list[str] = []
        self.names: dict[tuple[str, str], str] = {}
        self.fitting = [message for message in dialect.messages if self.fits(message)]

    def fits(self, message: MavlinkMessage) -> bool:
        size = sum(field.size * max(field.count, 1) for field in message.fields)
        obstacle = message.obstacle
        if size > _MAX_PAYLOAD:
            obstacle = f"it has {size} bytes, but the maximum is {_MAX_PAYLOAD}"
        elif not 0 <= message.number < _INSTEAD_OF_0:
            obstacle = f"its number is {message.number}, but the maximum is {_INSTEAD_OF_0 - 1}"
        if obstacle:
            self.left_out.append(f"{message.name}: {obstacle}")
        return not obstacle

    def enums(self) -> Iterator[_Table]:
        """Yield the schema's tables of enums. An enum of MAVLink can become several in the schema.

        MAVLink's enums have no integer type. If fields of several types use an enum, the schema has
        one enum for each type, and the first one keeps the name. An enum that no field uses gets
        the smallest type that fits its values.
        """
        types: dict[str, dict[str, None]] = {name: {} for name in self.dialect.enums}
        for message in self.fitting:
            for field in message.fields:
                if field.enum in types and (kind := TYPES[field.type]) in INTEGERS:
                    types[field.enum][kind] = None
        for enum in self.dialect.enums.values():
            for at, kind in enumerate(types[enum.name] or [_smallest(enum)]):
                name = f"{nearest_name(enum.name)}_{kind}" if at else nearest_name(enum.name)
                yield from self.enum(enum, name, INTEGERS[kind])

    def enum(self, enum: MavlinkEnum, name: str, base: Integer) -> Iterator[_Table]:
        """Yield the tables that declare a MAVLink enum in the schema, as `name` of type `base`.

        Yield nothing if all values are left out. A value is left out if it does not fit `base`,
        repeats a number, or has several bits in flags.
        """
        flags = enum.bitmask and not base.signed
        values: dict[int, _Keys] = {}
        for entry, short in zip(enum.entries, _without_prefix(enum), strict=True):
            number = entry.number
            if not base.minimum <= number <= base.maximum:
                self.left_out.append(f"{entry.name}: {number} does not fit {base.name}")
            elif number in values:
                self.left_out.append(f"{entry.name}: it is another name for {number}")
            elif flags and number.bit_count() > 1:
                self.left_out.append(f"{entry.name}: {number} is not one bit")
            elif number or not flags:  # 0 means that no bit is set, so it needs no name
                key = {"bit": number.bit_length() - 1} if flags else {"number": number}
                values[number] = {"name": short, **key, "doc": entry.doc or None}
        if values:
            self.names[enum.name, base.name] = name
            head, each = ("[[flags]]", "[[flags.bit]]") if flags else ("[[enum]]", "[[enum.value]]")
            doc = enum.doc or None
            yield head, {"name": name, "type": base.name, "closed": False, "doc": doc}
            yield from ((each, value) for value in values.values())

    def messages(self) -> Iterator[_Table]:
        """Yield the schema's tables of messages and of their fields."""
        for message in self.fitting:
            doc = sentences(message.doc, "" if message.number else "Its MAVLink number is 0")
            yield (
                "[[message]]",
                {
                    "name": nearest_name(message.name),
                    "number": message.number or _INSTEAD_OF_0,
                    "sender": "both",
                    "id": "none",
                    "doc": doc or None,
                },
            )
            yield from (("[[message.field]]", self.field(field)) for field in message.fields)

    def field(self, field: MavlinkField) -> _Keys:
        """Convert a field to keys of a schema. Properties without a key are added to `doc`."""
        kind = TYPES[field.type]
        enum = self.names.get((field.enum, kind))
        doc = [field.doc]
        if field.type == "char" and field.count:
            doc.append("Text, padded with zeros")
        if field.type == "uint8_t_mavlink_version" and self.dialect.version:
            doc.append(f"The sender sets it to {self.dialect.version}")
        scale = _scale(field.multiplier)
        if field.multiplier and scale is None:
            doc.append(f"Multiplier: {field.multiplier}")
        absent = None if enum or field.count else _absent(field.invalid, kind)
        if field.invalid and absent is None:
            doc.append(f"Invalid value: {field.invalid}")
        return {
            **_names_of_field(nearest_name(field.name)),
            "type": enum or kind,
            "count": field.count or None,
            "unit": field.unit or None,
            "scale": scale,
            "absent": absent,
            "doc": sentences(*doc) or None,
        }


def _names_of_field(name: str) -> _Keys:
    """Return the keys that name a field in the schema.

    They are `name`, and for each language that reserves this name, a key such as `c_name` with
    another name.
    """
    taken = (language for language, words in FIELD_WORDS.items() if name in words)
    others = {f"{language.lower()}_name": name + FIELD_SUFFIX for language in taken}
    return {"name": name, **others}


def _without_prefix(enum: MavlinkEnum) -> list[str]:
    """Return the names of an enum's values, without the first words, which repeat the enum's name.

    A name keeps one of these words if it would begin with a digit otherwise. All names stay
    unchanged if two of them would become equal.
    """
    names = [nearest_name(entry.name).split("_") for entry in enum.entries]
    columns = zip(nearest_name(enum.name).split("_"), *names, strict=False)
    shared = len(list(takewhile(lambda words: len({*words}) == 1, columns)))
    short = []
    for words in names:
        starts = (at for at in range(shared, 0, -1) if words[at:] and not words[at][0].isdigit())
        short.append("_".join(words[next(starts, 0) :]))
    return short if len({*short}) == len(short) else ["_".join(words) for words in names]


def _smallest(enum: MavlinkEnum) -> str:
    """Return the name of the smallest integer type that can hold every value of an enum.

    If no type can, the result is `u64`, and the values that do not fit are left out.
    """
    low = min((entry.number for entry in enum.entries), default=0)
    high = max((entry.number for entry in enum.entries), default=0)
    wide = (name for name, i in INTEGERS.items() if i.minimum <= low and high <= i.maximum)
    return next(wide, "u64")


def _absent(invalid: str, kind: str) -> int | None:
    """Return the number for "no value" from the MAVLink text `invalid`; None if it has none."""
    if kind not in INTEGERS:
        return None
    if limit := _LIMIT.fullmatch(invalid):
        integer = INTEGERS[f"{'u' if limit[1] else 'i'}{limit[2]}"]
        number = integer.maximum if limit[3] == "MAX" else integer.minimum
    elif _NUMBER.fullmatch(invalid):
        number = int(invalid, 16 if "x" in invalid.lower() else 10)
    else:
        return None
    return number if INTEGERS[kind].minimum <= number <= INTEGERS[kind].maximum else None


def _scale(multiplier: str) -> float | None:
    match = _FACTOR.fullmatch(multiplier)
    return float(match[1]) / int(match[2] or 1) if match else None
