"""The rules for a schema's names, numbers and order of fields."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from microvm_proto import backends, resolve_states, types
from microvm_proto.faults import FAULTS, FIRST_OWN_CODE
from microvm_proto.load import Document
from microvm_proto.positions import Path
from microvm_proto.released import path_of
from microvm_proto.resolve_framing import check_framing
from microvm_proto.schema import MAX_BODY, Message, Schema

_Words: TypeAlias = Mapping[str, Collection[str]]
_NO_WORDS: _Words = {"C": (), "Python": ()}
_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")

# The keywords of C and C++, and the names of types and macros in the standard headers.
_C_WORDS = frozenset(
    """
    alignas alignof and and_eq asm assert auto bitand bitor bool break case catch char char16_t
    char32_t char8_t class co_await co_return co_yield compl concept const const_cast consteval
    constexpr constinit continue decltype default delete do double dynamic_cast else enum errno
    explicit export extern false float for friend goto if inline int int16_t int32_t int64_t int8_t
    linux long mutable namespace new noexcept not not_eq null nullptr operator or or_eq private
    protected ptrdiff_t public register reinterpret_cast requires restrict return short signed
    size_t sizeof static static_assert static_cast stderr stdin stdout struct switch template this
    thread_local throw true try typedef typeid typename typeof uint16_t uint32_t uint64_t uint8_t
    union unix unsigned using virtual void volatile wchar_t while xor xor_eq
    """.split()
)
_PYTHON_WORDS = frozenset((*keyword.kwlist, *dir(builtins)))
_RESERVED_WORDS = {"C": _C_WORDS, "Python": _PYTHON_WORDS}
# Names of types that the generated code declares for every schema, so messages cannot have them.
_OWN_TYPES = frozenset(
    """
    body cursor decode_error decoder encode_error end fault fault_at field_rule header list message
    rule self slice type walk callable class_var generic mapping never type_alias type_var
    """.split()
)
_OWN_WITH_FRAMING = frozenset("encoder frame receiver".split())
# Names of constants that every C header can declare. So the constants of a schema, and the two
# sides of its protocol, cannot have these names.
_OWN_CONSTANTS = frozenset(
    """
    both define_take header_size kind_any kind_byte_list kind_bytes kind_constant kind_enum
    kind_finite kind_flags kind_group kind_later kind_list kind_octets kind_tail kind_text
    max_body protocol_h schema_digest version
    """.split()
)
# Further names of constants that every Python codec declares, so constants of a schema cannot have
# them in Python.
_OWN_IN_PYTHON = frozenset("digest digests end_names".split())
# Names of attributes that the Python class of every message has, so fields cannot have them in
# Python.
_OWN_ATTRIBUTES = frozenset("id encode encode_parts mro".split())
FIELD_WORDS = {**_RESERVED_WORDS, "Python": _PYTHON_WORDS | _OWN_ATTRIBUTES}
FIELD_SUFFIX = "_"
"""Suffix for the name of a field that is a reserved word in a language: `type_` for `type`."""

_MAX_FIELDS = 255


def nearest_name(text: str) -> str:
    """Convert the name of a file or folder into a name for a schema; the result may be invalid."""
    return "_".join(re.findall("[a-z0-9]+", text.lower()))


def lint(document: Document, schema: Schema) -> None:
    """Check all rules for a schema, and record an error in `document` for each violation."""
    _check_names(document, [(("protocol", "name"), schema.name)], _RESERVED_WORDS)
    ends = [(("protocol", "ends", at), end) for at, end in enumerate(schema.ends)]
    _check_names(document, ends, _with(_OWN_CONSTANTS))
    _check_named(
        document,
        [(("constant", at), one) for at, one in enumerate(schema.constants)],
        {"C": _OWN_CONSTANTS, "Python": _OWN_CONSTANTS | _OWN_IN_PYTHON},
    )
    _check_types(document, schema)
    for (_, at), declared in schema.declared:
        match declared:
            case types.Enumerated():
                _check_enumerated(document, at, declared)
            case types.Struct():
                _check_struct(document, at, declared)
    _check_messages(document, schema)
    check_framing(document, schema)
    _check_constants(document, schema)
    for group in resolve_states.names(schema.conversations):
        _check_names(document, group)
    resolve_states.check_conversations(document, schema)
    _check_outputs(document, schema)
    _check_modules(document, schema)


def _with(own: frozenset[str]) -> _Words:
    return {language: words | own for language, words in _RESERVED_WORDS.items()}


def _check_names(
    document: Document,
    names: Iterable[tuple[Path, str]],
    reserved_words: _Words = _NO_WORDS,
    taken: Iterable[str] = (),
) -> None:
    """Check that names are well-formed, not reserved in a language, and not `taken` already."""
    seen = set(taken)
    for path, name in names:
        languages = [language for language, reserved in reserved_words.items() if name in reserved]
        if not _NAME.fullmatch(name):
            message = f"the name `{name}` is not in lower_case_with_underscores"
            document.error("bad-name", path, message, "such as `exec_output_2`")
        elif languages:
            message = f"the name `{name}` already has a meaning in {' and '.join(languages)}"
            document.error("reserved-word", path, message, "choose another name")
        elif name in seen:
            message = f"the name `{name}` is already used"
            document.error("duplicate-name", path, message, "choose another name")
        seen.add(name)


def _check_named(
    document: Document,
    named: Sequence[tuple[Path, types.Named]],
    words: _Words = _NO_WORDS,
    suffix: str = "_1",
) -> None:
    """Check names in the schema, C and Python. Hints add `suffix` to reserved `words`.

    :param suffix: Suffix that makes a reserved word a valid name, for hints.
    """
    _check_names(document, [((*path, "name"), each.name) for path, each in named])
    seen: set[tuple[str, str]] = set()
    for path, each in named:
        generated = {"C": each.c_name, "Python": each.python_name}
        reserved = [language for language, name in generated.items() if name in words[language]]
        for language, name in generated.items():
            key = f"{language.lower()}_name"
            renamed = (*path, key) in document.positions
            named_at = (*path, key if renamed else "name")
            if name in words[language]:
                message = f"the name `{name}` already has a meaning in {' and '.join(reserved)}"
                hint = f', or add one for {language} alone: `{key} = "{name}{suffix}"`'
                hint = "choose another name" + (hint if len(reserved) == 1 and not renamed else "")
                document.error("reserved-word", named_at, message, hint)
            elif renamed and not _NAME.fullmatch(name.removesuffix(suffix)):
                message = f"the name `{name}` is not in lower_case_with_underscores"
                document.error("bad-name", named_at, message, "such as `exec_output_2`")
            elif (language, name) in seen:
                message = f"the name `{name}` is already used"
                document.error("duplicate-name", named_at, message, "choose another name")
            seen.add((language, name))


def _check_types(document: Document, schema: Schema) -> None:
    """Check the names of types and messages: all must be different in C, and in Python."""
    own = _OWN_TYPES | {*types.INTEGERS, *types.FLOATS, "bool", "bytes", "text", "tail"}
    own |= _OWN_WITH_FRAMING if schema.framing.given else set()
    own |= set(resolve_states.types_in_c(schema.conversations))
    _check_named(document, schema.declared, _with(own))
    seen: dict[str, str] = {}
    for path, each in schema.declared:
        name = each.python_name
        named_at = (*path, "python_name" if each.renamed.python else "name")
        generated = types.camel(name)
        if generated in dir(builtins):
            message = f"the Python class `{generated}` would hide Python's own `{generated}`"
            document.error("reserved-word", named_at, message, "choose another name")
        if seen.setdefault(generated, name) != name:
            message = f"`{seen[generated]}` already has the Python class `{generated}`"
            document.error("duplicate-name", named_at, message, "choose another name")


def _check_numbers(
    document: Document,
    numbers: Iterable[tuple[Path, int]],
    low: int,
    high: int,
    reserved: Collection[int] = (),
) -> None:
    numbers = list(numbers)
    taken = {*reserved, *(number for _, number in numbers)}
    free = next((n for n in range(max(low, 1), high + 1) if n not in taken), None)
    lowest = f"the lowest free number is {free}" if free else "no number is free"
    seen: set[int] = set()
    for path, number in numbers:
        if number in reserved:
            message = f"{number} is reserved: an old peer would confuse the old and the new meaning"
            document.error("reserved-number", path, message, lowest)
        if not low <= number <= high:
            message = f"{number} is not between {low} and {high}"
            document.error("bad-number", path, message, lowest)
        if number in seen:
            document.error("duplicate-number", path, f"{number} is already used", lowest)
        seen.add(number)


def _check_reserved(
    document: Document, path: Path, numbers: Collection[int], low: int, high: int
) -> None:
    seen: set[int] = set()
    for at, number in enumerate(numbers):
        if not low <= number <= high:
            message = f"{number} is not between {low} and {high}"
            hint = "remove it: this number was never possible"
            document.error("bad-number", (*path, at), message, hint)
        if number in seen:
            message = f"{number} is already reserved"
            document.error("duplicate-number", (*path, at), message, "remove it")
        seen.add(number)


def _check_enumerated(document: Document, at: int, kind: types.Enumerated) -> None:
    """Check the values of enum number `at`, or the bits of flags number `at`, in the schema."""
    key, member_key, number_key = kind.KEYS
    if not kind.members:
        hint = f"add {'an' if key == 'enum' else 'a'} [[{key}.{member_key}]]"
        document.error("empty-enum", (key, at), f"`{kind.name}` has no {member_key}", hint)
    low, high = kind.base.minimum, kind.base.maximum
    if isinstance(kind, types.Flags):
        low, high = 0, 8 * kind.size - 1
    elif kind.inherited:
        low = FIRST_OWN_CODE
    inherited, own = kind.members[: kind.inherited], kind.members[kind.inherited :]
    path = (key, at, member_key)
    names = [((*path, n, "name"), member.name) for n, member in enumerate(own)]
    _check_names(document, names, taken=[member.name for member in inherited])
    numbers = [((*path, n, number_key), member.number) for n, member in enumerate(own)]
    _check_numbers(document, numbers, low, high, kind.reserved)
    _check_reserved(document, (key, at, "reserved"), kind.reserved, low, high)


def _check_struct(document: Document, at: int, struct: types.Struct) -> None:
    fields = [(("struct", at, "field", n), field) for n, field in enumerate(struct.fields)]
    _check_named(document, fields, FIELD_WORDS, suffix=FIELD_SUFFIX)
    if not fields and ("struct", at, "field") not in document.positions:
        text = f"`{struct.name}` has no field"
        document.error("empty-struct", ("struct", at), text, "add a [[struct.field]]")


def _check_messages(document: Document, schema: Schema) -> None:
    messages = list(enumerate(schema.messages))
    numbers = [(("message", at, "number"), m.number) for at, m in messages]
    highest = schema.framing.max_type
    _check_numbers(document, numbers, 1, highest, schema.reserved)
    _check_reserved(document, ("protocol", "reserved"), schema.reserved, 1, highest)
    for at, message in messages:
        _check_fields(document, at, message)
        if message.frozen and message.versions != [1]:
            document.error(
                "frozen-since",
                ("message", at, "frozen"),
                f"`{message.name}` is frozen, but its layout is not the same in every version",
                "remove `frozen`; or remove each `since`, and later values of its closed enums",
            )


def _check_fields(document: Document, at: int, message: Message) -> None:
    path = ("message", at, "field")
    named = [((*path, n), field) for n, field in enumerate(message.fields)]
    _check_named(document, named, FIELD_WORDS, suffix=FIELD_SUFFIX)
    if len(named) > _MAX_FIELDS:
        text = f"`{message.name}` has more than {_MAX_FIELDS} fields"
        document.error("too-many-fields", ("message", at, "name"), text, "split it into two")
    newest = message.since
    for number, field in enumerate(message.fields):
        here = (*path, number)
        last = number == len(message.fields) - 1
        if isinstance(field.type, types.Tail) and not last:
            hint = "move the tail to the end; later versions add their fields before it"
            document.error("tail-not-last", (*here, "type"), "no field can follow a tail", hint)
        kind, given = field.type, (*here, "max_total") in document.positions
        if isinstance(kind, types.ByteList) and given and kind.max_item > kind.max_total:
            hint = "raise `max_total`, or lower `max_item`"
            text = "`max_item` is larger than `max_total`"
            document.error("bad-bound", (*here, "max_item"), text, hint)
        if field.since < (message.since if isinstance(field.type, types.Tail) else newest):
            document.error(
                "not-appended",
                here,
                f"`{field.name}` is older than the field before it",
                "add fields at the end, each with its version as `since`",
            )
        newest = max(newest, field.since)
    if message.max_body > MAX_BODY:
        document.error(
            "frame-too-long",
            ("message", at, "name"),
            f"the body of `{message.name}` can have {message.max_body} bytes",
            f"lower the bounds of its fields: a body has at most {MAX_BODY} bytes",
        )


def _check_constants(document: Document, schema: Schema) -> None:
    """Check that the names of constants in C are unique.

    A constant's name consists of other names, joined by `_`. So two of them can be equal, such as
    `a_b_c` from `a` and `b_c`, or from `a_b` and `c`.
    """
    seen: dict[str, Path] = {}
    for name, path in constants(schema):
        if seen.setdefault(name, path) != path:
            text = f"`{schema.name}_{name}`".upper()
            message = f"another constant in C already has the name {text}"
            document.error("duplicate-name", path or seen[name], message, "choose another name")


def constants(schema: Schema) -> Iterator[tuple[str, Path]]:
    """Yield each constant in the C header: its name, and the path in the schema that causes it.

    The names lack their common prefix. The path is empty for constants that every header has.
    """
    for name in (*_OWN_CONSTANTS, "fault_none", *(f"fault_{fault.name}" for fault in FAULTS)):
        yield name, ()
    for at, end in enumerate(schema.ends):
        path: Path = ("protocol", "ends", at)
        yield from ((name, path) for name in (end, f"max_body_from_{end}"))
        yield f"max_tailless_body_from_{end}", path
    if schema.framing.given:
        yield from _constants_of_framing(schema)
    for at, constant in enumerate(schema.constants):
        yield constant.c_name, ("constant", at, "name")
    for (table, at), declared in schema.declared:
        path, name = (table, at, "name"), declared.c_name
        match declared:
            case types.Enumerated(KEYS=(_, key, _), members=members, inherited=inherited):
                for number, member in enumerate(members, -inherited):
                    own = (table, at, key, number, "name")
                    yield f"{name}_{member.name}", own if number >= 0 else path
            case types.Struct(fields=fields):
                yield f"{name}_size", path
                yield from _constants_of(name, fields, (table, at, "field"))
            case Message(fields=fields):
                yield from ((each, path) for each in (f"type_{name}", f"{name}_max_body"))
                yield from _constants_of(name, fields, (table, at, "field"))
    yield from resolve_states.constants_in_c(schema.conversations)


def _constants_of_framing(schema: Schema) -> Iterator[tuple[str, Path]]:
    """Yield names of the C constants that exist only if the schema has a `[framing]` table."""
    yield "check_size", ("framing",)
    kinds = ["max_frame", *([] if schema.framing.kind == "datagram" else ["room"])]
    for at, end in enumerate(schema.ends):
        yield from ((f"{kind}_from_{end}", ("protocol", "ends", at)) for kind in kinds)
    for at, message in enumerate(schema.messages):
        yield f"{message.c_name}_max_frame", ("message", at, "name")


def _constants_of(
    name: str, fields: Iterable[types.Field], path: Path
) -> Iterator[tuple[str, Path]]:
    """Yield the names of C constants for fields, such as `ping_payload_max`, with their paths."""
    for number, field in enumerate(fields):
        for key in field.constants:
            yield f"{name}_{field.c_name}_{key}", (*path, number, "name")


def _check_outputs(document: Document, schema: Schema) -> None:
    seen = {schema.path.resolve(), path_of(schema.path).resolve()}
    for at, output in enumerate(schema.outputs):
        if not backends.exists(output.backend):
            message = f"unknown backend `{output.backend}`"
            hint = f"known: {', '.join(backends.names())}"
            document.error("unknown-backend", ("output", at, "backend"), message, hint)
        elif output.style and output.style not in (known := backends.styles(output.backend)):
            hint = f"known: {', '.join(known)}" if known else "remove `style`: it has no styles"
            message = f"`{output.backend}` has no style `{output.style}`"
            document.error("bad-style", ("output", at, "style"), message, hint)
        if output.path in seen:
            text = "this file is the schema, its released form, or another output"
            document.error("duplicate-output", ("output", at, "file"), text, "choose another file")
        seen.add(output.path)


def _check_modules(document: Document, schema: Schema) -> None:
    """Check that the name of each Python module in the schema is valid in an `import` statement."""
    strategies = any(output.backend == "strategies" for output in schema.outputs)
    for at, output in enumerate(schema.outputs):
        named = ("output", at, "module") in document.positions
        words = output.module.split(".")
        right = all(word.isidentifier() and not keyword.iskeyword(word) for word in words)
        if not right and (named or (strategies and output.backend == "python")):
            path = ("output", at, "module" if named else "file")
            message = f"Python cannot import a module with the name `{output.module}`"
            document.error("bad-module", path, message, 'such as `module = "package.module"`')
