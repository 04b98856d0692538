"""The comparison of the fields of messages and structs with those of an earlier release."""

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
    """A schema, its released form (the copy saved at a release), and the differences found."""

    def __init__(self, schema: FilePath, released: FilePath) -> None:
        """Read a schema and its released form, the copy that was saved at a release.

        :raises SchemaError: Raised if one of the files is not a valid schema.
        """
        self.new_document = Document(schema)
        self.new = read(self.new_document)
        self.old_document = Document(released)
        self.old = read(self.old_document)

    def error(self, rule: str, path: Path, message: str, hint: str = "") -> None:
        """Record an error: a change of the schema that older programs do not understand."""
        back = f"restore it; or add another one beside it, with `since = {self.next_version}`"
        self.new_document.error(rule, path, message, hint or back)

    def note(self, rule: str, path: Path, message: str) -> None:
        """Record a note about a change that older programs understand."""
        self.new_document.note(rule, path, message)

    def removed(self, rule: str, path: Path, message: str, hint: str = "restore it") -> None:
        """Record an error about a declaration that was removed.

        The position of the error is in the released form.
        """
        self.old_document.error(rule, path, message, hint)

    @property
    def next_version(self) -> int:
        """The lowest version number that new fields and other additions may have as `since`."""
        return max(self.old.version + 1, self.new.version)

    @property
    def since_hint(self) -> str:
        """Hint for an addition that needs a higher `since`, the version that adds it."""
        since = self.next_version
        raised = f"raise `version` to {since}, and " if self.new.version < since else ""
        return f"{raised}add `since = {since}`: only a later version can add it"

    def renamed(self, path: Path, old: str, new: str, language: str = "") -> None:
        """Record a changed name: an error if frames' checksums depend on the name, else a note.

        :param language: `C` or `Python` if the name is that of one language.
        """
        if old == new:
            return
        if self.new.framing.check_size and not language and _is_seeded(path):
            text = f"`{old}` was renamed to `{new}`, which changes the seed of the check"
            self.error("seed-changed", path, text, f"rename it to `{old}`")
            return
        where = f" in {language}" if language else ""
        text = f"`{old}` was renamed to `{new}`{where}: this changes code, but not the wire"
        self.note("renamed", path, text)

    def named(self, path: Path, old: Named, new: Named) -> None:
        """Compare the old and new name of a declaration, and its separate names in C and Python."""
        self.renamed((*path, "name"), old.name, new.name)
        if old.name == new.name:
            self.renamed((*path, "c_name"), old.c_name, new.c_name, "C")
            self.renamed((*path, "python_name"), old.python_name, new.python_name, "Python")

    def since(self, path: Path, name: str, old: int, new: int) -> None:
        """Check that the `since` of a declaration, the version that added it, has not changed."""
        if new != old:
            text = f"peers of version {old} already know `{name}`"
            self.error("since-changed", (*path, "since"), text, f"restore `since = {old}`")

    def reserved(self, old: Iterable[int], new: Sequence[int], path: Path) -> None:
        """Check that every number that the released form reserves is still reserved."""
        lost = [str(number) for number in old if number not in new]
        if lost:
            verb = "are" if lost[1:] else "is"
            message = f"{', '.join(lost)} {verb} no longer reserved"
            self.error("reserved-lost", path, message, "add it again: a number stays reserved")


def _is_seeded(path: Path) -> bool:
    """Return True if frames' checksums depend on the name at `path` in the schema.

    Checksums are XORed with a seed, which is computed from the names of messages, fields, values of
    enums and bits of flags.
    """
    return path[0] == "message" or len(path) > len(("struct", 0, "name"))


@dataclass(frozen=True, slots=True)
class Ends:
    """Names of a message's older reader and older writer in findings, such as "an older host".

    `reader` is the program that reads the message in question, and `writer` the one that sends it.
    """

    reader: str
    writer: str

    def one_sided(self, what: str, *, allowed_now: bool) -> str:
        """Return the text of a finding: only the new schema allows something, or only the old one.

        :param what: Beginning of the text, with its verb, such as "a NUL byte was".
        :param allowed_now: True if the new schema allows more, False if the old schema did.
        """
        if allowed_now:
            return f"{what} malformed, so {self.reader} refuses it"
        return f"{what} allowed, so {self.writer} may send it"


class FieldComparison:
    """Compares fields, and the enums, flags and structs that they use, with those of a release.

    Each enum, set of flags and struct is compared only once.
    """

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
        """Compare the new and old fields of a message or struct, and record incompatible changes.

        The order of fields matters, because it determines the bytes. Names show which fields are
        new or moved.

        :param path: Path of the new message or struct in its schema file.
        :param old_path: Path of the old message or struct in the released form.
        :param ends: Words for the older programs in the findings.
        """
        released = {field.name for field in old.fields}
        kept = [
            (at, field)
            for at, field in enumerate(new.fields)
            if field.since <= self.found.old.version or field.name in released
        ]
        names = [field.name for _, field in kept]
        before = [field.name for field in old.fields]
        matcher = difflib.SequenceMatcher(None, before, names, autojunk=False)
        for _, i1, i2, j1, j2 in matcher.get_opcodes():
            pairs = i2 - i1 if i2 - i1 == j2 - j1 else 0
            for i, j in zip(range(i1, i1 + pairs), range(j1, j1 + pairs), strict=True):
                at, field = kept[j]
                if before[i] != names[j] and (names[j] in before or before[i] in names):
                    self.moved((*path, "field", at), new, field, before)
                    continue
                self.field((*path, "field", at), new, field, old.fields[i], ends)
            for at, field in kept[j1 + pairs : j2]:
                self.moved((*path, "field", at), new, field, before)
            for i in range(i1 + pairs, i2):
                if before[i] not in names:
                    field_path = (*old_path, "field", i, "name")
                    message = f"older peers expect `{before[i]}` in `{old.name}`"
                    self.found.removed("field-removed", field_path, message)

    def moved(self, path: Path, owner: Message | Struct, field: Field, before: list[str]) -> None:
        """Record an error about a field that was moved, or added without a higher `since`.

        :param owner: Message or struct that has the field.
        :param before: Names of the fields in the released form, in their order.
        """
        if field.name in before:
            text = f"`{field.name}` was field {before.index(field.name) + 1} of `{owner.name}`"
            self.found.error("field-moved", (*path, "name"), text, "move it back")
            return
        text = f"older peers do not know the new field `{field.name}` of `{owner.name}`"
        hint = self.found.since_hint
        if isinstance(owner, Struct):
            hint = "a struct is the same in every version: declare a new struct with this field"
        self.found.error("field-unversioned", (*path, "name"), text, hint)

    def field(
        self, path: Path, owner: Message | Struct, new: Field, old: Field, ends: Ends
    ) -> None:
        """Compare a field of `owner`, a message or struct, with its old form in the release."""
        self.found.named(path, old, new)
        self.found.since(path, new.name, old.since, new.since)
        if not self.same_type(path, new.name, new.type, old.type):
            return
        if new.equals != old.equals:
            values = "any value" if old.equals is None else f"only the value {old.equals}"
            text = f"older peers accept {values} in `{new.name}`"
            self.found.error("constant-changed", (*path, "equals"), text)
        self.absent(path, new, old)
        self.type(path, new.type, old.type, ends)
        is_later = isinstance(owner, Message) and owner.is_later(new)
        if new.default != old.default and is_later:
            default = json.dumps(default_of(old) or old.default)
            text = f"the default of `{new.name}` was {default}"
            self.found.note("default-changed", (*path, "default"), text)

    def same_type(self, path: Path, name: str, new: Type, old: Type) -> bool:
        """Check that a field's new and old type have the same encoding. Their bounds may differ."""
        if _wire_type(new) == _wire_type(old):
            return True
        text = f"the type of `{name}` is `{_wire_type(old)}` for older peers"
        self.found.error("type-changed", (*path, "type"), text)
        return False

    def absent(self, path: Path, new: Field, old: Field) -> None:
        """Compare the numbers that mean "no value" in the new and in the old field."""
        path_to_absent = (*path, "absent")
        if new.absent == old.absent:
            return
        if old.absent is None:
            text = f"older peers read {new.absent} in `{new.name}` as a value"
            self.found.note("absent-changed", path_to_absent, text)
        elif new.absent is None:
            text = f"older peers read {old.absent} in `{new.name}` as no value"
            self.found.note("absent-changed", (*path, "name"), text)
        else:
            text = (
                f"older peers read {old.absent} in `{new.name}` as no value, and {new.absent} as a "
                "value"
            )
            hint = f"restore `absent = {old.absent}`"
            self.found.error("absent-changed", path_to_absent, text, hint)

    def type(self, path: Path, new: Type, old: Type, ends: Ends) -> None:
        """Compare the bounds and other rules of a field's new and old type, and of elements."""
        for (key, before), now in zip(bounds(old).items(), bounds(new).values(), strict=True):
            if now > before:
                text = f"`{key}` was {before}, and {ends.reader} refuses larger values"
                self.found.error("bound-raised", (*path, key), text)
            elif now < before:
                text = f"`{key}` was {before}, and {ends.writer} may send values up to that"
                self.found.error("bound-lowered", (*path, key), text)
        match old, new:
            case ((Bytes() | Text() | ByteList()), (Bytes() | Text() | ByteList())):
                if old.nul != new.nul:
                    text = ends.one_sided("a NUL byte was", allowed_now=new.nul)
                    self.found.error("nul-changed", (*path, "nul"), text)
            case Float(), Float():
                if old.finite != new.finite:
                    text = ends.one_sided("a NaN or an infinity was", allowed_now=old.finite)
                    self.found.error("finite-changed", (*path, "finite"), text)
            case ((Array() | List()), (Array() | List())):
                self.type(path, new.element, old.element, ends)
            case Struct(), Struct():
                self.struct(new, old, ends)
            case _:
                self.closed(path, new, old, ends)

    def struct(self, new: Struct, old: Struct, ends: Ends) -> None:
        """Compare the name and the fields of a struct with those in the released form."""
        if (new.name, old.name) in self.done:
            return
        self.done.add((new.name, old.name))
        path, old_path = _path(self.found.new, new), _path(self.found.old, old)
        self.found.named(path, old, new)
        self.fields(path, new, old_path, old, ends)

    def closed(self, path: Path, new: Type, old: Type, ends: Ends) -> None:
        """Compare two integers, enums or flags: the named values, and whether others are valid."""
        declared = _path(self.found.new, new) or (*path, "type")
        is_closed = isinstance(new, Enum | Flags) and new.closed
        was_closed = isinstance(old, Enum | Flags) and old.closed
        if is_closed != was_closed:
            text = ends.one_sided("a value without a name was", allowed_now=was_closed)
            self.found.error("closed-changed", (*declared, "closed"), text)
        elif (isinstance(old, Enum) and isinstance(new, Enum)) or (
            isinstance(old, Flags) and isinstance(new, Flags)
        ):
            if (new.name, old.name) not in self.done:
                self.done.add((new.name, old.name))
                self.found.named(declared, old, new)
                self.found.reserved(old.reserved, new.reserved, (*declared, "reserved"))
                self.values(declared, new, old, ends)
        elif is_closed:
            text = f"the type of the field is `{getattr(old, 'name', '')}` for older peers"
            self.found.error("type-changed", (*path, "type"), text)

    def values(self, path: Path, new: Enum | Flags, old: Enum | Flags, ends: Ends) -> None:
        """Compare the values of an enum, or the bits of flags, with those in the released form."""
        released = {number: (name, since) for name, number, since in _values(old)}
        numbers = {name: number for name, number, _ in _values(old)}
        key, number_key = ("value", "number") if isinstance(new, Enum) else ("bit", "bit")
        for at, (name, number, since) in enumerate(_values(new), -_first(new)):
            there = (*path, key, at)
            if numbers.get(name, number) != number:
                text = f"the number of `{name}` was {numbers[name]}"
                hint = f"restore `{number_key} = {numbers[name]}`"
                self.found.error("number-changed", (*there, number_key), text, hint)
            elif number in released:
                before, came = released[number]
                self.found.renamed((*there, "name"), before, name)
                self.found.since(there, name, came, since)
            elif new.closed and since <= self.found.old.version:
                text = f"{ends.reader} refuses the new value `{name}`"
                self.found.error("value-unversioned", (*there, "name"), text, self.found.since_hint)
        names = {name for name, _, _ in _values(new)}
        kept = {number for _, number, _ in _values(new)} | set(() if new.closed else new.reserved)
        old_path = _path(self.found.old, old)
        for at, (name, number, _) in enumerate(_values(old), -_first(old)):
            if number not in kept and name not in names:
                text = f"`{name}` is removed, but {ends.writer} may send it"
                hint = f"restore it{'' if old.closed else f', or add `reserved = [{number}]`'}"
                self.found.removed("value-removed", (*old_path, key, at, "name"), text, hint)


def _values(kind: Enum | Flags) -> list[tuple[str, int, int]]:
    """Return the name, number and `since` of each value of an enum, or of each bit of flags."""
    if isinstance(kind, Enum):
        return [(value.name, value.number, value.since) for value in kind.values]
    return [(bit.name, bit.bit, bit.since) for bit in kind.bits]


def _first(kind: Enum | Flags) -> int:
    """Return how many of an enum's first values to skip: the faults that the generator adds.

    The result is 0 for flags, and for an enum that does not extend these faults.
    """
    return len(FAULTS) if isinstance(kind, Enum) and kind.extends_faults else 0


def _path(schema: Schema, kind: Type) -> Path:
    """Return the path of a type's declaration in the schema file; empty for a built-in type."""
    match kind:
        case Enum():
            return "enum", [each.name for each in schema.enums].index(kind.name)
        case Flags():
            return "flags", [each.name for each in schema.flags].index(kind.name)
        case Struct():
            return "struct", [each.name for each in schema.structs].index(kind.name)
    return ()


def _wire_type(kind: Type) -> str:
    """Return a name for the encoding of a type: types that differ only in bounds have the same."""
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
