"""The comparison of a schema with its released form, for whether ends of both can talk.

They can when the schema, reduced to the released version, says the same of every byte. What more
there is must then have come with a later version. Names are no part of that: they are noted.
"""

from __future__ import annotations

import difflib
from enum import Enum as Choice
from pathlib import Path as FilePath

from microvm_proto.diagnostics import in_order, render
from microvm_proto.faults import FAULTS
from microvm_proto.load import Document
from microvm_proto.positions import Path
from microvm_proto.resolve import read
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
    Type,
    bounds,
)


class Verdict(Choice):
    """The relation of a schema to its released form."""

    EQUIVALENT = "equivalent to"
    NEWER = "newer than"
    INCOMPATIBLE = "incompatible with"


class Comparison:
    """The changes since a schema was released.

    :ivar verdict: whether ends of both can talk to each other.
    """

    def __init__(self, schema: FilePath, released: FilePath) -> None:
        """Compare the schema file with the released one.

        :raises SchemaError: one of them cannot be used.
        """
        self._new_document = Document(schema)
        self.new = read(self._new_document)
        self._old_document = Document(released)
        self.old = read(self._old_document)
        self._schema()
        self.verdict = Verdict.NEWER if self._has_additions() else Verdict.EQUIVALENT
        if self.errors:
            self.verdict = Verdict.INCOMPATIBLE
        else:
            self._bodies()
        self._version()

    @property
    def errors(self) -> int:
        """The number of findings that forbid a release."""
        found = [*self._new_document.diagnostics, *self._old_document.diagnostics]
        return sum(not finding.is_note for finding in found)

    def report(self) -> str:
        """Render all findings with their lines, those in the released form last."""
        documents = (self._new_document, self._old_document)
        reports = (render(d.path, d.text, in_order(d.diagnostics)) for d in documents)
        return "\n".join(report for report in reports if report)

    def _error(self, rule: str, path: Path, message: str, hint: str = "") -> None:
        back = f"put it back; what is new can come beside it, with `since = {self._next_version()}`"
        self._new_document.error(rule, path, message, hint or back)

    def _removed(self, rule: str, path: Path, message: str, hint: str) -> None:
        """Note something that is no longer there, where it was in the released form."""
        self._old_document.error(rule, path, message, hint)

    def _next_version(self) -> int:
        return max(self.old.version + 1, self.new.version)

    def _since_hint(self) -> str:
        since = self._next_version()
        raised = f"raise `version` to {since}, and " if self.new.version < since else ""
        return f"{raised}add `since = {since}`: only a later version can have it"

    def _note_renamed(self, path: Path, old: str, new: str) -> None:
        if old == new:
            return
        if self.new.framing.check_size and path[0] in ("message", "struct"):
            message = f"`{old}` is called `{new}` now, and names are in the seed of a check"
            self._error("seed-changed", path, message, f"call it `{old}` again")
            return
        message = f"`{old}` is called `{new}` now: the same on the wire, another name in code"
        self._new_document.note("renamed", path, message)

    def _schema(self) -> None:
        new, old = self.new, self.old
        self._note_renamed(("protocol", "name"), old.name, new.name)
        for at in (0, 1):
            self._note_renamed(("protocol", "ends", at), old.ends[at], new.ends[at])
        if new.framing != old.framing:
            text = "frames of older ends look otherwise, or end elsewhere"
            self._error("framing-changed", ("framing",), text, "put it back as it was")
        self._constants()
        self._messages()
        self._reserved(old.reserved, new.reserved, ("protocol", "reserved"))

    def _constants(self) -> None:
        released = {constant.name: constant.value for constant in self.old.constants}
        for at, constant in enumerate(self.new.constants):
            before = released.get(constant.name, constant.value)
            if constant.value != before:
                text = f"`{constant.name}` was {before!r}, and older ends go by that"
                self._error("constant-changed", ("constant", at, "value"), text, "put it back")

    def _version(self) -> None:
        """Check that the version was raised if, and only if, something is new."""
        new, old, there = self.new, self.old, ("protocol", "version")
        if new.version < old.version:
            hint = f"a version is never taken back: `version = {old.version}` or more"
            self._error("version-lowered", there, f"version {old.version} is released", hint)
        elif new.version > old.version and not self._has_additions():
            message = f"nothing in the schema is newer than version {old.version}"
            hint = f"`version = {old.version}`, or `since = {new.version}` on what is new"
            self._error("version-needless", there, message, hint)

    def _has_additions(self) -> bool:
        """Tell whether anything came after the released version."""
        return any(
            since > self.old.version
            for since in (
                *(value.since for enum in self.new.enums for value in enum.values),
                *(version for message in self.new.messages for version in message.versions),
            )
        )

    def _bodies(self) -> None:
        for old_end, end in zip(self.old.ends, self.new.ends, strict=True):
            before, now = self.old.max_body_from(old_end), self.new.max_body_from(end)
            if now > before:
                sent = [
                    at
                    for at, m in enumerate(self.new.messages)
                    if m.sender in (end, "both") and m.max_body == now
                ]
                message = f"the longest body that {end} sends grows from {before} to {now} bytes"
                self._new_document.note("body-grown", ("message", sent[0], "name"), message)

    def _reserved(self, old: tuple[int, ...], new: tuple[int, ...], path: Path) -> None:
        lost = [str(number) for number in old if number not in new]
        if lost:
            message = (
                f"{', '.join(lost)} of the released form {'are' if lost[1:] else 'is'} missing"
            )
            self._error("reserved-lost", path, message, "numbers stay reserved: put them back")

    def _messages(self) -> None:
        old = {message.number: (at, message) for at, message in enumerate(self.old.messages)}
        names = {message.name: message.number for message in self.old.messages}
        for at, message in enumerate(self.new.messages):
            path: Path = ("message", at)
            if names.get(message.name, message.number) != message.number:
                self._renumbered(path, message.name, names[message.name])
            elif message.number in old:
                old_at, before = old[message.number]
                self._note_renamed((*path, "name"), before.name, message.name)
                self._message(path, message, ("message", old_at), before)
            elif message.since <= self.old.version:
                text = f"`{message.name}` is new, and an older {self._reader(message)} refuses it"
                self._error("message-unversioned", (*path, "name"), text, self._since_hint())
        there = {message.number for message in self.new.messages}
        kept = {message.name for message in self.new.messages}
        for number, (at, message) in old.items():
            if number not in there and message.name not in kept:
                text = f"`{message.name}` is gone, and an older {self._writer(message)} sends it"
                hint = f"put it back; when nobody speaks it any more, `reserved = [{number}]`"
                self._removed("message-removed", ("message", at, "name"), f"{text}", hint)

    def _renumbered(self, path: Path, name: str, number: int) -> None:
        message = f"the number of `{name}` was {number}"
        self._error("number-changed", (*path, "number"), message, "put it back")

    def _reader(self, message: Message) -> str:
        if message.sender == "both":
            return "end"
        return self.new.ends[1 - self.new.ends.index(message.sender)]

    def _writer(self, message: Message) -> str:
        return "end" if message.sender == "both" else message.sender

    def _message(self, path: Path, new: Message, old_path: Path, old: Message) -> None:
        if self._sender_index(self.new, new) != self._sender_index(self.old, old):
            text = f"`{old.sender}` sends `{new.name}`, and older ends refuse it from others"
            self._error("sender-changed", (*path, "sender"), text)
        if new.id != old.id:
            text = f'the id of `{new.name}` was "{old.id}", and older ends go by that'
            self._error("id-changed", (*path, "id"), text)
        if old.frozen and not new.frozen:
            message = f"the layout of `{new.name}` was promised to stay"
            self._error("frozen-changed", (*path, "name"), message, "put back `frozen = true`")
        self._check_since(path, new.name, new.since, old.since)
        self._fields(path, new, old_path, old)

    def _sender_index(self, schema: Schema, message: Message) -> int:
        return -1 if message.sender == "both" else schema.ends.index(message.sender)

    def _check_since(self, path: Path, name: str, new: int, old: int) -> None:
        if new != old:
            text = f"`{name}` came with version {old}, and ends of then go by that"
            self._error("since-changed", (*path, "since"), text, f"put back `since = {old}`")

    def _fields(self, path: Path, new: Message, old_path: Path, old: Message) -> None:
        """Compare the fields in order; names tell which were inserted or moved."""
        released = {field.name for field in old.fields}
        there = [
            (at, field)
            for at, field in enumerate(new.fields)
            if field.since <= self.old.version or field.name in released
        ]
        names = [field.name for _, field in there]
        before = [field.name for field in old.fields]
        matcher = difflib.SequenceMatcher(None, before, names, autojunk=False)
        for _, i1, i2, j1, j2 in matcher.get_opcodes():
            pairs = i2 - i1 if i2 - i1 == j2 - j1 else 0
            for i, j in zip(range(i1, i1 + pairs), range(j1, j1 + pairs), strict=True):
                at, field = there[j]
                if before[i] != names[j] and (names[j] in before or before[i] in names):
                    self._moved((*path, "field", at), new, field, before)
                    continue
                self._note_renamed((*path, "field", at, "name"), before[i], names[j])
                self._field((*path, "field", at), new, field, old.fields[i])
            for at, field in there[j1 + pairs : j2]:
                self._moved((*path, "field", at), new, field, before)
            for i in range(i1 + pairs, i2):
                if before[i] not in names:
                    field_path = (*old_path, "field", i, "name")
                    message = f"`{before[i]}` of `{old.name}` is gone, and older ends expect it"
                    self._removed("field-removed", field_path, message, "put it back")

    def _moved(self, path: Path, message: Message, field: Field, before: list[str]) -> None:
        if field.name in before:
            text = f"`{field.name}` was field {before.index(field.name) + 1} of `{message.name}`"
            self._error("field-moved", (*path, "name"), text, "put it back in its place")
        else:
            text = f"`{field.name}` is new, and older ends do not expect it in `{message.name}`"
            self._error("field-unversioned", (*path, "name"), text, self._since_hint())

    def _field(self, path: Path, message: Message, new: Field, old: Field) -> None:
        self._check_since(path, new.name, new.since, old.since)
        if _wire_type(new.type) != _wire_type(old.type):
            text = (
                f"the type of `{new.name}` was `{_wire_type(old.type)}`, and older ends read it so"
            )
            self._error("type-changed", (*path, "type"), text)
            return
        if new.equals != old.equals:
            value = "any" if old.equals is None else str(old.equals)
            text = f"the value of `{new.name}` was {value}, and older ends go by that"
            self._error("constant-changed", (*path, "equals"), text)
        self._type(path, message, new.type, old.type)
        if new.default != old.default and message.is_later(new):
            text = f"it was {old.default} in versions without `{new.name}`"
            self._new_document.note("default-changed", (*path, "default"), text)

    def _type(self, path: Path, message: Message, new: Type, old: Type) -> None:
        reader, writer = f"an older {self._reader(message)}", f"an older {self._writer(message)}"
        for (key, before), now in zip(bounds(old).items(), bounds(new).values(), strict=True):
            if now > before:
                text = f"`{key}` was {before}, and {reader} refuses what is above"
                self._error("bound-raised", (*path, key), text)
            elif now < before:
                text = f"`{key}` was {before}, and {writer} may go up to that"
                self._error("bound-lowered", (*path, key), text)
        match old, new:
            case Bytes(nul=False) | ByteList(nul=False), Bytes(nul=True) | ByteList(nul=True):
                text = f"a NUL byte was forbidden, and {reader} refuses it"
                self._error("nul-changed", (*path, "nul"), text)
            case Bytes(nul=True) | ByteList(nul=True), Bytes(nul=False) | ByteList(nul=False):
                text = f"a NUL byte was allowed, and {writer} may send it"
                self._error("nul-changed", (*path, "nul"), text)
        there = self._enum_path(new) or (*path, "type")
        if _is_closed(old) and not _is_closed(new):
            text = f"other values were malformed, and {reader} refuses them"
            self._error("closed-changed", (*there, "closed"), text)
        elif _is_closed(new) and not _is_closed(old):
            text = f"other values were allowed, and {writer} may send them"
            self._error("closed-changed", (*there, "closed"), text)
        elif isinstance(old, Enum) and isinstance(new, Enum):
            self._note_renamed((*there, "name"), old.name, new.name)
            self._reserved(old.reserved, new.reserved, (*there, "reserved"))
            self._values(there, new, old, reader, writer)

    def _enum_path(self, kind: Type) -> Path:
        names = [enum.name for enum in self.new.enums]
        return ("enum", names.index(kind.name)) if isinstance(kind, Enum) else ()

    def _values(self, path: Path, new: Enum, old: Enum, reader: str, writer: str) -> None:
        released = {value.number: value for value in old.values}
        names = {value.name: value.number for value in old.values}
        first = len(FAULTS) if new.extends_faults else 0
        for at, value in enumerate(new.values, -first):
            there = (*path, "value", at)
            if names.get(value.name, value.number) != value.number:
                self._renumbered(there, value.name, names[value.name])
            elif value.number in released:
                self._note_renamed((*there, "name"), released[value.number].name, value.name)
                self._check_since(there, value.name, value.since, released[value.number].since)
            elif new.closed and value.since <= self.old.version:
                text = f"`{value.name}` is new, and {reader} refuses it"
                self._error("value-unversioned", (*there, "name"), text, self._since_hint())
        kept = {value.number for value in new.values} | set(() if new.closed else new.reserved)
        self._removed_values(old, {value.name for value in new.values}, kept, writer)

    def _removed_values(self, enum: Enum, names: set[str], kept: set[int], writer: str) -> None:
        at = [known.name for known in self.old.enums].index(enum.name)
        first = len(FAULTS) if enum.extends_faults else 0
        for number, value in enumerate(enum.values, -first):
            if value.number not in kept and value.name not in names:
                there = ("enum", at, "value", number, "name")
                message = f"`{value.name}` is gone, and {writer} may send it"
                hint = f"put it back{'' if enum.closed else f', or `reserved = [{value.number}]`'}"
                self._removed("value-removed", there, message, hint)


def _is_closed(kind: Type) -> bool:
    return isinstance(kind, Enum) and kind.closed


def _wire_type(kind: Type) -> str:
    """Return the type of a field on the wire, without its bounds."""
    match kind:
        case Enum(base=base) | Flags(base=base):
            return base.name
        case Struct(fields=fields):
            return f"struct {{ {', '.join(_wire_type(field.type) for field in fields)} }}"
        case Array(element=element, count=count):
            return f"{_wire_type(element)}[{count}]"
        case List(element=element):
            return f"list<{_wire_type(element)}>"
        case Bytes():
            return "bytes"
        case Text():
            return "text"
        case ByteList():
            return "list<bytes>"
        case Tail():
            return "tail"
    return kind.name
