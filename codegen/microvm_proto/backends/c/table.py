"""The style `table` of the C header: every message as rules, and functions that go through them.

With more than a few messages it is smaller than functions for each of them, and slower.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from microvm_proto.backends.c import encode, header, runtime
from microvm_proto.backends.c.reading import READING
from microvm_proto.backends.c.text import comment, literal
from microvm_proto.backends.c.writing import WRITING
from microvm_proto.schema import Message, Schema
from microvm_proto.types import (
    Array,
    Bool,
    ByteList,
    Bytes,
    Enum,
    Field,
    Flags,
    Float,
    Integer,
    List,
    Scalar,
    Struct,
    Tail,
    Text,
    Type,
)
from microvm_proto.variants import variant

_RULES = """
/* What a field is; the size of its value, or of its length or count, is in the low bits. */
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

/* A field of a message or struct. From `numbers` on there are
 * for ENUM, CONSTANT: how many ranges; of each its first and last value, and its version;
 * FLAGS: how many masks; of each its bits, and its version;
 * GROUP, which is a struct or an array: how many elements, the first field of one, how many fields
 * it has, and its size in memory;
 * OCTETS, which is an array of u8: how many;
 * BYTES, TEXT: the longest, and whether a NUL may be in it; TAIL: the longest;
 * BYTE_LIST: the most items, the longest, all of them together, and whether a NUL may be in one;
 * LIST: the most items, and the rest of a GROUP;
 * LATER, before a field that old versions do not have: since when, and what it is until then. */
struct @p@_field_rule {
	uint8_t kind;
	uint8_t number;
	@offset@ offset;
	@index@ numbers;
};

/* What a message is from the version `since` on, until a later rule of its type. */
struct @p@_rule {
	uint16_t type;
	@first@ first; /* of its fields */
	@longest@ max_body;
	uint8_t fields;
	uint8_t sender;
	uint8_t id; /* 0: none, 1: required, 2: any */
	@version@ since;
};
"""

_IDS = {"none": 0, "required": 1, "any": 2}
_Numbers: TypeAlias = tuple[int | str, ...]


def parts(schema: Schema) -> Iterator[str]:
    """Write what decodes and encodes the messages of a schema."""
    table = _Table(schema)
    yield table.rules()
    yield header.check(schema.framing)
    yield runtime.CHECKS
    yield table.functions()
    functions = [_functions(schema, message) for message in schema.messages]
    about = "What @p@_decode_body, @p@_check and @p@_encode do, for each message."
    yield comment(about) + "\n" + "\n\n".join(functions) if functions else ""


class _Table:
    """The rules of a schema's messages and fields, and the numbers that these refer to."""

    def __init__(self, schema: Schema) -> None:
        """Write down the rules of all messages, and of what is in them."""
        self._schema = schema
        self._kinds: set[str] = set()
        self._fields: list[str] = []
        self._numbers: list[int | str] = []
        self._places: dict[_Numbers, int] = {}
        self._elements: dict[Scalar | Struct, _Numbers] = {}
        self._messages = [rule for message in schema.messages for rule in self._message(message)]

    def rules(self) -> str:
        """Declare the tables."""
        # No message has the type 0, so that it can end the table.
        numbers = [", ".join(map(_written, each)) for each in self._places]
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
        """Write the functions that go through a message by its rules."""
        return self._fill(READING + WRITING)

    def _fill(self, text: str) -> str:
        """Leave out what no field and no frame needs, and write in the types."""
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
        text = variant(text, self._kinds | framing.features)
        return re.sub("@([a-z_]{2,})@", lambda name: written[name[1]], text)

    def _message(self, message: Message) -> Iterator[str]:
        """Write the rules of a message, one for each version in which it changed."""
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

    def _add(self, kind: str, size: int, number: int, offset: str, numbers: _Numbers) -> None:
        """Write the rule of a field; its numbers are those of another, where they are the same."""
        self._kinds.add(kind)
        place = self._places.setdefault(numbers, len(self._numbers))
        if place == len(self._numbers):
            self._numbers += numbers
        self._fields.append(f"{{ @P@_KIND_{kind} | {size}, {number}, {offset}, {place} }}")

    def _field(self, field: Field) -> tuple[str, int, _Numbers]:
        if field.equals is None:
            return self._kind(field.type)
        bits = _bits(field, field.equals)
        return "CONSTANT", field.max_size, (1, bits, bits, 1)

    def _kind(self, kind: Type) -> tuple[str, int, _Numbers]:
        """Return what a type is called here, the size of its value or prefix, and its numbers."""
        match kind:
            case Bool():
                return "ENUM", 1, (1, 0, 1, 1)
            case Enum(closed=True):
                return "ENUM", kind.size, _ranges(kind)
            case Flags(closed=True):
                return "FLAGS", kind.size, _masks(kind)
            case Float(finite=True):
                return "FINITE", kind.size, (0,)
            case Integer() | Enum() | Flags() | Float():
                return "ANY", kind.size, (0,)
            case Struct():
                return "GROUP", 0, (1, *self._of(kind))
            case Array(is_octets=True):
                return "OCTETS", 0, (kind.count,)
            case Array():
                return "GROUP", 0, (kind.count, *self._of(kind.element))
            case Bytes(prefix=prefix):
                return "BYTES", prefix.size, (kind.maximum, int(kind.nul))
            case Text(prefix=prefix):
                return "TEXT", prefix.size, (kind.maximum, int(kind.nul))
            case Tail():
                return "TAIL", 0, (kind.maximum,)
            case ByteList(prefix=prefix):
                bounds = (kind.max_items, kind.max_item, kind.max_total)
                return "BYTE_LIST", prefix.size, (*bounds, int(kind.nul))
            case List(prefix=prefix):
                return "LIST", prefix.size, (kind.max_items, *self._of(kind.element))

    def _of(self, element: Scalar | Struct) -> _Numbers:
        """Write the rules of an element's fields once, and return where they are."""
        if element not in self._elements:
            if isinstance(element, Struct):
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
    """Write the functions of one message."""
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

{encode.check_head(schema.name, message, framing)}
{{
\treturn @p@_check(version, {id_}, {body}, {type_});
}}

{encode.encode_head(schema.name, message, framing)}
{{
\treturn @p@_encode({", ".join(passed)});
}}"""


def _bits(field: Field, number: int) -> int:
    """Return what a number is on the wire, as an unsigned one."""
    return number & ((1 << 8 * field.max_size) - 1) if field.fixed else 0


def _written(number: int | str) -> str:
    return literal(number) if isinstance(number, int) else number


def _ranges(enum: Enum) -> _Numbers:
    """Return how many ranges an enum's values are in, and each: its ends and its version."""
    ranges: list[list[int]] = []
    wrapped = ((value.number % (1 << 8 * enum.size), value.since) for value in enum.values)
    for number, since in sorted(wrapped):
        if ranges and ranges[-1][1:] == [number - 1, since]:
            ranges[-1][1] = number
        else:
            ranges.append([number, number, since])
    return (len(ranges), *(number for each in ranges for number in each))


def _masks(flags: Flags) -> _Numbers:
    """Return how many masks the bits are in, one for each version, and each with its version."""
    masks: dict[int, int] = {}
    for bit in flags.bits:
        masks[bit.since] = masks.get(bit.since, 0) | bit.mask
    return (len(masks), *(number for since, mask in masks.items() for number in (mask, since)))


def _memory(kind: Type) -> tuple[int, int]:
    """Return the size and the alignment of a type in memory, with pointers of 64 bits."""
    match kind:
        case Integer() | Float() | Bool() | Enum() | Flags():
            return kind.size, kind.size
        case Array(element=element, count=count):
            size, alignment = _memory(element)
            return size * count, alignment
        case Struct(fields=fields):
            return _laid_out(fields)
    return 16, 8


def _laid_out(fields: Iterable[Field]) -> tuple[int, int]:
    """Return the size and the alignment of a struct in memory."""
    end, widest = 0, 1
    for field in fields:
        size, alignment = _memory(field.type)
        end += -end % alignment + size
        widest = max(widest, alignment)
    return end + -end % widest, widest


def _unsigned(most: int) -> str:
    """Return the smallest type that has room for the number."""
    return next(f"uint{bits}_t" for bits in (8, 16, 32, 64) if most < 1 << bits)
