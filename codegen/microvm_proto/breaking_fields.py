"""The comparison of the fields of messages and structs with the same fields in a release."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TypeAlias

from microvm_proto import types
from microvm_proto.load import Document
from microvm_proto.positions import Path
from microvm_proto.released import default_of
from microvm_proto.resolve import read
from microvm_proto.schema import Message, Schema

Owner: TypeAlias = Message | types.Struct


class Findings:
    """The differences between a schema and its released form, the copy saved at a release."""

    def __init__(self, schema: FilePath, released: FilePath) -> None:
        """Read a schema and its released form, the copy that was saved at a release."""
        self.new_document = Document(schema)
        self.new = read(self.new_document)
        self.old_document = Document(released)
        self.old = read(self.old_document)

    def error(self, rule: str, path: Path, message: str, hint: str = "") -> None:
        """Record a change that older programs do not understand, at its path in the new schema."""
        back = f"restore it; or add another one beside it, with `since = {self.next_version}`"
        self.new_document.error(rule, path, message, hint or back)

    def note(self, rule: str, path: Path, message: str) -> None:
        """Record a change that older programs understand, at its path in the new schema."""
        self.new_document.note(rule, path, message)

    def removed(self, rule: str, path: Path, message: str, hint: str = "restore it") -> None:
        """Record an error about a removed declaration, at its path in the released form."""
        self.old_document.error(rule, path, message, hint)

    @property
    def next_version(self) -> int:
        """The lowest version number that new fields and other additions may have as `since`."""
        return max(self.old.version + 1, self.new.version)

    @property
    def since_hint(self) -> str:
        """Hint for an addition: its `since` must be a version after the released one."""
        since = self.next_version
        raised = f"raise `version` to {since}, and " if self.new.version < since else ""
        return f"{raised}add `since = {since}`: only a later version can add it"

    def renamed(self, path: Path, old: str, new: str, language: str = "") -> None:
        """Record a new name, perhaps of one `language`: an error if checksums change, else a note.

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

    def named(self, path: Path, old: types.Named, new: types.Named) -> None:
        """Compare the old and new name of a declaration, and its separate names in C and Python."""
        self.renamed((*path, "name"), old.name, new.name)
        if old.name == new.name:
            self.renamed((*path, "c_name"), old.c_name, new.c_name, "C")
            self.renamed((*path, "python_name"), old.python_name, new.python_name, "Python")

    def since(self, path: Path, name: str, old: int, new: int) -> None:
        """Check that `since`, the version that added the declaration `name`, has not changed."""
        if new != old:
            text = f"peers of version {old} already know `{name}`"
            self.error("since-changed", (*path, "since"), text, f"restore `since = {old}`")

    def reserved(self, old: Iterable[int], new: Sequence[int], path: Path) -> None:
        """Check that the list of reserved numbers at `path` still contains all released ones."""
        lost = [str(number) for number in old if number not in new]
        if lost:
            verb = "are" if lost[1:] else "is"
            message = f"{', '.join(lost)} {verb} no longer reserved"
            self.error("reserved-lost", path, message, "add it again: a number stays reserved")


def _is_seeded(path: Path) -> bool:
    """Return True if the checksums of frames depend on the name at `path` in the schema.

    Checksums are XORed with a seed, which is computed from the names of messages, fields, values of
    enums and bits of flags.
    """
    return path[0] == "message" or len(path) > len(("struct", 0, "name"))


@dataclass(frozen=True, slots=True)
class Ends:
    """Words for the older programs that read and write a message, such as "an older host"."""

    reader: str
    writer: str

    def one_sided(self, beginning: str, *, allowed_now: bool) -> str:
        """Return a finding that starts with `beginning`: only the old or new schema allows a value.

        :param beginning: Beginning of the text, with its verb, such as "a NUL byte was".
        """
        if allowed_now:
            return f"{beginning} malformed, so {self.reader} refuses it"
        return f"{beginning} allowed, so {self.writer} may send it"


class FieldComparison:
    """Compares the fields of messages and structs, and the types of these fields, with a release.

    Each enum, set of flags and struct is compared only once.
    """

    def __init__(self, found: Findings) -> None:
        self.found = found
        self.done: set[tuple[str, str]] = set()

    def fields(
        self,
        path: Path,
        new: Owner,
        old_path: Path,
        old: Owner,
        ends: Ends,
    ) -> None:
        """Compare the fields of a message or struct, `new`, with those of its released form, `old`.

        The order of fields matters, because it determines the bytes. Names show which fields are
        new or moved. The paths lead to `new` and `old` in their schemas.
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

    def moved(
        self,
        path: Path,
        owner: Owner,
        field: types.Field,
        old_names: list[str],
    ) -> None:
        """Record that `field` was moved, or is new (not in `old_names`) without a new `since`."""
        if field.name in old_names:
            text = f"`{field.name}` was field {old_names.index(field.name) + 1} of `{owner.name}`"
            self.found.error("field-moved", (*path, "name"), text, "move it back")
            return
        text = f"older peers do not know the new field `{field.name}` of `{owner.name}`"
        hint = self.found.since_hint
        if isinstance(owner, types.Struct):
            hint = "a struct is the same in every version: declare a new struct with this field"
        self.found.error("field-unversioned", (*path, "name"), text, hint)

    def field(
        self,
        path: Path,
        owner: Owner,
        new: types.Field,
        old: types.Field,
        ends: Ends,
    ) -> None:
        """Compare the field `new` of `owner`, a message or struct, with its released form `old`."""
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

    def same_type(self, path: Path, name: str, new: types.Type, old: types.Type) -> bool:
        """Check that the encoding of the field `name` is the same. Its bounds may differ."""
        if _wire_type(new) == _wire_type(old):
            return True
        text = f"the type of `{name}` is `{_wire_type(old)}` for older peers"
        self.found.error("type-changed", (*path, "type"), text)
        return False

    def absent(self, path: Path, new: types.Field, old: types.Field) -> None:
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

    def type(self, path: Path, new: types.Type, old: types.Type, ends: Ends) -> None:
        """Compare the rules, such as bounds, of the new and old type of the field at `path`."""
        for (key, before), now in zip(
            types.bounds(old).items(), types.bounds(new).values(), strict=True
        ):
            if now > before:
                text = f"`{key}` was {before}, and {ends.reader} refuses larger values"
                self.found.error("bound-raised", (*path, key), text)
            elif now < before:
                text = f"`{key}` was {before}, and {ends.writer} may send values up to that"
                self.found.error("bound-lowered", (*path, key), text)
        match old, new:
            case (
                (types.Bytes() | types.Text() | types.ByteList()),
                (types.Bytes() | types.Text() | types.ByteList()),
            ):
                if old.nul != new.nul:
                    text = ends.one_sided("a NUL byte was", allowed_now=new.nul)
                    self.found.error("nul-changed", (*path, "nul"), text)
            case types.Float(), types.Float():
                if old.finite != new.finite:
                    text = ends.one_sided("a NaN or an infinity was", allowed_now=old.finite)
                    self.found.error("finite-changed", (*path, "finite"), text)
            case ((types.Array() | types.List()), (types.Array() | types.List())):
                self.type(path, new.element, old.element, ends)
            case types.Struct(), types.Struct():
                self.struct(new, old, ends)
            case _:
                self.closed(path, new, old, ends)

    def struct(self, new: types.Struct, old: types.Struct, ends: Ends) -> None:
        """Compare the name and the fields of a struct with those in the released form."""
        if (new.name, old.name) in self.done:
            return
        self.done.add((new.name, old.name))
        path, old_path = _path(self.found.new, new), _path(self.found.old, old)
        self.found.named(path, old, new)
        self.fields(path, new, old_path, old, ends)

    def closed(self, path: Path, new: types.Type, old: types.Type, ends: Ends) -> None:
        """Compare the numbers that two enums, flags or integers allow, and the numbers' names."""
        declared = _path(self.found.new, new) or (*path, "type")
        is_closed = isinstance(new, types.Enumerated) and new.closed
        was_closed = isinstance(old, types.Enumerated) and old.closed
        if is_closed != was_closed:
            text = ends.one_sided("a value without a name was", allowed_now=was_closed)
            self.found.error("closed-changed", (*declared, "closed"), text)
        elif isinstance(new, types.Enumerated) and isinstance(old, type(new)):
            if (new.name, old.name) not in self.done:
                self.done.add((new.name, old.name))
                self.found.named(declared, old, new)
                self.found.reserved(old.reserved, new.reserved, (*declared, "reserved"))
                self.values(declared, new, old, ends)
        elif is_closed:
            text = f"the type of the field is `{getattr(old, 'name', '')}` for older peers"
            self.found.error("type-changed", (*path, "type"), text)

    def values(self, path: Path, new: types.Enumerated, old: types.Enumerated, ends: Ends) -> None:
        """Compare the values of an enum, or the bits of flags, with those in the released form."""
        released = {member.number: member for member in old.members}
        numbers = {member.name: member.number for member in old.members}
        _, key, number_key = new.KEYS
        for at, member in enumerate(new.members, -new.inherited):
            there, name, number = (*path, key, at), member.name, member.number
            if numbers.get(name, number) != number:
                text = f"the number of `{name}` was {numbers[name]}"
                hint = f"restore `{number_key} = {numbers[name]}`"
                self.found.error("number-changed", (*there, number_key), text, hint)
            elif before := released.get(number):
                self.found.renamed((*there, "name"), before.name, name)
                self.found.since(there, name, before.since, member.since)
            elif new.closed and member.since <= self.found.old.version:
                text = f"{ends.reader} refuses the new value `{name}`"
                self.found.error("value-unversioned", (*there, "name"), text, self.found.since_hint)
        names = {member.name for member in new.members}
        kept = {member.number for member in new.members}.union(() if new.closed else new.reserved)
        old_path = _path(self.found.old, old)
        for at, member in enumerate(old.members, -old.inherited):
            if member.number not in kept and member.name not in names:
                text = f"`{member.name}` is removed, but {ends.writer} may send it"
                reserve = "" if old.closed else f", or add `reserved = [{member.number}]`"
                path_to_name = (*old_path, key, at, "name")
                self.found.removed("value-removed", path_to_name, text, f"restore it{reserve}")


def _path(schema: Schema, kind: types.Type) -> Path:
    """Return the path of a type's declaration in the schema file; empty for a built-in type."""
    found = (
        path
        for path, each in schema.declared
        if isinstance(kind, type(each)) and each.name == kind.name
    )
    return next(found, ())


def _wire_type(kind: types.Type) -> str:
    """Return a name for the encoding of a type: types that differ only in bounds have the same."""
    match kind:
        case types.Enumerated(base=base):
            return base.name
        case types.Struct():
            return "struct"
        case types.Array(element=element, count=count):
            return f"{_wire_type(element)}[{count}]"
        case types.List(element=element):
            return f"list<{_wire_type(element)}>"
    return kind.name
