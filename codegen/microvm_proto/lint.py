"""The rules that a schema obeys beyond being readable: names, numbers, order."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable

from microvm_proto.faults import FAULTS, FIRST_OWN_CODE
from microvm_proto.load import Document
from microvm_proto.positions import Path
from microvm_proto.schema import INTEGERS, ByteList, Enum, Message, Schema, Tail

_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_MAX_BODY = 1 << 24
# C11 keywords, C++'s where they differ, and macros of the standard headers.
_C_WORDS = """
    auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef union
    unsigned void volatile while bool true false class new delete this template namespace private
    public protected operator errno stdin stdout stderr assert linux unix null
"""
_RESERVED = frozenset((*_C_WORDS.split(), *keyword.kwlist, *dir(builtins)))


def lint(document: Document, schema: Schema) -> None:
    """Note every breach of a rule in `document`."""
    _names(document, ("protocol", "name"), [(("protocol", "name"), schema.name)])
    _enums(document, schema)
    _messages(document, schema)


def _names(document: Document, where: Path, names: Iterable[tuple[Path, str]]) -> None:
    seen: set[str] = set()
    for path, name in names:
        if not name:
            continue
        if not _NAME.fullmatch(name):
            document.error("bad-name", path, f"`{name}` is not lower_case_with_underscores")
        elif where[-1] != "value" and name in _RESERVED:
            document.error(
                "reserved-word", path, f"`{name}` is a word of C or Python", "choose another"
            )
        if name in seen:
            document.error("duplicate-name", path, f"`{name}` is there already")
        seen.add(name)


def _numbers(document: Document, numbers: Iterable[tuple[Path, int]], low: int, high: int) -> None:
    seen: set[int] = set()
    for path, number in numbers:
        if not low <= number <= high:
            document.error("bad-number", path, f"{number} is not between {low} and {high}")
        if number in seen:
            document.error("duplicate-number", path, f"{number} is taken already")
        seen.add(number)


def _enums(document: Document, schema: Schema) -> None:
    _names(
        document,
        ("enum",),
        [(("enum", at, "name"), enum.name) for at, enum in enumerate(schema.enums)],
    )
    for at, enum in enumerate(schema.enums):
        if enum.name in (*INTEGERS, "bytes", "tail"):
            document.error("duplicate-name", ("enum", at, "name"), f"`{enum.name}` is built in")
        if not enum.values:
            document.error("empty-enum", ("enum", at), f"`{enum.name}` has no value")
        _enum_values(document, at, enum)


def _enum_values(document: Document, at: int, enum: Enum) -> None:
    own = enum.values[len(FAULTS) :] if enum.extends_faults else enum.values
    path = ("enum", at, "value")
    _names(document, path, [((*path, n, "name"), value.name) for n, value in enumerate(own)])
    low = FIRST_OWN_CODE if enum.extends_faults else enum.base.minimum
    numbers = [((*path, n, "number"), value.number) for n, value in enumerate(own)]
    _numbers(document, numbers, low, enum.base.maximum)


def _messages(document: Document, schema: Schema) -> None:
    messages = list(enumerate(schema.messages))
    _names(document, ("message",), [(("message", at, "name"), m.name) for at, m in messages])
    numbers = [(("message", at, "number"), m.number) for at, m in messages]
    _numbers(document, numbers, 1, INTEGERS["u16"].maximum)
    for at, message in messages:
        _fields(document, at, message)


def _fields(document: Document, at: int, message: Message) -> None:
    path = ("message", at, "field")
    names = [((*path, n, "name"), field.name) for n, field in enumerate(message.fields)]
    _names(document, path, names)
    newest = message.since
    for number, field in enumerate(message.fields):
        here = (*path, number)
        last = number == len(message.fields) - 1
        if field.name == "id":
            document.error("reserved-word", (*here, "name"), "the id is in the header")
        if isinstance(field.type, Tail) and not last:
            document.error("tail-not-last", (*here, "type"), "nothing can follow a tail")
        if isinstance(field.type, ByteList) and field.type.max_item > field.type.max_total:
            document.error("bad-bound", (*here, "max_item"), "an item is longer than the total")
        if field.since < newest and not isinstance(field.type, Tail):
            document.error(
                "not-appended",
                here,
                f"`{field.name}` is older than the field before it",
                "fields are only added at the end, each with the version that brought it",
            )
        newest = max(newest, field.since)
    if message.max_body > _MAX_BODY:
        document.error(
            "frame-too-long",
            ("message", at, "name"),
            f"the body of `{message.name}` can be {message.max_body} bytes",
            f"lower its bounds: a body is at most {_MAX_BODY} bytes",
        )
