"""The backend `strategies`: Hypothesis strategies for the messages of a generated Python codec."""

from __future__ import annotations

from collections.abc import Iterator

from microvm_proto.backends.python.naming import call, camel
from microvm_proto.schema import Message, Output, Schema
from microvm_proto.types import ByteList, Bytes, Enum, Field, Integer, Tail


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Write the strategies, which are one module."""
    constants: dict[str, str] = {}
    functions = [_function(message, constants) for message in schema.messages]
    head = _HEAD.format(
        name=schema.name,
        version=schema.version,
        source=schema.source,
        codec=_import(schema),
    )
    assigned = "\n".join(f"{name} = {value}" for name, value in constants.items())
    blocks = [head.strip(), _HELPERS.strip(), assigned, *functions, _by_sender(schema)]
    return {output.path.name: "\n\n\n".join(block for block in blocks if block) + "\n"}


def _import(schema: Schema) -> str:
    """Write the import of the codec, by the name that the schema's output gives it."""
    modules = [output.module for output in schema.outputs if output.backend == "python"]
    package, _, name = (modules[0] if modules else "codec").rpartition(".")
    renamed = "" if name == "codec" else " as codec"
    return f"from {package} import {name}{renamed}" if package else f"import {name}{renamed}"


def _function(message: Message, constants: dict[str, str]) -> str:
    """Write a function from the strategies of a message's fields to that of the message."""
    parameters, arguments = [], []
    if message.id != "none":
        name, least = ("_ID", 1) if message.id == "required" else ("_ID_OR_0", 0)
        constants[name] = f"_integers({least}, {2**32 - 1})"
        parameters.append(f"id_: st.SearchStrategy[int] = {name}")
        arguments.append("id=id_")
    for field in message.fields:
        if field.equals is None:
            parameter = _unshadowed(field.name)
            constant = _constant(field, constants)
            parameters.append(f"{parameter}: st.SearchStrategy[{_annotation(field)}] = {constant}")
            arguments.append(f"{field.name}={parameter}")
    kind = f"codec.{camel(message.name)}"
    head = f"def {_unshadowed(message.name)}"
    signature = ["*", *parameters] if parameters else []
    lines = call(head, signature, 0, tail=f" -> st.SearchStrategy[{kind}]:")
    body = call("return st.builds", [kind, *arguments], 4)
    return "\n".join([*lines, *(f"    {line}" for line in body)])


def _unshadowed(name: str) -> str:
    """Return a name that hides neither of the two modules that the code refers to."""
    return f"{name}_" if name in ("st", "codec") else name


def _annotation(field: Field) -> str:
    match field.type:
        case Enum(name=name, closed=True):
            return f"codec.{camel(name)}"
        case Integer() | Enum():
            return "int"
        case ByteList():
            return "tuple[bytes, ...]"
        case Bytes() | Tail():
            return "bytes"
        case _:
            raise NotImplementedError


def _constant(field: Field, constants: dict[str, str]) -> str:
    """Return the name of the strategy for fields of this type, defining it if need be."""
    match field.type:
        case Integer():
            return _integer(field.type, constants)
        case Enum(name=enum, closed=closed, base=base):
            name, value = f"_ENUM_{enum.upper()}", f"st.sampled_from(codec.{camel(enum)})"
            if not closed:
                name, value = (
                    f"{name}: st.SearchStrategy[int]",
                    f"{value} | {_integer(base, constants)}",
                )
        case Bytes(maximum=maximum, nul=nul):
            name, value = f"_BYTES_{maximum}{_nul(nul)}", f"_octets({maximum}, nul={nul})"
        case Tail(maximum=maximum):
            name, value = f"_BYTES_{maximum}", f"_octets({maximum}, nul=True)"
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            bounds = f"{items}, {item}, {total}"
            name = f"_LIST_{items}_{item}_{total}{_nul(nul)}"
            value = f"_lists({bounds}, nul={nul})"
    constants[name] = value
    return name.partition(":")[0]


def _integer(kind: Integer, constants: dict[str, str]) -> str:
    name = f"_{kind.name.upper()}"
    constants[name] = f"_integers({kind.minimum}, {kind.maximum})"
    return name


def _nul(allowed: bool) -> str:
    return "" if allowed else "_NO_NUL"


def _by_sender(schema: Schema) -> str:
    return "\n".join(
        [
            "MESSAGES: dict[str, st.SearchStrategy[codec.Message]] = {",
            *(line for end in schema.ends for line in _sent_by(schema, end)),
            "}",
            _FRAMES.strip(),
        ]
    )


def _sent_by(schema: Schema, end: str) -> Iterator[str]:
    sent = [f"{_unshadowed(m.name)}()" for m in schema.messages if m.sender in (end, "both")]
    if sent:
        yield from (f"    {line}" for line in call(f'"{end}": st.one_of', sent, 4, tail=","))
    else:
        yield f'    "{end}": st.nothing(),'


_HEAD = '''
"""Hypothesis strategies for the messages of {name}, version {version}.

Generated from {source} by `microvm-proto gen`.
Each message has a function, whose arguments are the strategies of its fields; a default keeps to
the field's bounds, and visits their edges often.
"""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

{codec}

MAX_LENGTH = 4096
"""Bytes or items that a generated value has at most, whatever the bound of its field."""
'''

_HELPERS = """
def _integers(low: int, high: int) -> st.SearchStrategy[int]:
    edges = {low, low + 1, high - 1, high} | ({-1, 0, 1} if low < 0 else set())
    return st.sampled_from(sorted(edges)) | st.integers(low, high)


def _octets(maximum: int, *, nul: bool) -> st.SearchStrategy[bytes]:
    byte = st.integers(0 if nul else 1, 0xFF)
    short = st.lists(byte, max_size=min(maximum, 32)).map(bytes)
    if maximum > MAX_LENGTH:
        return short
    sizes = st.integers(maximum - 1, maximum)
    return short | st.tuples(sizes, byte).map(lambda run: bytes([run[1]]) * run[0])


def _lists(
    max_items: int, max_item: int, max_total: int, *, nul: bool
) -> st.SearchStrategy[tuple[bytes, ...]]:
    def within(items: list[bytes]) -> tuple[bytes, ...]:
        totals = itertools.accumulate(4 + len(item) for item in items)
        return tuple(i for i, total in zip(items, totals, strict=True) if total <= max_total)

    def filled(items: tuple[bytes, ...]) -> tuple[bytes, ...]:
        room = max_total - sum(4 + len(item) for item in items) - 4
        return (*items, b"a" * room) if len(items) < max_items and 0 <= room <= max_item else items

    few = st.lists(_octets(max_item, nul=nul), max_size=min(max_items, 8)).map(within)
    ways = [few]
    if max_total <= MAX_LENGTH:
        ways.append(few.map(filled))
    most = min(max_items, max_total // 4)
    if most <= MAX_LENGTH:
        ways.append(st.just((b"",) * most))
    return st.one_of(ways)
"""

_FRAMES = '''
"""The messages that each end may send."""

FRAMES: dict[str, st.SearchStrategy[bytes]] = {
    end: messages.map(lambda message: message.encode()) for end, messages in MESSAGES.items()
}
"""The same, as it is on the wire."""
'''
