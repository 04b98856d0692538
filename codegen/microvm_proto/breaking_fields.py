"""The comparison of the fields of messages and structs, and of their types, with released ones."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from microvm_proto.faults import FAULTS
from microvm_proto.load import Document
from microvm_proto.positions import Path
from microvm_proto.released import default_of
from microvm_proto.resolve import read
from microvm_proto.schema import Message, Schema
from microvm_proto.types import (
    Array,
    ByteList,
    Bytes,
    Enum,
    Field,
    Flags,
    Float,
    List,
    Named,
    Struct,
    Tail,
    Text,
    Type,
    bounds,
)


class Findings:
    """A schema and its released form, and what is found when they are compared."""

    def __init__(self, schema: FilePath, released: FilePath) -> None:
        """Read both.

        :raises SchemaError: one of them cannot be used.
        """
        self.new_document = Document(schema)
        self.new = read(self.new_document)
        self.old_document = Document(released)
        self.old = read(self.old_document)

    def error(self, rule: str, path: Path, message: str, hint: str = "") -> None:
        """Note a change that older ends do not bear."""
        back = f"put it back; what is new can come beside it, with `since = {self.next_version}`"
        self.new_document.error(rule, path, message, hint or back)

    def note(self, rule: str, path: Path, message: str) -> None:
        """Note a change that is only worth knowing."""
        self.new_document.note(rule, path, message)

    def removed(self, rule: str, path: Path, message: str, hint: str = "put it back") -> None:
        """Note something that is no longer there, where it was in the released form."""
        self.old_document.error(rule, path, message, hint)

    @property
    def next_version(self) -> int:
        """The version that what is new has to come with."""
        return max(self.old.version + 1, self.new.version)

    @property
    def since_hint(self) -> str:
        """A hint for what is new and does not say since when."""
        since = self.next_version
        raised = f"raise `version` to {since}, and " if self.new.version < since else ""
        return f"{raised}add `since = {since}`: only a later version can have it"

    def renamed(self, path: Path, old: str, new: str, language: str = "") -> None:
        """Note another name, which may be that in one language."""
        if old == new:
            return
        if self.new.framing.check_size and not language and _is_seeded(path):
            text = f"`{old}` is called `{new}` now, and names are in the seed of the check"
            self.error("seed-changed", path, text, f"call it `{old}` again")
            return
        where = f" in {language}" if language else ""
        text = f"`{old}` is called `{new}`{where} now: the same on the wire, another name in code"
        self.note("renamed", path, text)

    def named(self, path: Path, old: Named, new: Named) -> None:
        """Note another name of something that can have others in C and in Python."""
        self.renamed((*path, "name"), old.name, new.name)
        if old.name == new.name:
            self.renamed((*path, "c_name"), old.c_name, new.c_name, "C")
            self.renamed((*path, "python_name"), old.python_name, new.python_name, "Python")

    def since(self, path: Path, name: str, old: int, new: int) -> None:
        """Check that something came with the version that it came with."""
        if new != old:
            text = f"`{name}` came with version {old}, and ends of then go by that"
            self.error("since-changed", (*path, "since"), text, f"put back `since = {old}`")

    def reserved(self, old: Iterable[int], new: Sequence[int], path: Path) -> None:
        """Check that what was reserved still is."""
        lost = [str(number) for number in old if number not in new]
        if lost:
            verb = "are" if lost[1:] else "is"
            message = f"{', '.join(lost)} of the released form {verb} missing"
            self.error("reserved-lost", path, message, "numbers stay reserved: put them back")


def _is_seeded(path: Path) -> bool:
    """Tell whether the name at `path` is in a seed: of a message or field, a value or bit."""
    return path[0] == "message" or len(path) > len(("struct", 0, "name"))


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends of a message as findings call them."""

    reader: str
    writer: str

    def one_sided(self, what: str, *, allowed_now: bool) -> str:
        """Say what follows when something is allowed, or forbidden, that was not."""
        if allowed_now:
            return f"{what} malformed, and {self.reader} refuses it"
        return f"{what} allowed, and {self.writer} may send it"


class FieldComparison:
    """A comparison of fields, and of the enums, flags and structs that they are of, each once."""

    def __init__(self, found: Findings) -> None:
        self.found = found
        self.done: set[tuple[str, str]] = set()

    def fields(
        self,
        path: Path,
        new: Message | Struct,
        old_path: Path,
        old: Message | Struct,
        ends: Ends,
    ) -> None:
        """Compare the fields in order; names tell which were inserted or moved."""
        released = {field.name for field in old.fields}
        there = [
            (at, field)
            for at, field in enumerate(new.fields)
            if field.since <= self.found.old.version or field.name in released
        ]
        names = [field.name for _, field in there]
        before = [field.name for field in old.fields]
        matcher = difflib.SequenceMatcher(None, before, names, autojunk=False)
        for _, i1, i2, j1, j2 in matcher.get_opcodes():
            pairs = i2 - i1 if i2 - i1 == j2 - j1 else 0
            for i, j in zip(range(i1, i1 + pairs), range(j1, j1 + pairs), strict=True):
                at, field = there[j]
                if before[i] != names[j] and (names[j] in before or before[i] in names):
                    self.moved((*path, "field", at), new, field, before)
                    continue
                self.field((*path, "field", at), new, field, old.fields[i], ends)
            for at, field in there[j1 + pairs : j2]:
                self.moved((*path, "field", at), new, field, before)
            for i in range(i1 + pairs, i2):
                if before[i] not in names:
                    field_path = (*old_path, "field", i, "name")
                    message = f"`{before[i]}` of `{old.name}` is gone, and older ends expect it"
                    self.found.removed("field-removed", field_path, message)

    def moved(self, path: Path, owner: Message | Struct, field: Field, before: list[str]) -> None:
        """Report a field that was not in this place, or not there."""
        if field.name in before:
            text = f"`{field.name}` was field {before.index(field.name) + 1} of `{owner.name}`"
            self.found.error("field-moved", (*path, "name"), text, "put it back in its place")
            return
        text = f"`{field.name}` is new, and older ends do not expect it in `{owner.name}`"
        hint = self.found.since_hint
        if isinstance(owner, Struct):
            hint = "a struct is the same in every version: make a new one that has it"
        self.found.error("field-unversioned", (*path, "name"), text, hint)

    def field(
        self, path: Path, owner: Message | Struct, new: Field, old: Field, ends: Ends
    ) -> None:
        """Compare a field with what it was."""
        self.found.named(path, old, new)
        self.found.since(path, new.name, old.since, new.since)
        if not self.same_type(path, new.name, new.type, old.type):
            return
        if new.equals != old.equals:
            value = "any" if old.equals is None else str(old.equals)
            text = f"the value of `{new.name}` was {value}, and older ends go by that"
            self.found.error("constant-changed", (*path, "equals"), text)
        self.absent(path, new, old)
        self.type(path, new.type, old.type, ends)
        is_later = isinstance(owner, Message) and owner.is_later(new)
        if new.default != old.default and is_later:
            default = json.dumps(default_of(old) or old.default)
            text = f"it was {default} in versions without `{new.name}`"
            self.found.note("default-changed", (*path, "default"), text)

    def same_type(self, path: Path, name: str, new: Type, old: Type) -> bool:
        """Check that values of two types are read in the same way."""
        if _wire_type(new) == _wire_type(old):
            return True
        text = f"the type of `{name}` was `{_wire_type(old)}`, and older ends read it so"
        self.found.error("type-changed", (*path, "type"), text)
        return False

    def absent(self, path: Path, new: Field, old: Field) -> None:
        """Compare the numbers that stand for no value."""
        there = (*path, "absent")
        if new.absent == old.absent:
            return
        if old.absent is None:
            text = f"{new.absent} is a value of `{new.name}` for older ends"
            self.found.note("absent-changed", there, text)
        elif new.absent is None:
            text = f"{old.absent} is no value of `{new.name}` for older ends"
            self.found.note("absent-changed", (*path, "name"), text)
        else:
            text = f"{old.absent} is no value of `{new.name}` for older ends, and {new.absent} one"
            self.found.error("absent-changed", there, text, f"put back `absent = {old.absent}`")

    def type(self, path: Path, new: Type, old: Type, ends: Ends) -> None:
        """Compare the rules of a type, and the types that it is made of."""
        for (key, before), now in zip(bounds(old).items(), bounds(new).values(), strict=True):
            if now > before:
                text = f"`{key}` was {before}, and {ends.reader} refuses what is above"
                self.found.error("bound-raised", (*path, key), text)
            elif now < before:
                text = f"`{key}` was {before}, and {ends.writer} may go up to that"
                self.found.error("bound-lowered", (*path, key), text)
        match old, new:
            case ((Bytes() | Text() | ByteList()), (Bytes() | Text() | ByteList())):
                if old.nul != new.nul:
                    text = ends.one_sided("a NUL byte was", allowed_now=new.nul)
                    self.found.error("nul-changed", (*path, "nul"), text)
            case Float(), Float():
                if old.finite != new.finite:
                    text = ends.one_sided("what is not finite was", allowed_now=old.finite)
                    self.found.error("finite-changed", (*path, "finite"), text)
            case ((Array() | List()), (Array() | List())):
                self.type(path, new.element, old.element, ends)
            case Struct(), Struct():
                self.struct(new, old, ends)
            case _:
                self.closed(path, new, old, ends)

    def struct(self, new: Struct, old: Struct, ends: Ends) -> None:
        """Compare the fields of a struct."""
        if (new.name, old.name) in self.done:
            return
        self.done.add((new.name, old.name))
        path, old_path = _path(self.found.new, new), _path(self.found.old, old)
        self.found.named(path, old, new)
        self.fields(path, new, old_path, old, ends)

    def closed(self, path: Path, new: Type, old: Type, ends: Ends) -> None:
        """Compare integers, enums and flags, of which only the closed ones restrict a value."""
        there = _path(self.found.new, new) or (*path, "type")
        is_closed = isinstance(new, Enum | Flags) and new.closed
        was_closed = isinstance(old, Enum | Flags) and old.closed
        if is_closed != was_closed:
            text = ends.one_sided("another value was", allowed_now=was_closed)
            self.found.error("closed-changed", (*there, "closed"), text)
        elif (isinstance(old, Enum) and isinstance(new, Enum)) or (
            isinstance(old, Flags) and isinstance(new, Flags)
        ):
            if (new.name, old.name) not in self.done:
                self.done.add((new.name, old.name))
                self.found.named(there, old, new)
                self.found.reserved(old.reserved, new.reserved, (*there, "reserved"))
                self.values(there, new, old, ends)
        elif is_closed:
            text = (
                f"its values were those of `{getattr(old, 'name', '')}`, and older ends go by them"
            )
            self.found.error("type-changed", (*path, "type"), text)

    def values(self, path: Path, new: Enum | Flags, old: Enum | Flags, ends: Ends) -> None:
        """Compare the values of an enum, or the bits of flags."""
        released = {number: (name, since) for name, number, since in _values(old)}
        numbers = {name: number for name, number, _ in _values(old)}
        key, number_key = ("value", "number") if isinstance(new, Enum) else ("bit", "bit")
        for at, (name, number, since) in enumerate(_values(new), -_first(new)):
            there = (*path, key, at)
            if numbers.get(name, number) != number:
                text = f"the number of `{name}` was {numbers[name]}"
                self.found.error("number-changed", (*there, number_key), text, "put it back")
            elif number in released:
                before, came = released[number]
                self.found.renamed((*there, "name"), before, name)
                self.found.since(there, name, came, since)
            elif new.closed and since <= self.found.old.version:
                text = f"`{name}` is new, and {ends.reader} refuses it"
                self.found.error("value-unversioned", (*there, "name"), text, self.found.since_hint)
        names = {name for name, _, _ in _values(new)}
        kept = {number for _, number, _ in _values(new)} | set(() if new.closed else new.reserved)
        old_path = _path(self.found.old, old)
        for at, (name, number, _) in enumerate(_values(old), -_first(old)):
            if number not in kept and name not in names:
                text = f"`{name}` is gone, and {ends.writer} may send it"
                hint = f"put it back{'' if old.closed else f', or `reserved = [{number}]`'}"
                self.found.removed("value-removed", (*old_path, key, at, "name"), text, hint)


def _values(kind: Enum | Flags) -> list[tuple[str, int, int]]:
    """Return name, number or bit, and version of each value."""
    if isinstance(kind, Enum):
        return [(value.name, value.number, value.since) for value in kind.values]
    return [(bit.name, bit.bit, bit.since) for bit in kind.bits]


def _first(kind: Enum | Flags) -> int:
    """Return how many of the values are not the schema's own."""
    return len(FAULTS) if isinstance(kind, Enum) and kind.extends_faults else 0


def _path(schema: Schema, kind: Type) -> Path:
    """Return where a type is declared; empty when it is one of the language's."""
    match kind:
        case Enum():
            return "enum", [each.name for each in schema.enums].index(kind.name)
        case Flags():
            return "flags", [each.name for each in schema.flags].index(kind.name)
        case Struct():
            return "struct", [each.name for each in schema.structs].index(kind.name)
    return ()


def _wire_type(kind: Type) -> str:
    """Return the type of a field on the wire, without its bounds and what is in structs."""
    match kind:
        case Enum(base=base) | Flags(base=base):
            return base.name
        case Struct():
            return "struct"
        case Array(element=element, count=count):
            return f"{_wire_type(element)}[{count}]"
        case List(element=element):
            return f"list<{_wire_type(element)}>"
        case ByteList():
            return "list<bytes>"
        case Bytes() | Text() | Tail():
            return type(kind).__name__.lower()
    return kind.name
