"""Generator of random schemas: any types, small bounds, and a few versions."""

from __future__ import annotations

import random
from collections.abc import Iterator

from microvm_proto.types import INTEGERS

VERSION = 3
IDS = ("required", "none", "any")
SENDERS = ("left", "right", "both")


def text(seed: int) -> str:
    """Return a schema in TOML.

    Its name contains the seed, so that a program can use several headers.
    """
    return "\n".join(_Writer(random.Random(seed)).lines(f"random_{seed}")) + "\n"


def _entry(kind: str, **keys: object) -> Iterator[str]:
    """Return the lines of a table in an array of tables."""
    yield f"[[{kind}]]"
    yield from _keys(**keys)


def _keys(**keys: object) -> Iterator[str]:
    for key, value in keys.items():
        text = str(value).lower() if isinstance(value, bool) else value
        yield f'{key} = "{text}"' if isinstance(value, str) else f"{key} = {text}"


class _Writer:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.enums: dict[str, bool] = {}
        """The enums, and whether each is closed. All of them have a value `v0` in all versions."""
        self.flags: list[str] = []
        self.structs: dict[str, bool] = {}
        """The structs, and whether zeros are a valid value, as in structs without a closed enum."""

    def lines(self, name: str) -> Iterator[str]:
        prefix = self.chance.choice(["u8", "u16", "u32", "u32"])
        yield "[protocol]"
        yield from _keys(name=name, version=VERSION, prefix=prefix)
        yield 'ends = ["left", "right"]'
        for number in range(self.chance.randint(1, 3)):
            yield from self.enum(f"enum_{number}")
        for number in range(self.chance.randint(0, 2)):
            yield from self.flags_of(f"flags_{number}")
        for number in range(self.chance.randint(0, 3)):
            yield from self.struct(f"struct_{number}")
        for number in range(1, self.chance.randint(2, 6)):
            yield from self.message(f"message_{number}", number)

    def version(self, first: int = 1) -> int:
        return self.chance.randint(first, VERSION)

    def enum(self, name: str) -> Iterator[str]:
        base = self.chance.choice(list(INTEGERS.values()))
        self.enums[name] = closed = self.chance.random() < 0.7
        edges = {base.minimum, base.maximum, base.maximum - 1, 1, 2, 5, 100}
        yield from _entry("enum", name=name, type=base.name, closed=closed)
        chosen = self.chance.sample(sorted(edges), self.chance.randint(1, 5))
        for at, number in enumerate(chosen):
            # Integers in TOML have 64 bits, with a sign.
            if number < 1 << 63 or at == 0:
                since, least = 1 if at == 0 else self.version(), min(number, (1 << 63) - 1)
                yield from _entry("enum.value", name=f"v{at}", number=least, since=since)

    def message(self, name: str, number: int) -> Iterator[str]:
        since = self.chance.choice([1, 1, 2, VERSION])
        sender, id_ = self.chance.choice(SENDERS), self.chance.choice(IDS)
        yield from _entry("message", name=name, number=number, sender=sender, id=id_, since=since)
        newest = since
        for at in range(self.chance.randint(0, 7)):
            newest = min(VERSION, newest + self.chance.choice([0, 0, 0, 1]))
            yield from self.field(f"field_{at}", newest, newest > since)
        if self.chance.random() < 0.3:
            bound, later = self.chance.randint(1, 9), self.version(since)
            yield from _entry("message.field", name="rest", type="tail", max=bound, since=later)

    def flags_of(self, name: str) -> Iterator[str]:
        size = self.chance.choice([8, 16, 32, 64])
        self.flags.append(name)
        yield from _entry("flags", name=name, type=f"u{size}", closed=self.chance.random() < 0.7)
        for bit in self.chance.sample(range(size), self.chance.randint(1, 5)):
            yield from _entry("flags.bit", name=f"b{bit}", bit=bit, since=self.version())

    def struct(self, name: str) -> Iterator[str]:
        has_zero = True
        yield from _entry("struct", name=name)
        for at in range(self.chance.randint(1, 4)):
            kind = self.fixed()
            has_zero &= self.structs.get(kind, kind not in self.enums)
            yield from _entry("struct.field", name=f"field_{at}")
            yield from self.rules(kind)
            if self.chance.random() < 0.3:
                yield f"count = {self.chance.randint(1, 4)}"
            elif kind in INTEGERS and self.chance.random() < 0.3:
                yield f"absent = {self.chance.randint(0, 100)}"
        self.structs[name] = has_zero

    def fixed(self) -> str:
        """Return the name of a type of fixed size."""
        declared = [self.chance.choice([*self.enums]), *self.flags, *self.structs]
        integer = self.chance.choice([*INTEGERS])
        return self.chance.choice([integer, "f32", "f64", "bool", *declared])

    def rules(self, kind: str, name: str = "{}") -> Iterator[str]:
        """Return a type, or one that contains it, and a rule that it can have."""
        yield f'type = "{name.format(kind)}"'
        if kind in ("f32", "f64") and self.chance.random() < 0.5:
            yield "finite = true"

    def field(self, name: str, since: int, later: bool) -> Iterator[str]:
        yield from _entry("message.field", name=name, since=since)
        nul = self.chance.random() < 0.5
        match self.chance.choice(["bytes", "text", "list<bytes>", "list", "array", *["fixed"] * 4]):
            case "bytes" | "text" as name:
                yield from _keys(type=name, max=self.chance.randint(1, 9), nul=nul)
            case "list<bytes>":
                item, items = self.chance.randint(1, 6), self.chance.randint(1, 4)
                total = self.chance.randint(item, 24)
                bounds = {"max_items": items, "max_item": item, "max_total": total}
                yield from _keys(type="list<bytes>", **bounds, nul=nul)
            case "list":
                yield from self.rules(self.fixed(), "list<{}>")
                yield f"max_items = {self.chance.randint(1, 4)}"
            case "array":
                kind = self.fixed()
                zero = self.structs.get(kind, kind not in self.enums) or not later
                yield from self.rules(kind if zero else "u8")
                yield f"count = {self.chance.randint(1, 4)}"
            case _:
                kind = self.fixed()
                zero = self.structs.get(kind, True) or not later
                yield from self.scalar(kind if zero else "bool", later)

    def scalar(self, kind: str, later: bool) -> Iterator[str]:
        yield from self.rules(kind)
        is_integer = kind in INTEGERS
        if is_integer and self.chance.random() < 0.2:
            yield f"equals = {self.chance.randint(0, 100)}"
            return
        if is_integer and self.chance.random() < 0.2:
            yield f"absent = {self.chance.randint(0, 100)}"
        if later and is_integer:
            yield f"default = {self.chance.choice([0, 7, INTEGERS[kind].minimum])}"
        elif later and kind in ("f32", "f64"):
            yield "default = -0.5"
        elif later and kind == "bool":
            yield from _keys(default=self.chance.random() < 0.5)
        elif later and self.enums.get(kind):
            yield 'default = "v0"'
