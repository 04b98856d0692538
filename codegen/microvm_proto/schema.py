"""The schema in memory: known to be valid, with every fact about its layout computed.

All sizes and offsets are bytes. A body starts right after the header; offsets here count from the
start of the body.
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
"""Bytes that the longest body of a schema may have."""


@dataclass(frozen=True, slots=True)
class Message(Named):
    """A message; `sender` is one of the schema's ends or `both`.

    :ivar id: what its header's id must be: `required` (not 0), `none` (0) or `any`.
    :ivar frozen: its layout is the same in every version.
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
        """The length of the shortest body."""
        return sum(field.min_size for field in self.fields)

    @property
    def max_body(self) -> int:
        """The length of the longest body."""
        return sum(field.max_size for field in self.fields)

    @property
    def has_tail(self) -> bool:
        """Whether the last field is a tail."""
        return bool(self.fields) and isinstance(self.fields[-1].type, Tail)

    @property
    def visible(self) -> tuple[Field, ...]:
        """The fields that are given when a message is made: all but the constants."""
        return tuple(field for field in self.fields if field.equals is None)

    @property
    def versions(self) -> list[int]:
        """The versions in which the message came or changed, ascending."""
        sinces = (since for field in self.fields for since in (field.since, *field.growth))
        return sorted({self.since, *sinces})

    def is_later(self, field: Field) -> bool:
        """Tell whether there are versions of the message without this field."""
        return field.since > self.since

    def at(self, version: int) -> Message:
        """Return the message as it is in `version`."""
        there = (field.at(version) for field in self.fields if field.since <= version)
        return replace(self, fields=lay_out(there))


@dataclass(frozen=True, slots=True)
class Constant(Named):
    """A value that both ends know by its name: an integer of at most 64 bits, or ASCII text."""

    name: str
    value: int | str
    doc: str
    renamed: Renamed = NOT_RENAMED


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the specification, for what no field can say."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Output:
    """A file that a backend writes; `path` is absolute.

    :ivar module: the name by which Python imports it, when it is a module.
    :ivar style: one of the backend's, where it has some; empty for its own choice.
    """

    backend: str
    path: Path
    module: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """A protocol: its ends, its messages and their types.

    :ivar reserved: numbers of messages that are gone, which no other may take.
    :ivar prefix: the type of every length and count in a body.
    :ivar framing: how frames look, and where they end.
    :ivar seeds: what the check of a frame is XORed with, each behind the version from which on it
        is, ascending; empty where frames have no check.
    :ivar digest: 64 bits over everything that shapes the bytes on the wire, and nothing else.
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
        """The seed of the newest version; 0 where frames have no check."""
        return self.seeds[-1][1] if self.seeds else 0

    @property
    def older_seeds(self) -> list[tuple[int, int]]:
        """The seeds of older versions, each before the version that brought another."""
        return [(seed, since) for (_, seed), (since, _) in itertools.pairwise(self.seeds)]

    @property
    def source(self) -> str:
        """The name of the schema file, safe for generated text: without quotes and the like."""
        return re.sub(r"[^\w.+-]", "_", self.path.name)

    @property
    def versions(self) -> list[int]:
        """The versions that brought something, and the newest, ascending."""
        values = {value.since for enum in self.enums for value in enum.values}
        values |= {bit.since for flags in self.flags for bit in flags.bits}
        messages = {version for message in self.messages for version in message.versions}
        return sorted({1, self.version, *values, *messages})

    def at(self, version: int) -> Schema:
        """Return the schema as it was in `version`, without a digest."""
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
        """The structs, each behind those that it is made of."""
        found: dict[str, Struct] = {}
        for struct in self.structs:
            for kind in reversed([*within(struct)]):
                if isinstance(kind, Struct):
                    found.setdefault(kind.name, kind)
        return [*found.values()]

    @property
    def max_body(self) -> int:
        """The length of the longest body of any message."""
        return max((message.max_body for message in self.messages), default=0)

    def max_body_from(self, end: str, *, tails: bool = True) -> int:
        """Return the length of the longest body that `end` may send.

        :param tails: whether messages with a tail count.
        """
        sent = (m for m in self.messages if m.sender in (end, "both"))
        return max((m.max_body for m in sent if tails or not m.has_tail), default=0)
