"""Generate the Python classes of the codec: enums, flags, structs and messages."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from microvm_proto import types
from microvm_proto.backends.python import fast
from microvm_proto.backends.python.naming import WIDTH, call, default, layout, of_field
from microvm_proto.framing import Framing
from microvm_proto.schema import Message, Schema


def docstring(indent: int, text: str, paragraphs: Iterable[str] = ()) -> str:
    """Return a Python docstring of the first sentence of `text`, its rest, and `paragraphs`."""
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


def enumerated(kind: types.Enumerated) -> str:
    """Generate the Python class for an enum or for flags of the schema."""
    base = "enum.IntEnum"
    if isinstance(kind, types.Flags):
        base = f"enum.IntFlag, boundary=enum.{'STRICT' if kind.closed else 'KEEP'}"
    name = types.camel(kind.python_name)
    return named(f"{name}({base})", kind.doc or f"{kind.name}.", kind.constants)


def named(head: str, doc: str, members: Iterable[tuple[str, int, str]]) -> str:
    """Generate the Python class `head`, such as `Fault(enum.IntEnum)`, of named numbers.

    :param members: Name, number and documentation of each named number.
    """
    lines = [f"class {head}:", docstring(4, doc), ""]
    for name, number, about in members:
        lines.append(f"    {name.upper()} = {number}")
        if about:
            lines.append(docstring(4, about))
    return "\n".join(lines)


def _bounds(field: types.Field) -> str:
    nul = ", without NUL"
    match field.type:
        case types.Bytes(maximum=maximum, nul=allowed):
            return f"At most {maximum} bytes{'' if allowed else nul}."
        case types.Text(maximum=maximum, nul=allowed):
            return f"At most {maximum} bytes of UTF-8{'' if allowed else nul}."
        case types.ByteList(
            max_items=items, max_item=item, max_total=total, nul=allowed, prefix=prefix
        ):
            return (
                f"At most {items} items of at most {item} bytes{'' if allowed else nul}. "
                f"At most {total} bytes in all, including {prefix.size} bytes for each item."
            )
        case types.List(max_items=items):
            return f"At most {items} items."
        case types.Array(is_octets=True, count=count):
            return f"Always {count} bytes."
        case types.Array(count=count):
            return f"Always {count} elements."
        case types.Tail(maximum=maximum):
            return f"At most {maximum} bytes."
    return ""


def _about(fields: Iterable[types.Field], message: Message | None = None) -> Iterator[str]:
    """Yield a paragraph `:ivar NAME: …` for each documented field of a message or struct."""
    for field in fields:
        absent = "" if field.absent is None else f"None is encoded as {field.absent}."
        later = message is not None and message.is_later(field)
        since = f"Since version {field.since}." if later else ""
        if about := " ".join(filter(None, [field.about, _bounds(field), absent, since])):
            yield f":ivar {field.python_name}: {about}"


def struct(kind: types.Struct, *, is_fast: bool) -> str:
    """Generate the Python class for a struct, in the style `fast` or `plain`."""
    doc = docstring(4, kind.doc or f"{kind.name}.", ["\n".join(_about(kind.fields))])
    fields = [(field.python_name, of_field(field)) for field in kind.fields]
    return "\n".join(_frozen(types.camel(kind.python_name), [doc, ""], fields, [], is_fast=is_fast))


def message(message: Message, framing: Framing, *, is_fast: bool) -> str:
    """Generate the Python class for a message, in the style `fast` or `plain`."""
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
    lines = [*_frozen(types.camel(message.python_name), top, first, later, is_fast=is_fast)]
    lines += [""] if is_fast or first or later else []
    lines += _indented(_encoders(message, framing, is_fast=is_fast))
    return "\n".join(lines)


def _frozen(
    name: str,
    top: Sequence[str],
    required: Sequence[tuple[str, str]],
    optional: Sequence[tuple[str, str, str]],
    *,
    is_fast: bool,
) -> Iterator[str]:
    """Yield an immutable Python class without methods: the lines `top`, fields and constructor.

    A field is a tuple of its name, its type and, if it is optional, its default. Later versions
    added the optional fields. Their parameters are keyword-only, so that code which creates a
    message still works after a version has added fields. In the style `plain`, the class is a
    dataclass, whose instances are slower to create.
    """
    if not is_fast:
        yield from ("@dataclass(frozen=True, slots=True)", f"class {name}:", *top)
        yield from (f"    {field}: {kind}" for field, kind in required)
        yield from ["    _: KW_ONLY"] if optional else []
        yield from (f"    {field}: {kind} = {value}" for field, kind, value in optional)
        return
    kinds = dict(required) | {field: kind for field, kind, _ in optional}
    yield from (f"class {name}(_Frozen{', init=False' if kinds else ''}):", *top)
    if optional:
        yield from _names("__match_args__", [f'"{field}"' for field, _ in required])
        yield from _names("__slots__", ["*__match_args__", *(f'"{each}"' for each, *_ in optional)])
    else:
        yield from _names("__slots__ = __match_args__", [f'"{field}"' for field in kinds])
    if not kinds:
        return
    yield ""
    yield from (f"    {field}: {kind}" for field, kind in kinds.items())
    yield ""
    parameters = ["_cls", *(f"{field}: {kind}" for field, kind in required)]
    parameters += ["*"] if optional else []
    parameters += [f"{field}: {kind} = {value}" for field, kind, value in optional]
    yield from _indented(call("def __new__", parameters, 4, tail=" -> Self:"))
    yield "        _made: Any = _new(_cls._mutable)"
    yield from (f"        _made.{field} = {field}" for field in kinds)
    yield "        _made.__class__ = _cls"
    yield "        _frozen: Self = _made"
    yield "        return _frozen"


def _names(target: str, names: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a Python statement that assigns the tuple of `names` to `target`."""
    names = [f"{names[0]},"] if len(names) == 1 else names
    fits = 4 + len(f"{target} = ({', '.join(names)})") <= WIDTH
    yield from _indented(call(f"{target} = ", names, 4, one_a_line=not fits))


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"    {line}" if line else "" for line in lines)


def _encoders(message: Message, framing: Framing, *, is_fast: bool) -> Iterator[str]:
    """Yield the Python methods that encode a message, in the style `fast` or `plain`."""
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
    names = [types.camel(message.python_name) for message in schema.messages] or ["Never"]
    line = f"Message: TypeAlias = {' | '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return "Message: TypeAlias = (\n    " + "\n    | ".join(names) + "\n)"
