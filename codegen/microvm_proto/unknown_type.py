"""The hints for a type that does not exist here, such as one of another protocol language."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from microvm_proto.types import INTEGERS

_SIZED = re.compile(r"(u?)(?:int|i|s)?_?(\d+)(?:_?t)?")
_INTEGERS = f"{', '.join(list(INTEGERS)[:-1])} and {list(INTEGERS)[-1]}"
_FRACTIONS = "floats are f32 and f64; or send an integer, with what it is multiplied by as `scale`"
# In this order: `list<string>` is a list.
_FOREIGN = (
    (
        r"(bytes?|octets?|u8|uint8(_t)?|(unsigned )?char)\s*(\[.*\]|<.*>|\(.*\))",
        "write `bytes`, with the bound as `max`; or `u8` with a `count`, if it is always as many",
    ),
    (
        r"(repeated|list|array|vec|vector|seq|sequence|set|slice)\b.*|.+\[.*\]",
        "an array is its element's type with a `count`; a list is `list<bytes>`, or `list<NAME>` "
        "of a type of fixed size, with `max_items`",
    ),
    (
        r"(map|dict|table)\b.*",
        "there are no maps: send a list of a [[struct]], or a `list<bytes>`, such as of KEY=VALUE",
    ),
    (
        r"(optional|option|maybe|nullable)\b.*|.+\?",
        "every field is always there: say which number stands for none as `absent`, or have a "
        "message without the field",
    ),
    (r"(struct|object|record|tuple)\b.*", "declare a [[struct]], and write its name"),
    (
        r"(message|union|oneof|variant|any|json)\b.*",
        "there are no unions: have a message for each, or what it encodes to in a `bytes`",
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
        "write `text`, with the bound in bytes as `max`; or `u8` with a `count`",
    ),
    (r"_?bool(ean)?(_t)?", "did you mean `bool`?"),
    (
        r"flags?|bits?|bit_?(field|mask|set|map)\w*",
        "declare [[flags]], with a [[flags.bit]] for each, and write their name",
    ),
    (
        r"(date_?)?time(stamp|_t)?|date|duration|instant|timespec|timeval",
        "time is an integer; its `unit` says which, and its `doc` since when",
    ),
    (
        r"blob|binary|data|buffer|octets?|bytearray|raw|opaque",
        "did you mean `bytes`?",
    ),
    (
        r"u?_?int(eger)?|(unsigned|signed|long|short)\b.*|[ui]?size(_t)?|varint|zigzag",
        f"an integer has a size: {_INTEGERS}",
    ),
)


def hint(name: str, known: Collection[str], messages: Collection[str]) -> str:
    """Return a line that says what to write instead of a field's type.

    :param known: the types that there are.
    :param messages: the names of messages, which are no types.
    """
    word = name.strip().lower()
    if word in known:
        return f"did you mean `{word}`?"
    if name in messages:
        return f"`{name}` is a message: declare a [[struct]] for what is in it"
    return _integer(word) or _foreign(word) or _similar(word, known)


def hint_of_base(name: str, kind: str) -> str:
    """Return a line that says what to write instead of the type of an enum or of flags.

    :param kind: `enum` or `flags`.
    """
    verb = "an enum is" if kind == "enum" else "flags are"
    return _integer(name.strip().lower()) or f"{verb} an integer on the wire: {_INTEGERS}"


def _integer(word: str) -> str:
    """Suggest the integer that C, Rust or protobuf call so: never one of another size or sign."""
    sized = _SIZED.fullmatch(word)
    if sized is None:
        return ""
    meant = f"{sized[1] or 'i'}{sized[2]}"
    if meant in INTEGERS:
        return f"did you mean `{meant}`?"
    return f"integers are {_INTEGERS}; what is longer is `bytes`"


def _foreign(word: str) -> str:
    return next((text for form, text in _FOREIGN if re.fullmatch(form, word)), "")


def _similar(word: str, known: Collection[str]) -> str:
    # The names of integers are always similar, and never meant for each other.
    close = difflib.get_close_matches(word, [each for each in known if each not in INTEGERS], 1)
    return f"did you mean `{close[0]}`?" if close else f"known: {', '.join(known)}"
