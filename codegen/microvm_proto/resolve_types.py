"""Turns the tables of types and fields in a schema file into the classes of the module `types`."""

from __future__ import annotations

import itertools
import math
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from microvm_proto import types, unknown_type
from microvm_proto.faults import FAULTS
from microvm_proto.load import Table
from microvm_proto.schema import MAX_BODY, Constant

_PREFIXES = ("u8", "u16", "u32")
_VARIABLE = ("bytes", "text", "list<bytes>", "tail")
_LIST = re.compile(r"list<(\w+)>", re.ASCII)
_MAX_DEPTH = 16
"""Maximum depth of structs that contain structs."""

_MAX_PARTS = 4096
"""Maximum number of fields in a struct or message, including the fields of structs in it."""

_MAX_TOTAL = 1 << 16
"""Maximum number of fields in all messages, including the fields of structs in them.

The size of the generated code is proportional to this number.
"""

_E = TypeVar("_E", bound=types.Enumerated)


def renamed(table: Table) -> types.Renamed:
    """Read `c_name` and `python_name`, the keys that give a declaration other names in code."""
    c, python = table.get("c_name", str, ""), table.get("python_name", str, "")
    return types.Renamed(c, python) if c or python else types.NOT_RENAMED


def prefix(protocol: Table) -> types.Integer:
    """Read the key `prefix` of a schema: the type of all lengths and counts."""
    name = protocol.get("prefix", str, "u32")
    if name not in _PREFIXES:
        names = ", ".join(f"`{known}`" for known in _PREFIXES)
        text = f"`prefix` cannot be `{name}`"
        protocol.error("bad-prefix", "prefix", text, f"write one of {names}")
        return types.INTEGERS["u32"]
    return types.INTEGERS[name]


class Types:
    """The types that a schema declares, and methods that read the fields which have these types."""

    def __init__(
        self, root: Table, prefix: types.Integer, since: Callable[[Table, int], int]
    ) -> None:
        """Read the enums, flags and structs in the table `root`; `since` reads their versions.

        :param prefix: Type of all lengths and counts.
        :param since: Function that reads the key `since` of a table, with a default.
        """
        self.prefix = prefix
        self.since = since
        self.constants: dict[str, Constant] = {}
        self.messages = [str(table.data.get("name")) for table in root.tables("message")]
        self.enums = tuple(self._enum(table) for table in root.tables("enum"))
        self.flags = tuple(self._flags(table) for table in root.tables("flags"))
        declared: list[types.Scalar] = [*self.enums, *self.flags]
        self._scalars = {
            kind.name: kind for kind in [*types.INTEGERS.values(), types.BOOL, *declared]
        }
        tables = [(str(table.data.get("name")), table) for table in root.tables("struct")]
        self._tables = dict(tables)
        self._structs: dict[str, types.Struct] = {}
        self._levels: dict[str, int] = {}  # number of structs in the deepest chain of each struct
        self._open: list[str] = []
        self._total = 0
        self.structs = tuple(self._struct(name) for name, _ in tables)

    def _enum(self, table: Table) -> types.Enum:
        extends = table.get("extends", str, "")
        if extends not in ("", "fault"):
            hint = 'write `extends = "fault"`, or remove `extends`'
            table.error("bad-extends", "extends", "an enum can only extend `fault`", hint)
        faults = FAULTS if extends == "fault" else ()
        inherited = tuple(types.Member(f.name, f.number, f.doc, 1) for f in faults)
        return self._enumerated(types.Enum, table, inherited)

    def _flags(self, table: Table) -> types.Flags:
        flags = self._enumerated(types.Flags, table)
        if flags.base.signed:
            hint = f"did you mean `u{8 * flags.size}`?"
            table.error("unknown-type", "type", "the type of flags must be unsigned", hint)
        return flags

    def _enumerated(
        self, kind: type[_E], table: Table, inherited: tuple[types.Member, ...] = ()
    ) -> _E:
        key, member_key, number_key = kind.KEYS
        members = (self._member(item, number_key) for item in table.tables(member_key))
        enumerated = kind(
            name=table.require("name", str),
            base=self._base(table, key),
            closed=table.require("closed", bool),
            doc=table.get("doc", str, "").strip(),
            members=(*inherited, *members),
            inherited=len(inherited),
            reserved=table.items("reserved", int),
            renamed=renamed(table),
        )
        table.done()
        return enumerated

    def _member(self, table: Table, number_key: str) -> types.Member:
        """Read a value of an enum or a bit of flags, whose number is at the key `number_key`."""
        member = types.Member(
            name=table.require("name", str),
            number=table.require(number_key, int),
            doc=table.get("doc", str, "").strip(),
            since=self.since(table, 1),
        )
        table.done()
        return member

    def _base(self, table: Table, kind: str) -> types.Integer:
        name = table.require("type", str)
        if name not in types.INTEGERS:
            hint = unknown_type.hint_of_base(name, kind)
            table.error("unknown-type", "type", f"unknown type `{name}`", hint)
        return types.INTEGERS.get(name, types.INTEGERS["u64"])

    def _struct(self, name: str) -> types.Struct:
        """Return the struct with this name, after reading it and the structs that it contains."""
        if name in self._structs:
            return self._structs[name]
        table = self._tables[name]
        self._open.append(table.require("name", str))
        made = types.Struct(
            name=name,
            doc=table.get("doc", str, "").strip(),
            fields=types.lay_out(self._struct_field(item) for item in table.tables("field")),
            renamed=renamed(table),
        )
        self._open.pop()
        if made.size > MAX_BODY:
            text = f"`{name}` has {made.size} bytes"
            table.error("frame-too-long", "name", text, f"a body has at most {MAX_BODY} bytes")
            made = replace(made, fields=())
        elif not self._has_room(table, made.fields):
            made = replace(made, fields=())
        table.done()
        self._structs[name] = made
        elements = (getattr(field.type, "element", field.type) for field in made.fields)
        nested = (self._levels[each.name] for each in elements if isinstance(each, types.Struct))
        self._levels[name] = 1 + max(nested, default=0)
        return made

    def _has_room(self, table: Table, fields: Iterable[types.Field]) -> int:
        """Return the number of fields, with those of structs in them; 0 and an error if too many.

        Without an error, the result is at least 1.
        """
        parts = (part for field in fields for part in types.within(field.type))
        count = sum(1 for _ in itertools.islice(parts, _MAX_PARTS + 1))
        if count <= _MAX_PARTS:
            return max(count, 1)
        text = f"there are more than {_MAX_PARTS} fields, including those of nested structs"
        table.error("too-many-fields", "name", text, "split it into two")
        return 0

    def fields(self, table: Table, oldest: int) -> tuple[types.Field, ...]:
        """Read a message's fields. The version `oldest` added the message, so no field is older."""
        fields = types.lay_out(self._field(item, oldest) for item in table.tables("field"))
        count = self._has_room(table, fields)
        self._total += count
        if self._total > _MAX_TOTAL >= self._total - count:
            text = f"up to this message, there are more than {_MAX_TOTAL} fields"
            hint = "split the protocol into two; the fields of nested structs count, too"
            table.error("too-many-fields", "name", text, hint)
        return fields if count and self._total <= _MAX_TOTAL else ()

    def _struct_field(self, table: Table) -> types.Field:
        kind = self.type(table)
        if isinstance(kind, types.Bytes | types.Text | types.ByteList | types.List | types.Tail):
            hint = "choose a type with a `count`, or move the field to the message"
            text = f"a struct has a fixed size, but `{table.data['type']}` has not"
            table.error("unsized-in-struct", "type", text, hint)
            kind = types.INTEGERS["u8"]
        field = replace(self._described(table, kind), absent=self._absent(table, kind))
        table.done()
        return field

    def _field(self, table: Table, oldest: int) -> types.Field:
        """Read a field of a message that the version `oldest` added."""
        kind = self.type(table)
        equals = self._equals(table, kind)
        since = self.since(table, oldest)
        default = 0 if equals is not None else self._default(table, kind, since, since > oldest)
        field = replace(
            self._described(table, kind),
            since=since,
            equals=equals,
            default=default,
            absent=self._absent(table, kind),
        )
        if field.absent is not None and equals is not None:
            text = "a field with `equals` is never absent"
            table.error("bad-absent", "absent", text, "remove `absent` or `equals`")
        table.done()
        return field

    def _described(self, table: Table, kind: types.Type) -> types.Field:
        minimum, maximum = types.sizes(kind)
        is_number = isinstance(getattr(kind, "element", kind), types.Integer | types.Float)
        scale = table.optional("scale", float) if is_number else None
        if scale is not None and (not math.isfinite(scale) or scale == 0):
            text = "`scale` must be a finite number other than 0"
            table.error("bad-scale", "scale", text, "such as `scale = 0.01`")
        return types.Field(
            name=table.require("name", str),
            type=kind,
            doc=table.get("doc", str, "").strip(),
            since=1,
            equals=None,
            offset=None,
            min_size=minimum,
            max_size=maximum,
            unit=table.get("unit", str, "") if is_number else "",
            scale=scale,
            renamed=renamed(table),
        )

    def _absent(self, table: Table, kind: types.Type) -> int | None:
        if not isinstance(kind, types.Integer):
            return None
        number = table.optional("absent", int)
        return number if number is None else _within(table, "absent", number, kind)

    def _equals(self, table: Table, kind: types.Type) -> int | None:
        """Read the key `equals`, the only valid value of a field: a number or a constant's name."""
        equals = self._equal_number(table)
        hint = "only a field of an integer type can have `equals`"
        if isinstance(kind, types.Integer):
            hint = "" if kind.minimum <= (equals or 0) <= kind.maximum else _range(kind)
        if equals is not None and hint:
            table.error("bad-constant", "equals", "the value does not fit the field's type", hint)
        return equals

    def _equal_number(self, table: Table) -> int | None:
        if not isinstance(table.data.get("equals"), str):
            return table.optional("equals", int)
        name = table.require("equals", str)
        constant = self.constants.get(name)
        if constant is not None and isinstance(constant.value, int):
            return constant.value
        numbers = [known.name for known in self.constants.values() if isinstance(known.value, int)]
        hint = f"known: {', '.join(numbers)}" if numbers else "declare it as a [[constant]]"
        table.error("bad-constant", "equals", f"no constant integer has the name `{name}`", hint)
        return None

    def _default(self, table: Table, kind: types.Type, since: int, is_later: bool) -> int:
        """Read a field's default: its value in versions before `since`, if the field `is_later`."""
        if isinstance(kind, types.Scalar) and "default" in table.data and not is_later:
            message = "`default` is useless: every version of the message has this field"
            hint = "remove it; only a field that a later version added needs a default"
            table.error("bad-default", "default", message, hint)
        match kind:
            case types.Integer():
                return _within(table, "default", table.get("default", int, 0), kind)
            case types.Float():
                return self._default_bits(table, kind)
            case types.Bool():
                return int(table.get("default", bool, False))
            case types.Enum():
                return self._default_value(table, kind, since, is_later)
            case types.Flags():
                names = table.items("default", str)
                bits = {bit.name: bit.mask for bit in kind.members if bit.since <= since}
                for name in names:
                    if name not in bits:
                        message = f"`{kind.name}` has no bit `{name}` in version {since}"
                        table.error("bad-default", "default", message, f"known: {', '.join(bits)}")
                return sum(bits.get(name, 0) for name in {*names})
        if is_later:
            self._check_zero(table, kind, since)
        return 0

    def _default_bits(self, table: Table, kind: types.Float) -> int:
        number = table.get("default", float, 0.0)
        try:
            data = struct.pack("<f" if kind.size == 4 else "<d", number)
        except OverflowError:
            data = bytes(kind.size)
            message = "the number does not fit the field's type"
            table.error("bad-default", "default", message, "choose a number in the range of `f32`")
        bits = int.from_bytes(data, "little")
        if bits & kind.exponent == kind.exponent:
            message = "`default` must be a finite number"
            table.error("bad-default", "default", message, "such as `default = 0.5`")
        return bits

    def _default_value(self, table: Table, kind: types.Enum, since: int, later: bool) -> int:
        name = table.get("default", str, "")
        numbers = {value.name: value.number for value in kind.members if value.since <= since}
        if "default" not in table.data:
            if kind.closed and later:
                hint = f"add `default = …`, one of {', '.join(numbers)}"
                message = "a later field with a closed enum needs a `default` for older versions"
                table.error("enum-default-missing", "type", message, hint)
            return 0
        if name not in numbers:
            message = f"`{kind.name}` has no value `{name}` in version {since}"
            table.error("bad-default", "default", message, f"known: {', '.join(numbers)}")
        return numbers.get(name, 0)

    def _check_zero(self, table: Table, kind: types.Type, since: int) -> None:
        """Check that a field of the type `kind`, which version `since` added, can be all zeros.

        Decoders use zeros for messages of older versions, which lack the field.
        """
        if isinstance(kind, types.List):
            return
        for enum in types.within(kind):
            if isinstance(enum, types.Enum) and enum.closed:
                zero = any(value.number == 0 and value.since <= since for value in enum.members)
                if not zero:
                    hint = f"add a value 0 to `{enum.name}`, or move the field to a new message"
                    message = (
                        f"the field is all zeros in older versions, but `{enum.name}` has no "
                        "value 0"
                    )
                    table.error("enum-default-missing", "type", message, hint)

    def type(self, table: Table) -> types.Type:
        """Read the key `type` of a field, and the keys for the bounds of the type."""
        name = table.require("type", str)
        match name:
            case "bytes" | "text":
                (maximum,) = self._bounds(table, "max")
                kind = types.Bytes if name == "bytes" else types.Text
                return kind(maximum, table.get("nul", bool, True), self._prefix(table, "max"))
            case "tail":
                (maximum,) = self._bounds(table, "max")
                return types.Tail(maximum)
            case "list<bytes>":
                items, item, total = self._bounds(table, "max_items", "max_item", "max_total")
                length = self._prefix(table, "max_items", "max_item")
                return types.ByteList(items, item, total, table.get("nul", bool, True), length)
        listed = _LIST.fullmatch(name)
        element = self._element(table, listed[1] if listed else name)
        if element is None:
            known = [*types.FLOATS, *_VARIABLE, *self._scalars, *self._tables]
            hint = unknown_type.hint(name, known, self.messages)
            table.error("unknown-type", "type", f"unknown type `{name}`", hint)
            table.known_keys += ["max", "max_items", "max_item", "max_total", "nul", "default"]
            table.known_keys += ["count", "finite", "absent", "unit", "scale"]
            return types.INTEGERS["u8"]
        if listed:
            (items,) = self._bounds(table, "max_items")
            return types.List(element, items, self._prefix(table, "max_items"))
        if "count" in table.data:
            return types.Array(element, self._bound(table, "count"))
        return element

    def _element(self, table: Table, name: str) -> types.Element | None:
        """Return the type called `name`; None if none exists or its size is not fixed."""
        if name in types.FLOATS:
            return replace(types.FLOATS[name], finite=table.get("finite", bool, False))
        if name in self._scalars:
            return self._scalars[name]
        if name not in self._tables:
            return None
        text = f"structs are nested deeper than {_MAX_DEPTH}"
        if name in self._open:
            text = f"`{self._open[0]}` contains itself"
        elif len(self._open) <= _MAX_DEPTH:
            found = self._struct(name)
            if not self._open or self._levels[name] <= _MAX_DEPTH:
                return found
        hint = f"flatten it: structs are not recursive, and one lies in at most {_MAX_DEPTH} others"
        table.error("recursive-struct", "type", text, hint)
        return types.INTEGERS["u8"]

    def _prefix(self, table: Table, *keys: str) -> types.Integer:
        """Return the type of lengths and counts, after checking that the bounds at `keys` fit."""
        for key in keys:
            bound = table.data.get(key)
            if (
                isinstance(bound, int)
                and self.prefix.maximum < bound <= types.INTEGERS["u32"].maximum
            ):
                message = f"{bound} does not fit a length or count of type `{self.prefix.name}`"
                hint = "lower it, or choose a larger type for `prefix` in [protocol]"
                table.error("bad-bound", key, message, hint)
        return self.prefix

    def _bounds(self, table: Table, *keys: str) -> list[int]:
        missing = [key for key in keys if key not in table.data]
        if missing:
            kind, wanted = table.data["type"], " and ".join(f"`{key}`" for key in missing)
            hint = f"add {' and '.join(f'`{key} = …`' for key in missing)}"
            table.error("unbounded", "type", f"`{kind}` needs {wanted}", hint)
        return [self._bound(table, key) for key in keys]

    def _bound(self, table: Table, key: str) -> int:
        bound = table.get(key, int, 1)
        if not 0 < bound <= types.INTEGERS["u32"].maximum:
            hint = "a field that is always empty is useless: remove it, or raise the bound"
            hint = hint if bound < 1 else f"a body has at most {MAX_BODY} bytes"
            table.error("bad-bound", key, f"`{key}` must be between 1 and 2^32 - 1", hint)
        return bound


def _within(table: Table, key: str, number: int, kind: types.Integer) -> int:
    """Return the number at a key. Record an error if it is not in the range of the type `kind`."""
    if not kind.minimum <= number <= kind.maximum:
        message = "the number does not fit the field's type"
        table.error(f"bad-{key}", key, message, _range(kind))
    return number


def _range(kind: types.Integer) -> str:
    return f"a `{kind.name}` is between {kind.minimum} and {kind.maximum}"
