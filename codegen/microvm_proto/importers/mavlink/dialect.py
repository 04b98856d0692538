"""A reader of MAVLink's message definitions: an XML file, and those that it includes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

MAX_SIZE = 1 << 21
"""Bytes that a file may have with all that it includes; all that MAVLink has are half of it."""
MAX_FILES = 100

TYPES = {
    "char": "u8",
    "uint8_t_mavlink_version": "u8",
    "float": "f32",
    "double": "f64",
    **{f"{u}int{8 * n}_t": f"{u or 'i'}{8 * n}" for u in ("u", "") for n in (1, 2, 4, 8)},
}
"""The types of fields, and what they are called here."""

_TYPE = re.compile(r"(\w+?)(?:\[([1-9]\d{0,2})\])?")
_POWER = re.compile(r"2\*\*(\d\d?)")


class Refused(Exception):
    """The definitions are not MAVLink's, or not to be read; the message says where, and why."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message.

    :ivar type: one of `TYPES`.
    :ivar count: how many of it there are in an array; 0 for a single one.
    """

    name: str
    type: str
    count: int
    enum: str
    unit: str
    multiplier: str
    invalid: str
    doc: str

    @property
    def size(self) -> int:
        """The bytes of one value."""
        return int(TYPES[self.type][1:]) // 8


@dataclass(frozen=True, slots=True)
class Message:
    """A message; its fields are in the order of the wire.

    :ivar obstacle: why it cannot be imported; empty if it can.
    """

    name: str
    number: int
    doc: str
    fields: tuple[Field, ...]
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of an enum."""

    name: str
    number: int
    doc: str


@dataclass(slots=True)
class Enum:
    """An enum, which several files may have added to."""

    name: str
    bitmask: bool
    doc: str
    entries: list[Entry] = field(default_factory=list)
    highest: int = 0

    def add(self, name: str, number: int | None, doc: str) -> None:
        """Add an entry; without a number it has the next one."""
        number = self.highest + 1 if number is None else number
        self.highest = max(self.highest, number)
        self.entries.append(Entry(name, number, doc))


@dataclass(slots=True)
class Dialect:
    """What a file and those that it includes define, what is included first."""

    version: int = 0
    enums: dict[str, Enum] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)


def read(path: Path) -> Dialect:
    """Read the definitions in `path`, and in the files of its folder that it includes.

    :raises Refused: they cannot be used.
    """
    dialect = Dialect()
    for root in _Files().including(path):
        version = root.findtext("version")
        dialect.version = _number(version.strip(), "a version") if version else dialect.version
        for element in root.iterfind("enums/enum"):
            _add_enum(dialect.enums, element)
        dialect.messages += [_message(each) for each in root.iterfind("messages/message")]
    if not dialect.messages:
        raise Refused(f"{path}: there is no message in it")
    return dialect


class _Builder(TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        # Entities grow when they are expanded, or are other files; no definitions need them.
        raise Refused("a document type is not for definitions of messages")


class _Files:
    """The files that have been read, and the bytes that may still be."""

    def __init__(self) -> None:
        self.room = MAX_SIZE
        self.known: set[Path] = set()

    def including(self, path: Path) -> Iterator[Element]:
        """Yield the elements of the files that `path` includes, and then its own.

        :raises Refused: one of them is not to be read, or is no file of definitions.
        """
        self.known.add(path)
        if len(self.known) > MAX_FILES:
            raise Refused(f"{path}: there are more than {MAX_FILES} files before it")
        root = self.parse(path)
        for include in root.iterfind("include"):
            name = (include.text or "").strip()
            beside = path.with_name(name) if name and Path(name).name == name else path.parent
            if beside == path.parent or beside.is_symlink():
                raise Refused(f"{path}: {name!a} is not a file of this folder, so not included")
            if not beside.exists():
                raise Refused(f"{beside}: there is no such file; {path} includes it: put it there")
            if beside not in self.known:
                yield from self.including(beside)
        yield root

    def parse(self, path: Path) -> Element:
        if path.exists() and not path.is_file():
            raise Refused(f"{path}: not a regular file")
        try:
            with path.open("rb") as file:
                data = file.read(self.room + 1)
            self.room -= len(data)
            if self.room < 0:
                raise Refused(f"more than {MAX_SIZE >> 20} MiB, with what is included")
            parser = XMLParser(target=_Builder())  # noqa: S314 - without document types
            parser.feed(data)
            root: Element = parser.close()
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from None
        except (Refused, ParseError, LookupError, ValueError) as error:
            raise Refused(f"{path}: {error}") from None
        if root.tag != "mavlink":
            raise Refused(f"{path}: the root is <{root.tag}>, and that of definitions <mavlink>")
        return root


def _add_enum(enums: dict[str, Enum], element: Element) -> None:
    name = _attribute(element, "name")
    known = enums.setdefault(name, Enum(name, element.get("bitmask") == "true", _doc(element)))
    for child in element.iterfind("entry"):
        entry, value = _attribute(child, "name"), child.get("value")
        known.add(entry, None if value is None else _number(value, entry), _doc(child))


def _message(element: Element) -> Message:
    name = _attribute(element, "name")
    number = _number(_attribute(element, "id"), name)
    base: list[Field] = []
    extensions: list[Field] = []
    there = base
    for child in element:
        if child.tag == "extensions":
            there = extensions
        elif child.tag == "field":
            found = _field(child)
            if found.type not in TYPES:
                return Message(name, number, "", (), f"{found.name} is of type {found.type}")
            there.append(found)
    base.sort(key=lambda field: -field.size)
    return Message(name, number, _doc(element), (*base, *extensions))


def _field(element: Element) -> Field:
    kind = _attribute(element, "type")
    match = _TYPE.fullmatch(kind)
    return Field(
        name=_attribute(element, "name"),
        type=match[1] if match else kind,
        count=int(match[2] or 0) if match else 0,
        enum=element.get("enum", ""),
        unit=element.get("units", ""),
        multiplier=element.get("multiplier", ""),
        invalid=element.get("invalid", ""),
        doc=_prose(element.text),
    )


def _attribute(element: Element, key: str) -> str:
    value = element.get(key)
    if not value or not re.fullmatch(r"[\w\[\]]+", value):
        raise Refused(f"a <{element.tag}> has {f'{key}={value!a}' if value else f'no {key}'}")
    return value


def _number(text: str, of: str) -> int:
    if power := _POWER.fullmatch(text):
        return 1 << int(power[1])
    try:
        return int(text[:70], 0)
    except ValueError:
        raise Refused(f"{of} has {text!a}, which is no number") from None


def _doc(element: Element) -> str:
    """Return what is said of an element, and that it is not to be relied on."""
    parts = [_prose(element.findtext("description"))]
    if element.find("wip") is not None:
        parts.append("Work in progress")
    for tag in ("deprecated", "superseded"):
        if (old := element.find(tag)) is not None:
            by = _prose(old.get("replaced_by"))
            instead = f", replaced by {by}" if by else ""
            parts.append(f"{tag.capitalize()} since {_prose(old.get('since'))}{instead}")
            parts.append(_prose(old.text))
    return sentences(*parts)


def sentences(*parts: str) -> str:
    """Join what is there of texts; of several, each has an end."""
    there = [part for part in parts if part]
    ends = [part if part.endswith((".", "!", "?")) else f"{part}." for part in there]
    return " ".join(ends if len(ends) > 1 else there)


def _prose(text: str | None) -> str:
    words = "".join(c if c.isprintable() else " " for c in text or "").split()
    return " ".join(words)
