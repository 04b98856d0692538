"""A reader of MAVLink message definitions: an XML file, and the files that it includes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

MAX_SIZE = 1 << 21
"""Maximum size in bytes of a file of definitions together with all files that it includes.

The limit is twice the total size of MAVLink's own definitions.
"""
MAX_FILES = 100

TYPES = {
    "char": "u8",
    "uint8_t_mavlink_version": "u8",
    "float": "f32",
    "double": "f64",
    **{f"{u}int{8 * n}_t": f"{u or 'i'}{8 * n}" for u in ("u", "") for n in (1, 2, 4, 8)},
}
"""Mapping from the types of fields in MAVLink to the types of a schema."""

_TYPE = re.compile(r"(\w+?)(?:\[([1-9]\d{0,2})\])?")
_POWER = re.compile(r"2\*\*(\d\d?)")


class Refused(Exception):
    """The MAVLink definitions are invalid, or cannot be read. The message names file and reason."""


@dataclass(frozen=True, slots=True)
class MavlinkField:
    """A field of a message in the MAVLink definitions, with its type, unit and documentation.

    :ivar count: Number of elements of an array; 0 for a single value.
    :ivar multiplier: Factor that converts the value into its unit, as text from the definitions.
    :ivar invalid: Value that means "no value", as text from the definitions.
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
        """Number of bytes of a single value of the field."""
        return int(TYPES[self.type][1:]) // 8


@dataclass(frozen=True, slots=True)
class MavlinkMessage:
    """A message in the MAVLink definitions: its name, number, documentation and fields.

    :ivar obstacle: Reason why the message cannot be imported; empty if it can.
    """

    name: str
    number: int
    doc: str
    fields: tuple[MavlinkField, ...]
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class MavlinkEntry:
    """A value of an enum in the MAVLink definitions: its name, number and documentation."""

    name: str
    number: int
    doc: str


@dataclass(slots=True)
class MavlinkEnum:
    """An enum in the MAVLink definitions. Several files may add values to it."""

    name: str
    bitmask: bool
    doc: str
    entries: list[MavlinkEntry] = field(default_factory=list)
    highest: int = 0

    def add(self, name: str, number: int | None, doc: str) -> None:
        """Add a value to the enum, with the number after the highest if `number` is None."""
        number = self.highest + 1 if number is None else number
        self.highest = max(self.highest, number)
        self.entries.append(MavlinkEntry(name, number, doc))


@dataclass(slots=True)
class Dialect:
    """All MAVLink definitions of a file. Those of the files that it includes come first."""

    version: int = 0
    enums: dict[str, MavlinkEnum] = field(default_factory=dict)
    messages: list[MavlinkMessage] = field(default_factory=list)


def read(path: Path) -> Dialect:
    """Read the MAVLink definitions in the file at `path`, and in the files that it includes."""
    dialect = Dialect()
    for root in _Files().including(path):
        version = root.findtext("version")
        dialect.version = _number(version.strip(), "a version") if version else dialect.version
        for element in root.iterfind("enums/enum"):
            _add_enum(dialect.enums, element)
        dialect.messages += [_message(each) for each in root.iterfind("messages/message")]
    if not dialect.messages:
        raise Refused(f"{path}: the file defines no messages")
    return dialect


class _PositionedTreeBuilder(TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        # Refuse a document type, because it can declare entities that expand to huge texts or read
        # other files.
        raise Refused("the file has a document type, which message definitions must not have")


class _Files:
    """A reader of XML files that limits their number and their total size."""

    def __init__(self) -> None:
        self.room = MAX_SIZE
        self.known: set[Path] = set()

    def including(self, path: Path) -> Iterator[Element]:
        """Yield the root elements of all XML files that `path` includes, and then its own."""
        self.known.add(path)
        if len(self.known) > MAX_FILES:
            raise Refused(f"{path}: there are more than {MAX_FILES} included files")
        root = self.parse(path)
        for include in root.iterfind("include"):
            name = (include.text or "").strip()
            beside = path.with_name(name) if name and Path(name).name == name else path.parent
            if beside == path.parent or beside.is_symlink():
                raise Refused(f"{path}: cannot include {name!a}, which is not a file in its folder")
            if not beside.exists():
                raise Refused(f"{beside}: the file does not exist, but {path} includes it; add it")
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
                raise Refused(f"the included files have more than {MAX_SIZE >> 20} MiB")
            parser = XMLParser(target=_PositionedTreeBuilder())  # noqa: S314 - refuses document types
            parser.feed(data)
            root: Element = parser.close()
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from None
        except (Refused, ParseError, LookupError, ValueError) as error:
            raise Refused(f"{path}: {error}") from None
        if root.tag != "mavlink":
            raise Refused(f"{path}: the root element is <{root.tag}> instead of <mavlink>")
        return root


def _add_enum(enums: dict[str, MavlinkEnum], element: Element) -> None:
    name = _attribute(element, "name")
    known = enums.setdefault(
        name, MavlinkEnum(name, element.get("bitmask") == "true", _doc(element))
    )
    for child in element.iterfind("entry"):
        entry, value = _attribute(child, "name"), child.get("value")
        known.add(entry, None if value is None else _number(value, entry), _doc(child))


def _message(element: Element) -> MavlinkMessage:
    name = _attribute(element, "name")
    number = _number(_attribute(element, "id"), name)
    base: list[MavlinkField] = []
    extensions: list[MavlinkField] = []
    fields = base
    for child in element:
        if child.tag == "extensions":
            fields = extensions
        elif child.tag == "field":
            found = _field(child)
            if found.type not in TYPES:
                problem = f"its field {found.name} has the unknown type {found.type}"
                return MavlinkMessage(name, number, "", (), problem)
            fields.append(found)
    base.sort(key=lambda field: -field.size)
    return MavlinkMessage(name, number, _doc(element), (*base, *extensions))


def _field(element: Element) -> MavlinkField:
    kind = _attribute(element, "type")
    match = _TYPE.fullmatch(kind)
    return MavlinkField(
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
        problem = f"has an invalid {key}={value!a}" if value else f"has no {key}"
        raise Refused(f"a <{element.tag}> {problem}")
    return value


def _number(text: str, owner: str) -> int:
    if power := _POWER.fullmatch(text):
        return 1 << int(power[1])
    try:
        return int(text[:70], 0)
    except ValueError:
        raise Refused(f"{owner} has {text!a}, which is not a number") from None


def _doc(element: Element) -> str:
    """Return the description of an XML element, and a note if it is unfinished or deprecated."""
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
    """Join all texts that are not empty. If there is more than one, each ends with a full stop."""
    texts = [part for part in parts if part]
    ended = [text if text.endswith((".", "!", "?")) else f"{text}." for text in texts]
    return " ".join(ended if len(ended) > 1 else texts)


def _prose(text: str | None) -> str:
    words = "".join(c if c.isprintable() else " " for c in text or "").split()
    return " ".join(words)
