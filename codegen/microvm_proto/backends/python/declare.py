"""Generate the Python classes of the codec: enums, flags, structs and messages."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from microvm_proto.backends.python import fast
from microvm_proto.backends.python.naming import WIDTH, call, default, layout, of_field
from microvm_proto.framing import Framing
from microvm_proto.schema import Message, Schema
from microvm_proto.types import (
    Array,
    ByteList,
    Bytes,
    Enum,
    Field,
    Flags,
    List,
    Struct,
    Tail,
    Text,
    camel,
)


def docstring(indent: int, text: str, paragraphs: Iterable[str] = ()) -> str:
    """Return a Python docstring whose summary line is the first sentence of `text`."""
    margin = " " * indent
    summary, _, rest = text.replace("\n", " ").partition(". ")
    blocks = [f"{summary.rstrip('.')}.", *filter(None, [rest, *paragraphs])]
    blocks = [block.replace('"""', "'''") for block in blocks]
    lines = [
        line
        for number, block in enumerate(blocks)
        for line in ([""] if number else []) + _wrapped(block, indent, 3 if number == 0 else 0)
    ]
    quote = 'r"""' if any("\\" in line for line in lines) else '"""'
    if len(lines) == 1:
        return f'{margin}{quote}{lines[0]}"""'
    body = "\n".join(f"{margin}{line}".rstrip() for line in lines[1:])
    return f'{margin}{quote}{lines[0]}\n{body}\n{margin}"""'


def _wrapped(block: str, indent: int, quotes: int) -> list[str]:
    # In a paragraph about a field (`:ivar`), all lines but the first are indented. The width leaves
    # room for the quotes at both ends of a docstring.
    hanging = "    " if block.startswith(":ivar") else ""
    return [
        line
        for paragraph in block.split("\n:ivar ")
        for line in textwrap.wrap(
            paragraph if paragraph.startswith(":ivar") or not hanging else f":ivar {paragraph}",
            WIDTH - indent - 2 * quotes,
            subsequent_indent=hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def enum(kind: Enum) -> str:
    """Generate the Python class for an enum of the schema."""
    members = ((value.name, value.number, value.doc) for value in kind.values)
    return named(f"{camel(kind.python_name)}(enum.IntEnum)", kind.doc or f"{kind.name}.", members)


def flags(kind: Flags) -> str:
    """Generate the Python class for flags of the schema.

    If the flags are closed, unknown bits raise `ValueError`.
    """
    boundary = "STRICT" if kind.closed else "KEEP"
    head = f"{camel(kind.python_name)}(enum.IntFlag, boundary=enum.{boundary})"
    return named(head, kind.doc or f"{kind.name}.", ((b.name, b.mask, b.doc) for b in kind.bits))


def named(head: str, doc: str, members: Iterable[tuple[str, int, str]]) -> str:
    """Generate the Python class `head`, such as an enum, whose members are named numbers.

    :param head: Name of the class, followed by its base class in parentheses.
    :param members: Name, number and documentation of each named number.
    """
    lines = [f"class {head}:", docstring(4, doc), ""]
    for name, number, about in members:
        lines.append(f"    {name.upper()} = {number}")
        if about:
            lines.append(docstring(4, about))
    return "\n".join(lines)


def _bounds(field: Field) -> str:
    nul = ", without NUL"
    match field.type:
        case Bytes(maximum=maximum, nul=allowed):
            return f"At most {maximum} bytes{'' if allowed else nul}."
        case Text(maximum=maximum, nul=allowed):
            return f"At most {maximum} bytes of UTF-8{'' if allowed else nul}."
        case ByteList(max_items=items, max_item=item, max_total=total, nul=allowed, prefix=prefix):
            return (
                f"At most {items} items of at most {item} bytes{'' if allowed else nul}. "
                f"At most {total} bytes in all, including {prefix.size} bytes for each item."
            )
        case List(max_items=items):
            return f"At most {items} items."
        case Array(is_octets=True, count=count):
            return f"Always {count} bytes."
        case Array(count=count):
            return f"Always {count} elements."
        case Tail(maximum=maximum):
            return f"At most {maximum} bytes."
    return ""


def _about(fields: Iterable[Field], message: Message | None = None) -> Iterator[str]:
    """Yield a paragraph `:ivar` for each field that has documentation, for the class's docstring.

    :param message: Message that the fields belong to; None for a struct.
    """
    for field in fields:
        absent = "" if field.absent is None else f"None is encoded as {field.absent}."
        later = message is not None and message.is_later(field)
        since = f"Since version {field.since}." if later else ""
        if about := " ".join(filter(None, [field.about, _bounds(field), absent, since])):
            yield f":ivar {field.python_name}: {about}"


def struct(kind: Struct, *, is_fast: bool) -> str:
    """Generate the Python class for a struct of the schema.

    :param is_fast: False for style `plain`, whose code is shorter and slower.
    """
    doc = docstring(4, kind.doc or f"{kind.name}.", ["\n".join(_about(kind.fields))])
    fields = [(field.python_name, of_field(field)) for field in kind.fields]
    return "\n".join(_frozen(camel(kind.python_name), [doc, ""], fields, [], is_fast=is_fast))


def message(message: Message, framing: Framing, *, is_fast: bool) -> str:
    """Generate the Python class for a message of the schema.

    :param is_fast: False for style `plain`, whose code is shorter and slower.
    """
    visible = [field for field in message.visible if not message.is_later(field)]
    added = [field for field in message.visible if message.is_later(field)]
    has_id = message.id != "none"
    docs = [":ivar id: The id in the frame's header."] if has_id else []
    docs += _about([*visible, *added], message)
    top = [
        docstring(4, message.doc or f"{message.name}.", ["\n".join(docs)]),
        "",
        f"    TYPE: ClassVar[int] = {message.number}",
        f"    MAX_BODY: ClassVar[int] = {message.max_body}",
        "",
    ]
    first = [("id", "int")] if has_id else []
    first += [(field.python_name, of_field(field)) for field in visible]
    later = [(field.python_name, of_field(field), default(field)) for field in added]
    lines = [*_frozen(camel(message.python_name), top, first, later, is_fast=is_fast)]
    lines += [""] if is_fast or first or later else []
    lines += _indented(_encoders(message, framing, is_fast=is_fast))
    return "\n".join(lines)


def _frozen(
    name: str,
    top: Sequence[str],
    first: Sequence[tuple[str, str]],
    later: Sequence[tuple[str, str, str]],
    *,
    is_fast: bool,
) -> Iterator[str]:
    """Yield the head of an immutable Python class, the lines `top`, fields and the constructor.

    :param top: Lines that come before the fields in the class.
    :param first: Names and types of the fields that have no default.
    :param later: Names, types and defaults of the fields that later versions added. Their
        parameters are keyword-only, so that code which creates a message still works after a
        version has added fields.
    :param is_fast: False to use `dataclasses`, which makes instances slower to create.
    """
    if not is_fast:
        yield from ("@dataclass(frozen=True, slots=True)", f"class {name}:", *top)
        yield from (f"    {field}: {kind}" for field, kind in first)
        yield from ["    _: KW_ONLY"] if later else []
        yield from (f"    {field}: {kind} = {value}" for field, kind, value in later)
        return
    kinds = dict(first) | {field: kind for field, kind, _ in later}
    yield from (f"class {name}(_Frozen{', init=False' if kinds else ''}):", *top)
    if later:
        yield from _names("__match_args__", [f'"{field}"' for field, _ in first])
        yield from _names("__slots__", ["*__match_args__", *(f'"{each}"' for each, *_ in later)])
    else:
        yield from _names("__slots__ = __match_args__", [f'"{field}"' for field in kinds])
    if not kinds:
        return
    yield ""
    yield from (f"    {field}: {kind}" for field, kind in kinds.items())
    yield ""
    parameters = ["_cls", *(f"{field}: {kind}" for field, kind in first)]
    parameters += ["*"] if later else []
    parameters += [f"{field}: {kind} = {value}" for field, kind, value in later]
    yield from _indented(call("def __new__", parameters, 4, tail=" -> Self:"))
    yield "        _made: Any = _new(_cls._mutable)"
    yield from (f"        _made.{field} = {field}" for field in kinds)
    yield "        _made.__class__ = _cls"
    yield "        _frozen: Self = _made"
    yield "        return _frozen"


def _names(head: str, names: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a Python statement that assigns the tuple of `names` to `head`."""
    names = [f"{names[0]},"] if len(names) == 1 else names
    fits = 4 + len(f"{head} = ({', '.join(names)})") <= WIDTH
    yield from _indented(call(f"{head} = ", names, 4, one_a_line=not fits))


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"    {line}" if line else "" for line in lines)


def _encoders(message: Message, framing: Framing, *, is_fast: bool) -> Iterator[str]:
    """Yield the Python methods that encode a message.

    :param is_fast: False for style `plain`, whose code is shorter and slower.
    """
    if framing.resynchronises:
        more, given = (", sequence: int = 0", ", sequence") if framing.sequence else ("", "")
        yield f"def encode(self, version: int = VERSION{more}) -> bytes:"
        yield from _raises("Encode the frame for the version that both sides agreed on.")
        written = f"{layout(message)}.frame(self, version{given})"
        body = fast.encode(message, written, framing) if is_fast else [f"return {written}"]
        yield from (f"    {line}" for line in body)
        return
    yield "def encode(self, version: int = VERSION) -> bytes:"
    yield from _raises("Encode the frame for the version that both sides agreed on.")
    written = f"{layout(message)}.write(self, version)"
    if message.has_tail:
        yield '    return b"".join(self.encode_parts(version))'
        yield ""
        yield "def encode_parts(self, version: int = VERSION) -> tuple[bytes, bytes | memoryview]:"
        tail = message.fields[-1].python_name
        yield from _raises(
            f"Encode the frame as two parts. The second part is `{tail}` itself, not a copy."
        )
    else:
        written = f'b"".join({written})'
    body = fast.encode(message, written, framing) if is_fast else [f"return {written}"]
    yield from (f"    {line}" for line in body)


def _raises(summary: str) -> Iterator[str]:
    yield f'    """{summary}'
    yield ""
    yield "    :raises EncodeError: Raised if the message is not valid in this version."
    yield '    """'


def union(schema: Schema) -> str:
    """Generate the Python type alias for the union of all message classes."""
    names = [camel(message.python_name) for message in schema.messages] or ["Never"]
    line = f"Message: TypeAlias = {' | '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return "Message: TypeAlias = (\n    " + "\n    | ".join(names) + "\n)"
