"""Generate a C header whose codec is driven by tables (style `table`).

The header contains tables of rules that describe each message, and functions that interpret the
rules. If a schema has more than a few messages, this code is smaller than a decoder and an encoder
for each message (style `inline`), but slower.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from microvm_proto import types
from microvm_proto.backends.c import encode, header, runtime
from microvm_proto.backends.c.reading import READING
from microvm_proto.backends.c.text import comment, literal
from microvm_proto.backends.c.writing import WRITING
from microvm_proto.schema import Message, Schema
from microvm_proto.variants import variant

_RULES = """
/* The kind of a field. Its low four bits hold the size of the value, length or count in bytes. */
enum {
	@P@_KIND_ANY = 0x00,
	@P@_KIND_ENUM = 0x10,
	@P@_KIND_FLAGS = 0x20,
	@P@_KIND_FINITE = 0x30,
	@P@_KIND_CONSTANT = 0x40,
	@P@_KIND_GROUP = 0x50,
	@P@_KIND_OCTETS = 0x60,
	@P@_KIND_BYTES = 0x70,
	@P@_KIND_TEXT = 0x80,
	@P@_KIND_TAIL = 0x90,
	@P@_KIND_BYTE_LIST = 0xa0,
	@P@_KIND_LIST = 0xb0,
	@P@_KIND_LATER = 0xc0,
};

/* A field of a message or struct. Its parameters are in the table of numbers, from the index
 * `numbers` on. By the kind of the field they are:
 * ENUM, CONSTANT: number of ranges; for each its first value, last value, and first version
 * FLAGS: number of masks; for each its bits, and its first version
 * GROUP (a struct or an array): number of elements, index of the first field of an element, number
 * of fields of an element, size of an element in memory
 * OCTETS (an array of u8): number of bytes
 * BYTES, TEXT: maximum size, and 1 if NUL is allowed or else 0
 * TAIL: maximum size
 * BYTE_LIST: maximum number of items, maximum size of an item, maximum total size, and 1 if NUL is
 * allowed or else 0
 * LIST: maximum number of items, and all numbers of a GROUP but the first
 * LATER (precedes a field that older versions lack): first version of the field, and its value in
 * older versions */
struct @p@_field_rule {
	uint8_t kind;
	uint8_t number;
	@offset@ offset;
	@index@ numbers;
};

/* A rule for a message. It applies to all versions from `since` on, up to the next rule for the
 * same type. */
struct @p@_rule {
	uint16_t type;
	@first@ first; /* index of its first field */
	@longest@ max_body;
	uint8_t fields;
	uint8_t sender;
	uint8_t id; /* 0: must be zero, 1: must not be zero, 2: any */
	@version@ since;
};
"""

_IDS = {"none": 0, "required": 1, "any": 2}
_Numbers: TypeAlias = tuple[int | str, ...]


def parts(schema: Schema) -> Iterator[str]:
    """Generate the C tables and functions that decode and encode the messages of a schema."""
    table = _Table(schema)
    yield table.rules()
    yield header.check(schema.framing)
    yield runtime.CHECKS
    yield table.functions()
    functions = [_functions(schema, message) for message in schema.messages]
    about = (
        "Functions that call @p@_decode, @p@_check and @p@_encode with the type of each message."
    )
    yield comment(about) + "\n" + "\n\n".join(functions) if functions else ""


class _Table:
    """The C tables that describe each message: rules for its fields, and numbers such as bounds."""

    def __init__(self, schema: Schema) -> None:
        """Create the rules that tell C code how to read and write each message and its fields."""
        self._schema = schema
        self._kinds: set[str] = set()
        self._fields: list[str] = []
        self._numbers: list[int | str] = []
        self._indices: dict[_Numbers, int] = {}
        self._elements: dict[types.Element, _Numbers] = {}
        self._messages = [rule for message in schema.messages for rule in self._message(message)]

    def rules(self) -> str:
        """Generate the C declarations of the tables."""
        # No message has the number 0, so a row with this number marks the end of the table.
        numbers = [", ".join(map(_written, each)) for each in self._indices]
        tables = {
            "struct @p@_field_rule @p@_field_rules": self._fields or ["{ 0, 0, 0, 0 }"],
            "@number@ @p@_numbers": numbers or ["0"],
            "struct @p@_rule @p@_rules": [*self._messages, "{ 0, 0, 0, 0, 0, 0, 0 }"],
        }
        declared = (
            f"static const {head}[] = {{\n" + "".join(f"\t{row},\n" for row in rows) + "};"
            for head, rows in tables.items()
        )
        return self._fill("\n\n".join([_RULES.rstrip(), *declared]))

    def functions(self) -> str:
        """Generate the C functions that interpret the rules in the tables."""
        return self._fill(READING + WRITING)

    def _fill(self, text: str) -> str:
        """Fill in a C template: remove sections that are not needed, and replace placeholders."""
        schema, framing = self._schema, self._schema.framing
        structs = (_memory(struct)[0] for struct in schema.structs)
        numbers = (number for number in self._numbers if isinstance(number, int))
        most = {
            "number": max((*structs, *numbers), default=0),
            "index": len(self._numbers),
            "offset": max((_laid_out(m.visible)[0] for m in schema.messages), default=0),
            "first": len(self._fields),
            "longest": schema.max_body,
            "version": schema.version,
            "id": framing.max_id,
        }
        frame = "frame" if framing.kind == "cobs" else "out"
        values = {"type": "type", "id": "id"}
        written = {
            "none": ", NULL" if "LATER" in self._kinds else "",
            "sequence": "uint8_t sequence, " if framing.sequence else "",
            "frame": frame,
            "type_at": str(framing.offset("type")),
            "finish": "\n\t".join(encode.finish(framing, frame, values)),
            **{name: _unsigned(number) for name, number in most.items()},
        }
        text = variant(text, framing, self._kinds)
        return re.sub("@([a-z_]{2,})@", lambda name: written[name[1]], text)

    def _message(self, message: Message) -> Iterator[str]:
        """Add the rules for a message's fields, and yield a row for each version of the message."""
        fields = [(field, *self._field(field)) for field in message.fields]
        first = len(self._fields)
        for field, kind, size, numbers in fields:
            if message.is_later(field):
                self._add("LATER", 0, 0, "0", (field.since, _bits(field, field.default)))
            struct = f"struct @p@_{message.c_name}"
            offset = f"offsetof({struct}, {field.c_name})" if field.equals is None else "0"
            self._add(kind, size, field.number, offset, numbers)
        name = f"@P@_TYPE_{message.c_name.upper()}"
        about = f"{len(message.fields)}, @P@_{message.sender.upper()}, {_IDS[message.id]}"
        for version in message.versions:
            longest = message.at(version).max_body
            yield f"{{ {name}, {first}, {longest}, {about}, {version} }}"

    def _add(self, kind: str, size: int, field_number: int, offset: str, numbers: _Numbers) -> None:
        """Append the rule of a field to the C table. `numbers` are numbers such as its bounds.

        :param kind: Kind of the field's type, such as `ENUM`.
        :param size: Number of bytes of a scalar, or of the length before a value; otherwise 0.
        :param offset: C expression for the offset of the field in its C struct.
        :param numbers: Further numbers of the rule, such as bounds. Rules with the same numbers
            share one copy of them in the generated code.
        """
        self._kinds.add(kind)
        index = self._indices.setdefault(numbers, len(self._numbers))
        if index == len(self._numbers):
            self._numbers += numbers
        self._fields.append(f"{{ @P@_KIND_{kind} | {size}, {field_number}, {offset}, {index} }}")

    def _field(self, field: types.Field) -> tuple[str, int, _Numbers]:
        if field.equals is None:
            return self._kind(field.type)
        bits = _bits(field, field.equals)
        return "CONSTANT", field.max_size, (1, bits, bits, 1)

    def _kind(self, kind: types.Type) -> tuple[str, int, _Numbers]:
        """Return the rule of a type: its kind, such as `ENUM`, its size, and its bounds.

        The size is that of a number, or of the length that precedes a value.
        """
        match kind:
            case types.Bool():
                return "ENUM", 1, (1, 0, 1, 1)
            case types.Enum(closed=True):
                return "ENUM", kind.size, _ranges(kind)
            case types.Flags(closed=True):
                return "FLAGS", kind.size, _masks(kind)
            case types.Float(finite=True):
                return "FINITE", kind.size, (0,)
            case types.Integer() | types.Enumerated() | types.Float():
                return "ANY", kind.size, (0,)
            case types.Struct():
                return "GROUP", 0, (1, *self._element(kind))
            case types.Array(is_octets=True):
                return "OCTETS", 0, (kind.count,)
            case types.Array():
                return "GROUP", 0, (kind.count, *self._element(kind.element))
            case types.Bytes(prefix=prefix) | types.Text(prefix=prefix):
                return kind.name.upper(), prefix.size, (kind.maximum, int(kind.nul))
            case types.Tail():
                return "TAIL", 0, (kind.maximum,)
            case types.ByteList(prefix=prefix):
                bounds = (kind.max_items, kind.max_item, kind.max_total)
                return "BYTE_LIST", prefix.size, (*bounds, int(kind.nul))
            case types.List(prefix=prefix):
                return "LIST", prefix.size, (kind.max_items, *self._element(kind.element))

    def _element(self, element: types.Element) -> _Numbers:
        """Return the index of the table's rules for `element`; add the rules if they are missing.

        The result also has the number of these rules, and the size of an element in bytes.
        """
        if element not in self._elements:
            if isinstance(element, types.Struct):
                kinds = [(f.c_name, self._kind(f.type)) for f in element.fields]
                name = f"struct @p@_{element.c_name}"
                rules = [(f"offsetof({name}, {member})", kind) for member, kind in kinds]
                size: int | str = f"sizeof({name})"
            else:
                rules, size = [("0", self._kind(element))], element.size
            first = len(self._fields)
            for offset, (kind, width, numbers) in rules:
                self._add(kind, width, 0, offset, numbers)
            self._elements[element] = (first, len(rules), size)
        return self._elements[element]


def _functions(schema: Schema, message: Message) -> str:
    """Generate the C functions that decode, check and encode one message with the tables."""
    framing, name = schema.framing, message.c_name
    id_ = "id" if message.id != "none" else "0"
    body = "message" if message.visible else "NULL"
    type_ = f"@P@_TYPE_{name.upper()}"
    target = f"struct @p@_{name} *message, " if message.visible else ""
    passed = [
        "out",
        "room",
        "version",
        *(["sequence"] if framing.sequence else []),
        id_,
        body,
        type_,
    ]
    if framing.kind == "cobs":
        passed.append(str(framing.stuffing(message.max_body)))
    return f"""static inline bool @p@_decode_{name}(const uint8_t *body, size_t size,
\tuint32_t version, {target}struct @p@_fault_at *fault)
{{
\treturn @p@_decode(body, size, version, {body}, {type_}, fault);
}}

{encode.check_head(schema, message)}
{{
\treturn @p@_check(version, {id_}, {body}, {type_});
}}

{encode.encode_head(schema, message)}
{{
\treturn @p@_encode({", ".join(passed)});
}}"""


def _bits(field: types.Field, number: int) -> int:
    """Return the unsigned number that has the same bits as the field's value `number` on the wire.

    Return 0 if the size of the field varies, as that of a byte string does.
    """
    return number & ((1 << 8 * field.max_size) - 1) if field.fixed else 0


def _written(number: int | str) -> str:
    return literal(number) if isinstance(number, int) else number


def _ranges(enum: types.Enum) -> _Numbers:
    """Return the ranges of an enum's valid values, as a sequence of numbers for the C tables.

    The first number is the number of ranges. Three numbers follow for each range: its first value,
    its last value, and the version that added it.
    """
    ranges: list[list[int]] = []
    wrapped = ((value.number % (1 << 8 * enum.size), value.since) for value in enum.members)
    for number, since in sorted(wrapped):
        if ranges and ranges[-1][1:] == [number - 1, since]:
            ranges[-1][1] = number
        else:
            ranges.append([number, number, since])
    return (len(ranges), *(number for each in ranges for number in each))


def _masks(flags: types.Flags) -> _Numbers:
    """Return the valid bits of flags, as a sequence of numbers for the C tables.

    The first number is the number of masks. Two numbers follow for each version that added bits: a
    mask of these bits, and the version.
    """
    masks: dict[int, int] = {}
    for bit in flags.members:
        masks[bit.since] = masks.get(bit.since, 0) | bit.mask
    return (len(masks), *(number for since, mask in masks.items() for number in (mask, since)))


def _memory(kind: types.Type) -> tuple[int, int]:
    """Return a C type's size and alignment in memory, on machines with 64-bit pointers."""
    match kind:
        case types.Integer() | types.Float() | types.Bool() | types.Enumerated():
            return kind.size, kind.size
        case types.Array(element=element, count=count):
            size, alignment = _memory(element)
            return size * count, alignment
        case types.Struct(fields=fields):
            return _laid_out(fields)
    return 16, 8


def _laid_out(fields: Iterable[types.Field]) -> tuple[int, int]:
    """Return a C struct's size and alignment in memory, on machines with 64-bit pointers."""
    end, widest = 0, 1
    for field in fields:
        size, alignment = _memory(field.type)
        end += -end % alignment + size
        widest = max(widest, alignment)
    return end + -end % widest, widest


def _unsigned(maximum: int) -> str:
    """Return the smallest unsigned C type that can hold the number `maximum`."""
    return next(f"uint{bits}_t" for bits in (8, 16, 32, 64) if maximum < 1 << bits)
