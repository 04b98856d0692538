"""Generate C statements that decode, check or encode one value, or compare it with its default."""

from __future__ import annotations

from collections.abc import Iterator

from microvm_proto.backends.c.text import address, boolean, c_type, literal
from microvm_proto.types import (
    U32,
    Array,
    Bool,
    ByteList,
    Bytes,
    Enum,
    Flags,
    Float,
    Integer,
    List,
    Scalar,
    Struct,
    Tail,
    Text,
    Type,
    within,
)


def stored(kind: Scalar | Struct) -> str:
    """Return the end of the names of C functions that accept any number for a closed enum.

    They also accept bits without a name in flags, and NaN and the infinities in floats. For an
    enum, the result is the name of its integer type, such as `u8`.
    """
    match kind:
        case Enum(base=base) | Flags(base=base):
            return base.name
        case Struct():
            return kind.c_name
        case _:
            return kind.name


def checked(kind: Scalar | Struct) -> str:
    """Return the end of the names of C functions that refuse unnamed numbers for a closed enum.

    They also refuse bits without a name in closed flags, and NaN and the infinities in finite
    floats. For all other types, the result is that of :func:`stored`.
    """
    match kind:
        case Enum(closed=True) | Flags(closed=True):
            return kind.c_name
        case Float(finite=True):
            return f"finite_{kind.name}"
        case _:
            return stored(kind)


def take(kind: Type, cursor: str, number: str, value: str) -> str:
    """Generate a C condition that decodes a value at the cursor, and is true if it is valid.

    :param cursor: C expression for a pointer to the cursor, the position in the body.
    :param number: C expression for the number of the field, which is reported with a fault.
    :param value: C expression for the variable that receives the value.
    """
    here, into = f"{cursor}, {number}", address(value)
    match kind:
        case Enum(base=base, closed=True) | Flags(base=base, closed=True):
            known = f"@p@_known_{kind.c_name}({value}, version)"
            taken = f"@p@_take_{base.name}({here}, {into})"
            return f"{taken} &&\n\t\t@p@_known({here}, {base.size}, {known})"
        case Float(name=name, finite=True):
            finite = f"@p@_finite({here}, {kind.size}, @p@_is_finite_{name}({into}))"
            return f"@p@_take_{name}({here}, {into}) &&\n\t\t{finite}"
        case Integer() | Float() | Bool() | Enum() | Flags():
            return f"@p@_take_{stored(kind)}({here}, {into})"
        case Struct():
            return f"@p@_take_each_{kind.c_name}({here}, version, 1, {into})"
        case Array(count=count, is_octets=True):
            return f"@p@_take_octets({here}, {count}, {value})"
        case Array(element=element, count=count):
            return f"@p@_take_each_{checked(element)}({here}, version, {count}, {value})"
        case Bytes(maximum=maximum, nul=nul):
            return f"@p@_take_bytes({here}, {maximum}, {boolean(nul)}, {into})"
        case Text(maximum=maximum, nul=nul):
            return f"@p@_take_text({here}, {maximum}, {boolean(nul)}, {into})"
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            bounds = f"{items}, {item}, {total}"
            return f"@p@_take_list({here}, {bounds},\n\t\t\t{boolean(nul)}, {into})"
        case List(element=element, max_items=items):
            counted = f"@p@_take_count({here}, {items}, {into})"
            return f"{counted} &&\n\t\t@p@_take_items_{checked(element)}({here}, version, {into})"
        case Tail(maximum=maximum):
            return f"@p@_take_tail({here}, {maximum}, {into})"


def refusals(kind: Type, value: str, there: str = "") -> Iterator[str]:
    """Yield C statements that return a fault if `there` is true, and decoders refuse `value`.

    :param there: C condition that is true if the frame contains the value; empty if every frame
        does.
    """
    condition = f"{there} && " if there else ""
    otherwise, instead = (f"{there} ? ", " : @P@_FAULT_NONE") if there else ("", "")
    fault = ""
    match kind:
        case Enum(closed=True) | Flags(closed=True):
            known = f"@p@_known_{kind.c_name}({value}, version)"
            yield from refuse_if(f"{condition}!{known}", "unknown_value")
        case Float(name=name, finite=True):
            yield from refuse_if(
                f"{condition}!@p@_is_finite_{name}({address(value)})", "not_finite"
            )
        case Bytes(maximum=maximum, nul=False):
            fault = f"@p@_check_bytes(&{value}, {maximum})"
        case Text(maximum=maximum, nul=nul):
            fault = f"@p@_check_text(&{value}, {maximum}, {boolean(nul)})"
        # Do not compare a size, which has 32 bits, with the highest number of 32 bits. No size can
        # exceed that number, so compilers would warn about the comparison.
        case Bytes(maximum=maximum) | Tail(maximum=maximum) if maximum < U32.maximum:
            yield from refuse_if(f"{condition}{value}.size > {maximum}", "too_long")
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            fault = f"@p@_check_list(&{value}, {items}, {item}, {total}, {boolean(nul)})"
        case List(element=element, max_items=items):
            fault = f"@p@_fault_of_items_{checked(element)}(version, &{value}, {items})"
        case Struct() if is_refusable(kind):
            fault = f"@p@_fault_in_{kind.c_name}(version, 1, {address(value)})"
        case Array(element=element, count=count) if is_refusable(kind):
            fault = f"@p@_fault_in_{checked(element)}(version, {count}, {value})"
    if fault:
        yield from (f"fault = {otherwise}{fault}{instead};", "if (fault)", "\treturn fault;")


def is_refusable(kind: Type) -> bool:
    """Return True if a C variable of this type can hold values that decoders refuse.

    The type must have a fixed size.
    """
    return any(
        (isinstance(each, Enum | Flags) and each.closed)
        or (isinstance(each, Float) and each.finite)
        for each in within(kind)
    )


def refuse_if(condition: str, fault: str) -> list[str]:
    """Return the C statement that returns a fault if the condition is true."""
    return [f"if ({condition})", f"\treturn @P@_FAULT_{fault.upper()};"]


def put(kind: Type, value: str) -> Iterator[str]:
    """Yield the C statements that write a value at the pointer `at`, and advance the pointer."""
    match kind:
        case Float(name=name, size=size):
            yield f"at = @p@_put(at, {size}, @p@_bits_of_{name}({address(value)}));"
        case Integer(size=size):
            yield f"at = @p@_put(at, {size}, (uint64_t){value});"
        case Bool(size=size):
            yield f"at = @p@_put(at, {size}, {value} ? 1 : 0);"
        case Enum(base=base) | Flags(base=base):
            yield from put(base, value)
        case Struct():
            yield f"at = @p@_put_each_{kind.c_name}(at, 1, {address(value)});"
        case Array(count=count, is_octets=True):
            yield f"at = @p@_put_bytes(at, {value}, {count});"
        case Array(element=element, count=count):
            yield f"at = @p@_put_each_{stored(element)}(at, {count}, {value});"
        case Bytes(prefix=prefix) | Text(prefix=prefix):
            yield f"at = @p@_put(at, {prefix.size}, {value}.size);"
            yield f"at = @p@_put_bytes(at, {value}.data, {value}.size);"
        case ByteList(prefix=prefix) | List(prefix=prefix):
            yield f"at = @p@_put(at, {prefix.size}, {value}.count);"
            yield f"at = @p@_put_bytes(at, {value}.items, {value}.size);"
        case Tail():
            yield f"at = @p@_put_bytes(at, {value}.data, {value}.size);"


def differs(kind: Type, value: str, default: int = 0) -> str:
    """Return a C condition that is true if a value differs from its default.

    The default is the value that the field has in versions of the protocol without the field.
    """
    match kind:
        case Bytes() | Text() | Tail():
            return f"{value}.size != 0"
        case ByteList() | List():
            return f"({value}.count != 0 || {value}.size != 0)"
        case Float(name=name):
            return f"@p@_bits_of_{name}({address(value)}) != {literal(default)}"
        case Bool():
            return f"!{value}" if default else value
        case Struct():
            return f"@p@_nonzero_{kind.c_name}(1, {address(value)})"
        case Array(element=element, count=count):
            return f"@p@_nonzero_{stored(element)}({count}, {value})"
        case _:
            return f"{value} != {literal(default)}"


def assign(kind: Type, value: str, default: int) -> str:
    """Return the C expression that sets a value to its default, for messages without the value."""
    match kind:
        case Bytes() | Text() | Tail():
            return f"{value} = @p@_no_slice()"
        case ByteList() | List():
            return f"{value} = @p@_no_list()"
        case Float(name=name):
            return f"@p@_set_{name}(&{value}, {literal(default)})"
        case Bool():
            return f"{value} = {boolean(default == 1)}"
        case Struct() | Array():
            return f"memset(&{value}, 0, sizeof {value})"
        case _:
            return f"{value} = ({c_type(kind)}){literal(default)}"
