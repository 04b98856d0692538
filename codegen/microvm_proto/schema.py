"""The classes of a valid schema: messages, constants, generated files, and the schema itself.

Sizes are in bytes. Offsets count from the start of a frame's body, which follows the header.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from pathlib import Path

from microvm_proto import types
from microvm_proto.framing import PLAIN, Framing
from microvm_proto.states import Conversation

MAX_BODY = 1 << 24
"""Maximum number of bytes in the body of a message."""


@dataclass(frozen=True, slots=True)
class Message(types.Named):
    """A message of the protocol: its name, number and fields, and the side that sends it.

    :ivar sender: Side that sends the message: one of the schema's `ends`, or `both`.
    :ivar id: Rule for the id in the header of its frames: `required` (not 0), `none` (0) or `any`.
    :ivar frozen: True if no version may change the layout of the message.
    """

    name: str
    number: int
    sender: str
    id: str
    frozen: bool
    doc: str
    since: int
    fields: tuple[types.Field, ...]
    renamed: types.Renamed = types.NOT_RENAMED

    @property
    def min_body(self) -> int:
        """Number of bytes in the shortest body of the message."""
        return sum(field.min_size for field in self.fields)

    @property
    def max_body(self) -> int:
        """Number of bytes in the longest body of the message."""
        return sum(field.max_size for field in self.fields)

    @property
    def has_tail(self) -> bool:
        """True if the last field is a tail, a byte string that takes the rest of the body."""
        return bool(self.fields) and isinstance(self.fields[-1].type, types.Tail)

    @property
    def visible(self) -> tuple[types.Field, ...]:
        """Fields whose values the program chooses: all except those with a fixed value."""
        return tuple(field for field in self.fields if field.equals is None)

    @property
    def versions(self) -> list[int]:
        """Versions of the protocol that added or changed the message, in ascending order."""
        sinces = (since for field in self.fields for since in (field.since, *field.growth))
        return sorted({self.since, *sinces})

    def is_later(self, field: types.Field) -> bool:
        """Return True if older versions of the message lack this field."""
        return field.since > self.since

    def at(self, version: int) -> Message:
        """Return the message as it was in `version`, without the fields of later versions."""
        fields = (field.at(version) for field in self.fields if field.since <= version)
        return replace(self, fields=types.lay_out(fields))


@dataclass(frozen=True, slots=True)
class Constant(types.Named):
    """A named value in the generated code of both sides: an integer or an ASCII text."""

    name: str
    value: int | str
    doc: str
    renamed: types.Renamed = types.NOT_RENAMED


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the specification whose text the author of the schema has written."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Output:
    """A file that the generator writes, and the backend that generates it.

    :ivar module: Name under which Python code imports the file, if it is a module.
    :ivar style: Style of the generated code; empty for the default of the backend.
    """

    backend: str
    path: Path
    module: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema: the names of the protocol's two sides, its messages, and their types.

    :ivar reserved: Numbers of removed messages, which no new message may use.
    :ivar seeds: Pairs of a version and a seed, in ascending order. From this version on, the
        checksum of each frame is XORed with the seed. Empty if frames have no checksum.
    :ivar digest: 64-bit digest over everything that shapes the bytes on the wire.
    """

    path: Path
    name: str
    version: int
    ends: tuple[str, str]
    doc: str
    sections: tuple[Section, ...]
    enums: tuple[types.Enum, ...]
    messages: tuple[Message, ...]
    outputs: tuple[Output, ...]
    reserved: tuple[int, ...] = ()
    constants: tuple[Constant, ...] = ()
    flags: tuple[types.Flags, ...] = ()
    structs: tuple[types.Struct, ...] = ()
    prefix: types.Integer = types.U32
    framing: Framing = PLAIN
    seeds: tuple[tuple[int, int], ...] = ()
    digest: int = 0
    conversations: tuple[Conversation, ...] = ()

    @property
    def seed(self) -> int:
        """Number with which the newest version XORs each frame's checksum; 0 without checksums."""
        return self.seeds[-1][1] if self.seeds else 0

    @property
    def older_seeds(self) -> list[tuple[int, int]]:
        """Seeds of older versions, each with the first version that uses another seed."""
        return [(seed, since) for (_, seed), (since, _) in itertools.pairwise(self.seeds)]

    @property
    def source(self) -> str:
        """Name of the schema file; characters that are unsafe in generated code become `_`."""
        return re.sub(r"[^\w.+-]", "_", self.path.name)

    @property
    def versions(self) -> list[int]:
        """Versions that added something, with the first and newest version, in ascending order."""
        return sorted({1, self.version, *self.additions})

    @property
    def additions(self) -> set[int]:
        """Versions that added a message, a field, a value of an enum or a bit of flags."""
        members = {member.since for kind in self.enumerated for member in kind.members}
        return members.union(*(message.versions for message in self.messages))

    @property
    def enumerated(self) -> tuple[types.Enumerated, ...]:
        """All enums and flags."""
        return (*self.enums, *self.flags)

    def at(self, version: int) -> Schema:
        """Return the schema as it was in `version`, without later additions. Its `digest` is 0."""
        known = {each.name: each for each in self.messages if each.since <= version}
        return replace(
            self,
            version=version,
            enums=tuple(enum.at(version) for enum in self.enums),
            flags=tuple(flags.at(version) for flags in self.flags),
            structs=tuple(struct.at(version) for struct in self.structs),
            messages=tuple(message.at(version) for message in known.values()),
            seeds=tuple((since, seed) for since, seed in self.seeds if since <= version),
            digest=0,
            conversations=tuple(each.of_messages(known) for each in self.conversations),
        )

    @property
    def declared(self) -> list[tuple[tuple[str, int], types.Named]]:
        """All enums, flags, structs and messages, each with its path in the schema file."""
        tables: dict[str, tuple[types.Named, ...]] = {
            "enum": self.enums,
            "flags": self.flags,
            "struct": self.structs,
            "message": self.messages,
        }
        return [((key, at), each) for key, rows in tables.items() for at, each in enumerate(rows)]

    @property
    def structs_in_order(self) -> list[types.Struct]:
        """All structs, ordered so that each comes after the structs that it contains."""
        found: dict[str, types.Struct] = {}
        for struct in self.structs:
            for kind in reversed([*types.within(struct)]):
                if isinstance(kind, types.Struct):
                    found.setdefault(kind.name, kind)
        return [*found.values()]

    @property
    def max_body(self) -> int:
        """Number of bytes in the longest body that any message can have."""
        return max((message.max_body for message in self.messages), default=0)

    def max_body_from(self, end: str, *, tails: bool = True) -> int:
        """Return the size of the longest body of the side `end`, or of its longest without a tail.

        :param tails: False to leave out messages with a tail, a byte string that takes the rest of
            the body.
        """
        sent = self.sent_by(end)
        return max((m.max_body for m in sent if tails or not m.has_tail), default=0)

    def sent_by(self, end: str) -> list[Message]:
        """Return the messages that the side `end` may send."""
        return [message for message in self.messages if message.sender in (end, "both")]
