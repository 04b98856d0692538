"""Generate the measured messages as a schema and for nanopb.

They resemble the messages of sensors and motors.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

ENUMS = 6
"""Number of enums. The first has two values, and each further one has one value more."""

BYTES = (8, 16, 24, 32)
"""Maximum sizes of fields of bytes."""


@dataclass(frozen=True, slots=True)
class MeasuredField:
    """A field of a message.

    :ivar keys: Further keys of the field in the schema.
    :ivar options: Options of the field for nanopb.
    """

    type: str
    proto: str
    keys: str = ""
    options: str = ""


KINDS = [
    (6, [MeasuredField("u8", "uint32", options="int_size:IS_8")]),
    (6, [MeasuredField("u16", "uint32", options="int_size:IS_16")]),
    (4, [MeasuredField("u32", "uint32")]),
    (2, [MeasuredField("i16", "sint32", options="int_size:IS_16")]),
    (3, [MeasuredField("i32", "sint32")]),
    (2, [MeasuredField("bool", "bool")]),
    (3, [MeasuredField("f32", "float")]),
    (3, [MeasuredField(f"kind_{n}", f"Kind{n}") for n in range(ENUMS)]),
    (1, [MeasuredField("vector", "Vector")]),
    (
        1,
        [
            MeasuredField(
                "u16", "repeated uint32", "count = 4", "int_size:IS_16 max_count:4 fixed_count:true"
            )
        ],
    ),
    (2, [MeasuredField("bytes", "bytes", f"max = {n}", f"max_size:{n}") for n in BYTES]),
]
"""The kinds of fields, each with the weight with which it is chosen at random."""

MeasuredMessage = tuple[MeasuredField, ...]


def messages(count: int) -> list[MeasuredMessage]:
    """Return `count` random messages of one to seven fields, the same messages in each run.

    A smaller `count` returns the first of the messages of a larger one.
    """
    chance = random.Random(0)  # noqa: S311 - the messages must be the same in each run
    weights = [weight for weight, _ in KINDS]

    def field() -> MeasuredField:
        ((_, several),) = chance.choices(KINDS, weights)
        return chance.choice(several)

    return [tuple(field() for _ in range(chance.randint(1, 7))) for _ in range(count)]


def schema(messages: list[MeasuredMessage], style: str) -> Iterator[str]:
    """Yield the lines of a schema of the messages."""
    yield from ("[protocol]", 'name = "p"', "version = 1", 'ends = ["host", "board"]')
    yield from ("[[output]]", 'backend = "c"', 'file = "p.h"', f'style = "{style}"')
    for number in range(ENUMS):
        yield from ("[[enum]]", f'name = "kind_{number}"', 'type = "u8"', "closed = true")
        for value in range(number + 2):
            yield from ("[[enum.value]]", f'name = "v{value}"', f"number = {value}")
    yield from ("[[struct]]", 'name = "vector"')
    for axis in "xyz":
        yield from ("[[struct.field]]", f'name = "{axis}"', 'type = "i16"')
    for number, fields in enumerate(messages, 1):
        yield from ("[[message]]", f'name = "m{number}"', f"number = {number}")
        yield from ('sender = "both"', 'id = "none"')
        for at, field in enumerate(fields):
            yield from ("[[message.field]]", f'name = "f{at}"', f'type = "{field.type}"')
            yield field.keys


def proto(messages: list[MeasuredMessage]) -> Iterator[str]:
    """Yield the lines of a `.proto` file of the messages."""
    yield 'syntax = "proto3";'
    for number in range(ENUMS):
        values = "".join(f" K{number}V{value} = {value};" for value in range(number + 2))
        yield f"enum Kind{number} {{{values} }}"
    yield "message Vector { sint32 x = 1; sint32 y = 2; sint32 z = 3; }"
    for number, fields in enumerate(messages, 1):
        inside = "".join(f" {f.proto} f{at} = {at + 1};" for at, f in enumerate(fields))
        yield f"message m{number} {{{inside} }}"


def options(messages: list[MeasuredMessage]) -> Iterator[str]:
    """Yield options of nanopb: for no dynamic memory, and for integers as small as possible."""
    yield from (f"Kind{number} enum_intsize:IS_8" for number in range(ENUMS))
    yield from (f"Vector.{axis} int_size:IS_16" for axis in "xyz")
    for number, fields in enumerate(messages, 1):
        for at, field in enumerate(fields):
            if field.options:
                yield f"m{number}.f{at} {field.options}"
