"""Generate C statements that decode, check or encode one value, or compare it with its default."""

from __future__ import annotations

from collections.abc import Iterator

from microvm_proto import types
from microvm_proto.backends.c.text import address, boolean, c_type, literal


def suffix(kind: types.Element) -> str:
    """Return the suffix of C functions that handle a type without checks, such as `u8`."""
    match kind:
        case types.Enumerated(base=base):
            return base.name
        case types.Struct():
            return kind.c_name
        case _:
            return kind.name


def checked(kind: types.Element) -> str:
    """Return the suffix of C functions that also check a type's values, such as `finite_f32`."""
    match kind:
        case types.Enumerated(closed=True):
            return kind.c_name
        case types.Float(finite=True):
            return f"finite_{kind.name}"
        case _:
            return suffix(kind)


def take(kind: types.Type, cursor: str, field_number: str, target: str) -> str:
    """Generate a C condition that decodes a field from `cursor` into `target`; false if invalid.

    All parameters except `kind` are C expressions. The field's number is reported with a fault.
    """
    here, into = f"{cursor}, {field_number}", address(target)
    match kind:
        case types.Enumerated(base=base, closed=True):
            known = f"@p@_known_{kind.c_name}({target}, version)"
            taken = f"@p@_take_{base.name}({here}, {into})"
            return f"{taken} &&\n\t\t@p@_known({here}, {base.size}, {known})"
        case types.Float(name=name, finite=True):
            finite = f"@p@_finite({here}, {kind.size}, @p@_is_finite_{name}({into}))"
            return f"@p@_take_{name}({here}, {into}) &&\n\t\t{finite}"
        case types.Integer() | types.Float() | types.Bool() | types.Enumerated():
            return f"@p@_take_{suffix(kind)}({here}, {into})"
        case types.Struct():
            return f"@p@_take_each_{kind.c_name}({here}, version, 1, {into})"
        case types.Array(count=count, is_octets=True):
            return f"@p@_take_octets({here}, {count}, {target})"
        case types.Array(element=element, count=count):
            return f"@p@_take_each_{checked(element)}({here}, version, {count}, {target})"
        case types.Bytes(maximum=maximum, nul=nul) | types.Text(maximum=maximum, nul=nul):
            return f"@p@_take_{kind.name}({here}, {maximum}, {boolean(nul)}, {into})"
        case types.ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            bounds = f"{items}, {item}, {total}"
            return f"@p@_take_list({here}, {bounds},\n\t\t\t{boolean(nul)}, {into})"
        case types.List(element=element, max_items=items):
            counted = f"@p@_take_count({here}, {items}, {into})"
            return f"{counted} &&\n\t\t@p@_take_items_{checked(element)}({here}, version, {into})"
        case types.Tail(maximum=maximum):
            return f"@p@_take_tail({here}, {maximum}, {into})"


def refusals(kind: types.Type, value: str, is_sent: str = "") -> Iterator[str]:
    """Yield C statements that return a fault if `value` is sent and a decoder would refuse it.

    The C condition `is_sent` is true if the frame contains the value; it is empty if every frame
    does.
    """
    condition = f"{is_sent} && " if is_sent else ""
    otherwise, instead = (f"{is_sent} ? ", " : @P@_FAULT_NONE") if is_sent else ("", "")
    fault = ""
    match kind:
        case types.Enumerated(closed=True):
            known = f"@p@_known_{kind.c_name}({value}, version)"
            yield from refuse_if(f"{condition}!{known}", "unknown_value")
        case types.Float(name=name, finite=True):
            yield from refuse_if(
                f"{condition}!@p@_is_finite_{name}({address(value)})", "not_finite"
            )
        case types.Bytes(maximum=maximum, nul=False):
            fault = f"@p@_check_bytes(&{value}, {maximum})"
        case types.Text(maximum=maximum, nul=nul):
            fault = f"@p@_check_text(&{value}, {maximum}, {boolean(nul)})"
        # Do not compare a size, which has 32 bits, with the highest number of 32 bits. No size can
        # exceed that number, so compilers would warn about the comparison.
        case types.Bytes(maximum=maximum) | types.Tail(maximum=maximum) if (
            maximum < types.U32.maximum
        ):
            yield from refuse_if(f"{condition}{value}.size > {maximum}", "too_long")
        case types.ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            fault = f"@p@_check_list(&{value}, {items}, {item}, {total}, {boolean(nul)})"
        case types.List(element=element, max_items=items):
            fault = f"@p@_fault_of_items_{checked(element)}(version, &{value}, {items})"
        case types.Struct() if is_refusable(kind):
            fault = f"@p@_fault_in_{kind.c_name}(version, 1, {address(value)})"
        case types.Array(element=element, count=count) if is_refusable(kind):
            fault = f"@p@_fault_in_{checked(element)}(version, {count}, {value})"
    if fault:
        yield from (f"fault = {otherwise}{fault}{instead};", "if (fault)", "\treturn fault;")


def is_refusable(kind: types.Type) -> bool:
    """Return True if C variables of `kind`, a type of fixed size, can hold invalid values."""
    return any(
        (isinstance(each, types.Enumerated) and each.closed)
        or (isinstance(each, types.Float) and each.finite)
        for each in types.within(kind)
    )


def refuse_if(condition: str, fault: str) -> list[str]:
    """Return a C `if` statement that returns the fault called `fault` if `condition` is true."""
    return [f"if ({condition})", f"\treturn @P@_FAULT_{fault.upper()};"]


def put(kind: types.Type, value: str) -> Iterator[str]:
    """Yield the C statements that encode `value` at the pointer `at`, and advance the pointer."""
    match kind:
        case types.Float(name=name, size=size):
            yield f"at = @p@_put(at, {size}, @p@_bits_of_{name}({address(value)}));"
        case types.Integer(size=size):
            yield f"at = @p@_put(at, {size}, (uint64_t){value});"
        case types.Bool(size=size):
            yield f"at = @p@_put(at, {size}, {value} ? 1 : 0);"
        case types.Enumerated(base=base):
            yield from put(base, value)
        case types.Struct():
            yield f"at = @p@_put_each_{kind.c_name}(at, 1, {address(value)});"
        case types.Array(count=count, is_octets=True):
            yield f"at = @p@_put_bytes(at, {value}, {count});"
        case types.Array(element=element, count=count):
            yield f"at = @p@_put_each_{suffix(element)}(at, {count}, {value});"
        case types.Bytes(prefix=prefix) | types.Text(prefix=prefix):
            yield f"at = @p@_put(at, {prefix.size}, {value}.size);"
            yield f"at = @p@_put_bytes(at, {value}.data, {value}.size);"
        case types.ByteList(prefix=prefix) | types.List(prefix=prefix):
            yield f"at = @p@_put(at, {prefix.size}, {value}.count);"
            yield f"at = @p@_put_bytes(at, {value}.items, {value}.size);"
        case types.Tail():
            yield f"at = @p@_put_bytes(at, {value}.data, {value}.size);"


def differs(kind: types.Type, value: str, default: int = 0) -> str:
    """Return a C condition that is true if the C expression `value` differs from `default`."""
    match kind:
        case types.Bytes() | types.Text() | types.Tail():
            return f"{value}.size != 0"
        case types.ByteList() | types.List():
            return f"({value}.count != 0 || {value}.size != 0)"
        case types.Float(name=name):
            return f"@p@_bits_of_{name}({address(value)}) != {literal(default)}"
        case types.Bool():
            return f"!{value}" if default else value
        case types.Struct():
            return f"@p@_nonzero_{kind.c_name}(1, {address(value)})"
        case types.Array(element=element, count=count):
            return f"@p@_nonzero_{suffix(element)}({count}, {value})"
        case _:
            return f"{value} != {literal(default)}"


def assign(kind: types.Type, value: str, default: int) -> str:
    """Return a C expression that sets a number to `default`, and any other `value` to zeros."""
    match kind:
        case types.Bytes() | types.Text() | types.Tail():
            return f"{value} = @p@_no_slice()"
        case types.ByteList() | types.List():
            return f"{value} = @p@_no_list()"
        case types.Float(name=name):
            return f"@p@_set_{name}(&{value}, {literal(default)})"
        case types.Bool():
            return f"{value} = {boolean(default == 1)}"
        case types.Struct() | types.Array():
            return f"memset(&{value}, 0, sizeof {value})"
        case _:
            return f"{value} = ({c_type(kind)}){literal(default)}"
