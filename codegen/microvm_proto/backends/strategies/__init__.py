"""Generate Hypothesis strategies that create random messages of a generated Python codec."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from microvm_proto import types
from microvm_proto.backends.python.naming import call, import_of_codec, of_field, of_prefix
from microvm_proto.backends.python.shared import Shared, needed
from microvm_proto.backends.strategies.conversations import of_conversations
from microvm_proto.schema import Message, Output, Schema


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Generate the Python module of strategies."""
    constants: dict[str, str] = {}
    blocks = []
    for struct in schema.structs_in_order:
        before = len(constants)
        function = _function(struct, constants, [], struct.fields)
        # The default arguments of the function use the new constants, so put these before it.
        blocks += [_assigned([*constants.items()][before:]), function]
    before = len(constants)
    functions = [_of_message(message, constants, schema) for message in schema.messages]
    blocks += [_assigned([*constants.items()][before:]), *functions, _by_sender(schema)]
    names = {message.name: _unshadowed(message.python_name) for message in schema.messages}
    blocks += of_conversations(schema, names)
    parts, words = needed([Shared(of_prefix(_HELPERS, schema)), *blocks])
    head = _HEAD.format(
        name=schema.name,
        version=schema.version,
        source=schema.source,
        imports=_imports(words),
        drawing=_DRAWING if schema.conversations else "",
        codec=import_of_codec(schema),
    )
    text = "\n\n\n".join(part for part in (head.strip(), *parts) if part)
    return {output.path.name: text + "\n"}


def _assigned(constants: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name} = {value}" for name, value in constants)


def _imports(words: Collection[str]) -> str:
    lines = [f"import {name}\n" for name in ("enum", "functools", "itertools") if name in words]
    names = ("Literal", "TypeVar")
    typing = ", ".join(name for name in names if name in words)
    lines += [f"from typing import {typing}\n"] if typing else []
    return "".join([*lines, "\n"] if lines else [])


def _of_message(message: Message, constants: dict[str, str], schema: Schema) -> str:
    """Generate a Python function that returns a message's strategy. Extend `constants` for it.

    `constants` maps the names of Python constants that hold strategies to their expressions.
    """
    identifier = []
    if message.id != "none":
        name, least = ("_ID", 1) if message.id == "required" else ("_ID_OR_0", 0)
        constants[name] = f"_integers({least}, {schema.framing.max_id})"
        identifier = [("id", "id_", "int", name)]
    return _function(message, constants, identifier, message.visible)


def _function(
    made: Message | types.Struct,
    constants: dict[str, str],
    first: list[tuple[str, str, str, str]],
    fields: tuple[types.Field, ...],
) -> str:
    """Generate the function for the strategy of `made`, with parameters for `first` and all fields.

    The parameters of that function are the strategies of the fields, each with a default.

    :param first: Parameters that come before those for fields. Each is a tuple of the attribute's
        name, the parameter's name, the type and the default.
    """
    given = [*first]
    for field in fields:
        name, default = field.python_name, _of_field(field, constants)
        given.append((name, _unshadowed(name), of_field(field, "codec."), default))
    parameters = [
        f"{parameter}: st.SearchStrategy[{kind}] = {default}"
        for _, parameter, kind, default in given
    ]
    kind = f"codec.{types.camel(made.python_name)}"
    lines = call(
        f"def {_unshadowed(made.python_name)}",
        ["*", *parameters] if parameters else [],
        0,
        tail=f" -> st.SearchStrategy[{kind}]:",
    )
    body = call("return st.builds", [kind, *(f"{name}={each}" for name, each, _, _ in given)], 4)
    return "\n".join([*lines, *(f"    {line}" for line in body)])


def _unshadowed(name: str) -> str:
    """Return `name`; append an underscore if the generated module imports a module of that name."""
    return (
        f"{name}_" if name in ("codec", "drawing", "enum", "functools", "itertools", "st") else name
    )


def _of_field(field: types.Field, constants: dict[str, str]) -> str:
    name = _of(field.type, constants)
    if field.absent is None:
        return name
    absent = f"{name}_ABSENT_{field.absent}".replace("-", "MINUS_")
    # On the wire, this number stands for "no value", and a decoder returns None for it. So the
    # strategy generates None instead of this number.
    constants[absent] = f"st.none() | {name}.filter(lambda number: number != {field.absent})"
    return absent


def _of(kind: types.Type, constants: dict[str, str]) -> str:
    """Add a strategy for the values of a type to `constants`, and return the constant's name."""
    annotation = ""
    match kind:
        case types.Integer(name=integer):
            name, value = integer.upper(), f"_integers({kind.minimum}, {kind.maximum})"
        case types.Float(name=number, size=size, finite=finite):
            name = f"{number.upper()}{'_FINITE' if finite else ''}"
            value = f"_floats({8 * size}, finite={finite})"
        case types.Bool():
            name, value = "BOOL", "st.booleans()"
        case types.Enum(python_name=enum, closed=closed, base=base):
            name, value = f"ENUM_{enum.upper()}", f"st.sampled_from(codec.{types.camel(enum)})"
            if not closed:
                annotation, value = ": st.SearchStrategy[int]", f"{value} | {_of(base, constants)}"
        case types.Flags(python_name=flags, closed=closed, base=base):
            more = "" if closed else f" | {_of(base, constants)}.map(codec.{types.camel(flags)})"
            name, value = f"FLAGS_{flags.upper()}", f"_flags(codec.{types.camel(flags)}){more}"
        case types.Struct(python_name=struct):
            name, value = f"STRUCT_{struct.upper()}", f"{_unshadowed(struct)}()"
        case types.Array(element=element, count=count, is_octets=is_octets):
            of = _of(element, constants)
            name, value = f"ARRAY_{count}{of}", f"_arrays({of}, {count})"
            value += ".map(bytes)" if is_octets else ""
        case types.List(element=element, max_items=items):
            of = _of(element, constants)
            name, value = f"LIST_{items}{of}", f"_lists_of({of}, {items})"
        case types.Text(maximum=maximum, nul=nul):
            name, value = f"TEXT_{maximum}{_nul(nul)}", f"_text({maximum}, nul={nul})"
        case types.Bytes(maximum=maximum, nul=nul):
            name, value = f"BYTES_{maximum}{_nul(nul)}", f"_octets({maximum}, nul={nul})"
        case types.Tail(maximum=maximum):
            name, value = f"BYTES_{maximum}", f"_octets({maximum}, nul=True)"
        case types.ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            name = f"LIST_{items}_{item}_{total}{_nul(nul)}"
            value = f"_lists({items}, {item}, {total}, nul={nul})"
    constants[f"_{name}{annotation}"] = value
    return f"_{name}"


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
    sent = [f"{_unshadowed(message.python_name)}()" for message in schema.sent_by(end)]
    if sent:
        yield from (f"    {line}" for line in call(f'"{end}": st.one_of', sent, 4, tail=","))
    else:
        yield f'    "{end}": st.nothing(),'


_HEAD = '''
"""Hypothesis strategies for the messages of {name}, version {version}.

Generated from {source} by `microvm-proto gen`.
Each message has a function that returns a strategy for it. Its arguments are the strategies of the
message's fields. A default strategy generates only valid values, often ones at a bound.
"""

from __future__ import annotations

{imports}from hypothesis import strategies as st

{codec}{drawing}

MAX_LENGTH = 4096
"""Maximum number of bytes or items in a generated value, even if its field allows more."""
'''

_DRAWING = """
from microvm_proto import drawing"""

_HELPERS = """
_T = TypeVar("_T")


_F = TypeVar("_F", bound=enum.IntFlag)


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
        totals = itertools.accumulate(@4@ + len(item) for item in items)
        return tuple(i for i, total in zip(items, totals, strict=True) if total <= max_total)

    def filled(items: tuple[bytes, ...]) -> tuple[bytes, ...]:
        room = max_total - sum(@4@ + len(item) for item in items) - @4@
        return (*items, b"a" * room) if len(items) < max_items and 0 <= room <= max_item else items

    few = st.lists(_octets(max_item, nul=nul), max_size=min(max_items, 8)).map(within)
    ways = [few]
    if max_total <= MAX_LENGTH:
        ways.append(few.map(filled))
    most = min(max_items, max_total // @4@)
    if most <= MAX_LENGTH:
        ways.append(st.just((b"",) * most))
    return st.one_of(ways)


def _floats(width: Literal[32, 64], *, finite: bool) -> st.SearchStrategy[float]:
    # NaN is left out because it is not equal to itself, so messages could not be compared.
    ends = {
        32: (2.0**-149, 2.0**-126, 3.4028234663852886e38),
        64: (5e-324, 2.0**-1022, 1.7976931348623157e308),
    }
    edges = [0.0, 1.0, *ends[width], *([] if finite else [float("inf")])]
    some = st.floats(width=width, allow_nan=False, allow_infinity=not finite)
    return st.sampled_from([*edges, *(-edge for edge in edges)]) | some


def _flags(kind: type[_F]) -> st.SearchStrategy[_F]:
    return st.sets(st.sampled_from([*kind])).map(lambda bits: kind(sum(bits)))


def _arrays(element: st.SearchStrategy[_T], count: int) -> st.SearchStrategy[tuple[_T, ...]]:
    few = st.lists(element, min_size=1, max_size=min(count, 16))
    return few.map(lambda some: tuple(itertools.islice(itertools.cycle(some), count)))


def _lists_of(element: st.SearchStrategy[_T], most: int) -> st.SearchStrategy[tuple[_T, ...]]:
    few = st.lists(element, max_size=min(most, 8)).map(tuple)
    return few | _arrays(element, most) if most <= MAX_LENGTH else few


def _text(maximum: int, *, nul: bool) -> st.SearchStrategy[str]:
    def cut(text: str) -> str:
        return text.encode()[:maximum].decode(errors="ignore")

    def filled(character: str) -> str:
        text = cut(character * maximum)
        return text + "a" * (maximum - len(text.encode()))

    character = st.characters(codec="utf-8", exclude_characters="" if nul else "\\0")
    few = st.text(character, max_size=min(maximum, 32)).map(cut)
    return few if maximum > MAX_LENGTH else few | character.map(filled)
"""

_FRAMES = '''
"""Strategies for the messages that each end may send, by the name of the end."""

FRAMES: dict[str, st.SearchStrategy[bytes]] = {
    end: messages.map(lambda message: message.encode()) for end, messages in MESSAGES.items()
}
"""Strategies for the encoded messages that each end may send, by the name of the end."""
'''
