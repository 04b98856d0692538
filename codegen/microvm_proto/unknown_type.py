"""Hints for a type that does not exist, such as a type of C, Rust or protobuf."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from microvm_proto.types import INTEGERS

_SIZED = re.compile(r"(u?)(?:int|i|s)?_?(\d+)(?:_?t)?")
_INTEGERS = f"{', '.join(list(INTEGERS)[:-1])} and {list(INTEGERS)[-1]}"
_FRACTIONS = "write `f32` or `f64`, or an integer with a `scale`"
# These patterns are tried in order, because a type can match several of them. For example,
# `varchar[]` matches the pattern of lists, which comes first, and also that of strings.
_FOREIGN = (
    (
        r"(bytes?|octets?|u8|uint8(_t)?|(unsigned )?char)\s*(\[.*\]|<.*>|\(.*\))",
        "write `bytes` with a `max`, or `u8` with a `count` if the number of bytes is fixed",
    ),
    (
        r"(repeated|list|array|vec|vector|seq|sequence|set|slice)\b.*|.+\[.*\]",
        "for a fixed number of items, write the item's type and a `count`; otherwise, write "
        "`list<bytes>`, or `list<TYPE>` with a type of fixed size and `max_items`",
    ),
    (
        r"(map|dict|table)\b.*",
        "there are no maps: write a list of a [[struct]], or a `list<bytes>` of KEY=VALUE items",
    ),
    (
        r"(optional|option|maybe|nullable)\b.*|.+\?",
        'there are no optional fields: choose a number that means "no value" as `absent`, or '
        "declare a second message without the field",
    ),
    (r"(struct|object|record|tuple)\b.*", "declare a [[struct]], and write its name"),
    (
        r"(message|union|oneof|variant|any|json)\b.*",
        "there are no unions: declare a message for each variant, or write `bytes` and encode the "
        "value yourself",
    ),
    (r"f(p|loat)?_?32(_?t)?|float|single", "did you mean `f32`?"),
    (r"f(p|loat)?_?64(_?t)?|double", "did you mean `f64`?"),
    (
        r"b?f(p|loat)?_?\d*(_?t)?|half|real|decimal\d*|fixed\d*|number|numeric|long double",
        _FRACTIONS,
    ),
    (r"c?_?str(ing)?\d*|utf[-_]?8|unicode|varchar.*", "did you mean `text`?"),
    (
        r"w?chars?(_t)?",
        "write `text` with a `max` in bytes, or `u8` with a `count`",
    ),
    (r"_?bool(ean)?(_t)?", "did you mean `bool`?"),
    (
        r"flags?|bits?|bit_?(field|mask|set|map)\w*",
        "declare [[flags]] with a [[flags.bit]] for each bit, and write the name of the flags",
    ),
    (
        r"(date_?)?time(stamp|_t)?|date|duration|instant|timespec|timeval",
        "write an integer, with a `unit`, and the epoch in its `doc`",
    ),
    (
        r"blob|binary|data|buffer|octets?|bytearray|raw|opaque",
        "did you mean `bytes`?",
    ),
    (
        r"u?_?int(eger)?|(unsigned|signed|long|short)\b.*|[ui]?size(_t)?|varint|zigzag",
        f"choose an integer type with a size: {_INTEGERS}",
    ),
)


def hint(name: str, known_types: Collection[str], messages: Collection[str]) -> str:
    """Return a hint for a field whose type `name` does not exist, such as a similar known type."""
    word = name.strip().lower()
    if word in known_types:
        return f"did you mean `{word}`?"
    if name in messages:
        return f"`{name}` is a message, not a type: declare a [[struct]] with its fields"
    return _integer(word) or _foreign(word) or _similar(word, known_types)


def hint_of_base(name: str, kind: str) -> str:
    """Return a hint for an enum or flags (`kind`) whose integer type `name` does not exist."""
    subject = "an enum" if kind == "enum" else "flags"
    hint = f"the type of {subject} must be an integer: {_INTEGERS}"
    return _integer(name.strip().lower()) or hint


def _integer(word: str) -> str:
    """Return a hint for `word`, such as `u8` for `uint8_t`; empty if it is no integer type."""
    sized = _SIZED.fullmatch(word)
    if sized is None:
        return ""
    meant = f"{sized[1] or 'i'}{sized[2]}"
    if meant in INTEGERS:
        return f"did you mean `{meant}`?"
    return f"integer types are {_INTEGERS}; for a larger value, write `bytes`"


def _foreign(word: str) -> str:
    return next((text for form, text in _FOREIGN if re.fullmatch(form, word)), "")


def _similar(word: str, known: Collection[str]) -> str:
    # Do not guess integer types, as their names resemble each other: `u16` is no good guess for
    # `u61`.
    close = difflib.get_close_matches(word, [each for each in known if each not in INTEGERS], 1)
    return f"did you mean `{close[0]}`?" if close else f"known: {', '.join(known)}"
