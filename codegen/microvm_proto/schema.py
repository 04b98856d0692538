"""The classes of a validated schema: messages, constants, outputs, and the schema itself.

Sizes are in bytes. Offsets count from the start of the body, which follows the header of a frame.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from pathlib import Path

from microvm_proto.framing import PLAIN, Framing
from microvm_proto.types import (
    NOT_RENAMED,
    U32,
    Enum,
    Field,
    Flags,
    Integer,
    Named,
    Renamed,
    Struct,
    Tail,
    lay_out,
    within,
)

MAX_BODY = 1 << 24
"""Maximum number of bytes in a message's body."""


@dataclass(frozen=True, slots=True)
class Message(Named):
    """A message of the protocol.

    :ivar sender: Side that sends the message: one of the schema's `ends`, or `both`.
    :ivar id: Rule for the id in the frame's header: `required` (not 0), `none` (0) or `any`.
    :ivar frozen: True if the layout must be the same in every version.
    """

    name: str
    number: int
    sender: str
    id: str
    frozen: bool
    doc: str
    since: int
    fields: tuple[Field, ...]
    renamed: Renamed = NOT_RENAMED

    @property
    def min_body(self) -> int:
        """Number of bytes in the shortest body."""
        return sum(field.min_size for field in self.fields)

    @property
    def max_body(self) -> int:
        """Number of bytes in the longest body."""
        return sum(field.max_size for field in self.fields)

    @property
    def has_tail(self) -> bool:
        """True if the last field is a tail."""
        return bool(self.fields) and isinstance(self.fields[-1].type, Tail)

    @property
    def visible(self) -> tuple[Field, ...]:
        """The fields whose values the caller chooses: all except those with a fixed value."""
        return tuple(field for field in self.fields if field.equals is None)

    @property
    def versions(self) -> list[int]:
        """Versions that added or changed the message, in ascending order."""
        sinces = (since for field in self.fields for since in (field.since, *field.growth))
        return sorted({self.since, *sinces})

    def is_later(self, field: Field) -> bool:
        """Return True if the message has versions without this field."""
        return field.since > self.since

    def at(self, version: int) -> Message:
        """Return the message as it is in `version`."""
        fields = (field.at(version) for field in self.fields if field.since <= version)
        return replace(self, fields=lay_out(fields))


@dataclass(frozen=True, slots=True)
class Constant(Named):
    """A named value that is generated for both sides: an integer of up to 64 bits, or ASCII."""

    name: str
    value: int | str
    doc: str
    renamed: Renamed = NOT_RENAMED


@dataclass(frozen=True, slots=True)
class Section:
    """A section of text in the specification, written by the author of the schema."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Output:
    """A file that a backend writes.

    :ivar path: Absolute path of the file.
    :ivar module: Name under which Python imports the file, if it is a module.
    :ivar style: One of the backend's styles; empty for its default style.
    """

    backend: str
    path: Path
    module: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """A protocol: the names of its two sides, its messages, and their types.

    :ivar ends: Names of the two sides.
    :ivar reserved: Numbers of removed messages, which no new message may use.
    :ivar prefix: Type of every length and count in a body.
    :ivar framing: Format of the frames that carry the messages.
    :ivar seeds: Pairs of a version and the number that frames' checks are XORed with from this
        version on, in ascending order; empty if frames have no check.
    :ivar digest: 64-bit digest over everything that shapes the bytes on the wire.
    """

    path: Path
    name: str
    version: int
    ends: tuple[str, str]
    doc: str
    sections: tuple[Section, ...]
    enums: tuple[Enum, ...]
    messages: tuple[Message, ...]
    outputs: tuple[Output, ...]
    reserved: tuple[int, ...] = ()
    constants: tuple[Constant, ...] = ()
    flags: tuple[Flags, ...] = ()
    structs: tuple[Struct, ...] = ()
    prefix: Integer = U32
    framing: Framing = PLAIN
    seeds: tuple[tuple[int, int], ...] = ()
    digest: int = 0

    @property
    def seed(self) -> int:
        """The seed of the check in frames of the newest version; 0 if frames have no check."""
        return self.seeds[-1][1] if self.seeds else 0

    @property
    def older_seeds(self) -> list[tuple[int, int]]:
        """Pairs of an older seed and the version that replaced it."""
        return [(seed, since) for (_, seed), (since, _) in itertools.pairwise(self.seeds)]

    @property
    def source(self) -> str:
        """Name of the schema file, without quotes and other characters unsafe in generated code."""
        return re.sub(r"[^\w.+-]", "_", self.path.name)

    @property
    def versions(self) -> list[int]:
        """Versions that added something, version 1, and the newest version, in ascending order."""
        values = {value.since for enum in self.enums for value in enum.values}
        values |= {bit.since for flags in self.flags for bit in flags.bits}
        messages = {version for message in self.messages for version in message.versions}
        return sorted({1, self.version, *values, *messages})

    def at(self, version: int) -> Schema:
        """Return the schema as it was in `version`. Its digest is 0."""
        return replace(
            self,
            version=version,
            enums=tuple(enum.at(version) for enum in self.enums),
            flags=tuple(flags.at(version) for flags in self.flags),
            structs=tuple(struct.at(version) for struct in self.structs),
            messages=tuple(m.at(version) for m in self.messages if m.since <= version),
            seeds=tuple((since, seed) for since, seed in self.seeds if since <= version),
            digest=0,
        )

    @property
    def structs_in_order(self) -> list[Struct]:
        """The structs, ordered so that each follows the structs that it contains."""
        found: dict[str, Struct] = {}
        for struct in self.structs:
            for kind in reversed([*within(struct)]):
                if isinstance(kind, Struct):
                    found.setdefault(kind.name, kind)
        return [*found.values()]

    @property
    def max_body(self) -> int:
        """Number of bytes in the longest body of any message."""
        return max((message.max_body for message in self.messages), default=0)

    def max_body_from(self, end: str, *, tails: bool = True) -> int:
        """Return the number of bytes in the longest body that the side `end` may send.

        :param tails: False to leave out messages with a tail.
        """
        sent = (m for m in self.messages if m.sender in (end, "both"))
        return max((m.max_body for m in sent if tails or not m.has_tail), default=0)
