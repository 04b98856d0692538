"""Generate the C functions that handle enums, structs, and the elements of arrays and lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from microvm_proto import types
from microvm_proto.backends.c import values
from microvm_proto.backends.c.text import c_type, comment, uses
from microvm_proto.schema import Schema


def functions(schema: Schema) -> Iterator[str]:
    """Yield the C functions for enums, structs and elements, each after those that it calls."""
    fields = [field for message in schema.messages for field in message.fields]
    used = {kind.name for kind in _parts(fields) if isinstance(kind, types.Struct)}
    structs = [struct for struct in schema.structs_in_order if struct.name in used]
    arrays = [kind for kind in _parts(fields) if isinstance(kind, types.Array)]
    lists = [kind.element for kind in _parts(fields) if isinstance(kind, types.List)]
    in_arrays = [*_scalars(kind for kind in arrays if not kind.is_octets), *structs]
    yield from (_known(kind) for kind in schema.enumerated if kind.closed)
    for each in _distinct(in_arrays, values.checked):
        yield _take(each)
        if values.is_refusable(each):
            yield _fault_in(each)
    yield from map(_put, _distinct(in_arrays, values.suffix))
    if any(message.is_later(field) for message in schema.messages for field in message.fields):
        yield from map(_nonzero, _distinct([*_scalars(arrays), *structs], values.suffix))
    for each in _distinct(lists, values.checked):
        yield _take_items(each)
        yield _fault_of_items(each)
    for each in _distinct(lists, values.suffix):
        yield _next(each)
        yield _append(each)


def _parts(fields: Iterable[types.Field]) -> list[types.Type]:
    return [kind for field in fields for kind in types.within(field.type)]


def _distinct(
    kinds: Iterable[types.Element], name: Callable[[types.Element], str]
) -> Iterable[types.Element]:
    """Return one type of `kinds` for each name. The function `name` returns the name of a type."""
    return {name(kind): kind for kind in kinds}.values()


def _scalars(arrays: Iterable[types.Array]) -> list[types.Element]:
    return [array.element for array in arrays if not isinstance(array.element, types.Struct)]


def _fields(kind: types.Element, value: str = "value") -> Iterator[tuple[types.Type, str]]:
    """Yield the type and the C expression of each field of the struct at the C pointer `value`.

    If `kind` is a scalar, yield the scalar at the pointer.
    """
    if isinstance(kind, types.Struct):
        yield from ((field.type, f"{value}->{field.c_name}") for field in kind.fields)
    else:
        yield kind, f"*{value}"


def _known(kind: types.Enumerated) -> str:
    """Generate the C function that checks if a version of the protocol defines a value or bits."""
    name = f"@P@_{kind.c_name.upper()}"
    if isinstance(kind, types.Enum):
        terms = [(each.since, f"value == {name}_{each.name.upper()}") for each in kind.members]
        known = " ||\n\t\t".join(
            f"(version >= {since} && {term})" if since > 1 else term for since, term in terms
        )
        lines = [f"return {known};"]
    else:
        lines = ["uint64_t known = 0;", ""]
        for bit in kind.members:
            later = f"if (version >= {bit.since})\n\t\t" if bit.since > 1 else ""
            lines.append(f"{later}known |= {name}_{bit.name.upper()};")
        lines.append("return (value & ~known) == 0;")
    parameters = f"{c_type(kind)} value, uint32_t version"
    return _function(f"bool @p@_known_{kind.c_name}({parameters})", lines)


def _take(kind: types.Element) -> str:
    steps = [values.take(each, "cursor", "field", value) for each, value in _fields(kind)]
    joined = " &&\n\t\t".join(steps)
    return _function(
        f"bool @p@_take_each_{values.checked(kind)}(struct @p@_cursor *cursor, uint8_t field,\n"
        f"\tuint32_t version, uint32_t count, {c_type(kind)} *value)",
        ["for (; count > 0; count--, value++)", f"\tif (!({joined}))", "\t\treturn false;"],
        "return true;",
    )


def _fault_in(kind: types.Element) -> str:
    lines = [line for each, value in _fields(kind) for line in values.refusals(each, value)]
    declared = ["enum @p@_fault fault;", ""] if any("fault = " in line for line in lines) else []
    return _function(
        f"enum @p@_fault @p@_fault_in_{values.checked(kind)}(uint32_t version, uint32_t count,\n"
        f"\tconst {c_type(kind)} *value)",
        [*declared, *_each(lines)],
        "return @P@_FAULT_NONE;",
    )


def _put(kind: types.Element) -> str:
    lines = [line for each, value in _fields(kind) for line in values.put(each, value)]
    return _function(
        f"uint8_t *@p@_put_each_{values.suffix(kind)}(uint8_t *at, uint32_t count,\n"
        f"\tconst {c_type(kind)} *value)",
        _each(lines),
        "return at;",
    )


def _nonzero(kind: types.Element) -> str:
    terms = " ||\n\t\t\t".join(values.differs(each, value) for each, value in _fields(kind))
    return _function(
        f"bool @p@_nonzero_{values.suffix(kind)}(uint32_t count, const {c_type(kind)} *value)",
        _each([f"if ({terms})", "\treturn true;"]),
        "return false;",
    )


def _take_items(kind: types.Element) -> str:
    return _function(
        f"bool @p@_take_items_{values.checked(kind)}(struct @p@_cursor *cursor, uint8_t field,\n"
        "\tuint32_t version, struct @p@_list *list)",
        [
            "size_t start = cursor->at;",
            f"{c_type(kind)} item;",
            "",
            "for (uint32_t i = 0; i < list->count; i++)",
            f"\tif (!({values.take(kind, 'cursor', 'field', 'item')}))",
            "\t\treturn false;",
            "list->size = (uint32_t)(cursor->at - start);",
        ],
        "return true;",
    )


def _fault_of_items(kind: types.Element) -> str:
    name = values.checked(kind)
    about = "Returns the fault of a list whose items are encoded as in a frame, or FAULT_NONE."
    return comment(about) + _function(
        f"enum @p@_fault @p@_fault_of_items_{name}(uint32_t version,\n"
        "\tconst struct @p@_list *list, uint32_t max_items)",
        [
            "struct @p@_fault_at at = { @P@_FAULT_NONE, 0, 0 };",
            "struct @p@_cursor cursor = { list->items, (size_t)list->size, 0, &at };",
            "struct @p@_list items = *list;",
            "",
            "if (list->count > max_items)",
            "\treturn @P@_FAULT_TOO_MANY;",
            f"if (@p@_take_items_{name}(&cursor, 0, version, &items))",
            "\t@p@_end(&cursor);",
        ],
        "return at.fault;",
    )


def _next(kind: types.Element) -> str:
    name = values.suffix(kind)
    take = f"@p@_take_{'each_' if isinstance(kind, types.Struct) else ''}{name}(&cursor, 0, "
    take += "UINT32_MAX, 1, item);" if isinstance(kind, types.Struct) else "item);"
    about = "Reads the item at `*at` of a decoded list, and advances `*at` to the next item."
    return comment(about) + _function(
        f"void @p@_next_{name}(const uint8_t **at, {c_type(kind)} *item)",
        [
            "struct @p@_fault_at fault;",
            f"struct @p@_cursor cursor = {{ *at, {kind.size}, 0, &fault }};",
            "",
            take,
            f"*at += {kind.size};",
        ],
    )


def _append(kind: types.Element) -> str:
    about = (
        f"Writes an item of a list to `*at`, which must have room for {kind.size} bytes, and "
        "advances `*at` to the end of the item."
    )
    lines = values.put(kind, "*item")
    return comment(about) + _function(
        f"void @p@_append_{values.suffix(kind)}(uint8_t **at, const {c_type(kind)} *item)",
        [re.sub(r"\bat\b", "*at", line) for line in lines],
    )


def _each(lines: Iterable[str]) -> list[str]:
    """Return a C loop that runs the statements `lines` for each of `count` values.

    In these statements, the C pointer `value` points to the current value.
    """
    return ["for (; count > 0; count--, value++) {", *(f"\t{line}" for line in lines), "}"]


def _function(head: str, lines: Iterable[str], end: str = "") -> str:
    """Generate a C function with the signature `head`; its body is `lines`, then `end`."""
    body = [*lines, end] if end else [*lines]
    if "uint32_t version" in head and not uses("version", "\n".join(body)):
        body.insert(-1, "(void)version;")
    text = "".join(f"\t{line}\n" if line else "\n" for line in body)
    return f"static inline {head}\n{{\n{text}}}"
