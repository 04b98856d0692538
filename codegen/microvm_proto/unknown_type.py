"""The hints for a type that does not exist here, such as one of another protocol language."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from microvm_proto.schema import INTEGERS

_SIZED = re.compile(r"(u?)(?:int|i|s)?_?(\d+)(?:_?t)?")
_INTEGERS = f"{', '.join(list(INTEGERS)[:-1])} and {list(INTEGERS)[-1]}"
_FLAT = "messages are flat: put its fields here, or what it encodes to into a `bytes`"
# In this order: `list<f32>` is a list.
_FOREIGN = (
    (
        r"(bytes?|octets?|u8|uint8(_t)?|(unsigned )?char)\s*(\[.*\]|<.*>|\(.*\))",
        "write `bytes`, with the bound as `max`",
    ),
    (
        r"(repeated|list|array|vec|vector|seq|sequence|set|slice)\b.*|.+\[.*\]",
        "the one list is `list<bytes>`, of which an item can hold any value",
    ),
    (
        r"(map|dict|table)\b.*",
        "there are no maps: send a `list<bytes>`, such as of KEY=VALUE",
    ),
    (
        r"(optional|option|maybe|nullable)\b.*|.+\?",
        "every field is always there: have a value that means none, or a message without the field",
    ),
    (
        r"(struct|message|object|record|tuple|union|oneof|variant|any|json)\b.*",
        _FLAT,
    ),
    (
        r"b?f(p|loat)?_?\d*(_?t)?|double|half|real|decimal\d*|fixed\d*|number|numeric",
        "there are no fractions: send an integer in a smaller unit, such as thousandths",
    ),
    (
        r"c?_?str(ing)?\d*|text|utf[-_]?8|unicode|w?chars?(_t)?|varchar.*",
        "text is `bytes`; its `doc` says in which encoding",
    ),
    (
        r"bool(ean)?|flag|bit",
        "declare a closed enum with two values, such as no = 0 and yes = 1",
    ),
    (
        r"(date_?)?time(stamp|_t)?|date|duration|instant|timespec|timeval",
        "time is an integer; its `doc` says in which unit, and since when",
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
        return f"`{name}` is a message, and {_FLAT}"
    return _integer(word) or _foreign(word) or _similar(word, known)


def hint_of_enum(name: str) -> str:
    """Return a line that says what to write instead of an enum's type: an integer."""
    return _integer(name.strip().lower()) or f"an enum is an integer on the wire: {_INTEGERS}"


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
