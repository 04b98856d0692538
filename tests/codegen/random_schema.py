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


class _Writer:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.enums: dict[str, bool] = {}
        """The enums, and whether each is closed. All of them have a value `v0` in all versions."""
        self.flags: list[str] = []
        self.structs: dict[str, bool] = {}
        """The structs, and whether zeros are a valid value, as in structs without a closed enum."""

    def lines(self, name: str) -> Iterator[str]:
        yield "[protocol]"
        yield f'name = "{name}"'
        yield f"version = {VERSION}"
        yield 'ends = ["left", "right"]'
        yield f'prefix = "{self.chance.choice(["u8", "u16", "u32", "u32"])}"'
        for number in range(self.chance.randint(1, 3)):
            yield from self.enum(f"enum_{number}")
        for number in range(self.chance.randint(0, 2)):
            yield from self.flags_of(f"flags_{number}")
        for number in range(self.chance.randint(0, 3)):
            yield from self.struct(f"struct_{number}")
        for number in range(1, self.chance.randint(2, 6)):
            yield from self.message(f"message_{number}", number)

    def enum(self, name: str) -> Iterator[str]:
        base = self.chance.choice(list(INTEGERS.values()))
        self.enums[name] = self.chance.random() < 0.7
        edges = [base.minimum, base.maximum, base.maximum - 1, 1, 2, 5, 100]
        yield "[[enum]]"
        yield f'name = "{name}"'
        yield f'type = "{base.name}"'
        yield f"closed = {str(self.enums[name]).lower()}"
        for at, number in enumerate(
            self.chance.sample(sorted({*edges}), self.chance.randint(1, 5))
        ):
            # Integers in TOML have 64 bits, with a sign.
            if number < 1 << 63 or at == 0:
                yield "[[enum.value]]"
                yield f'name = "v{at}"'
                yield f"number = {min(number, (1 << 63) - 1)}"
                yield f"since = {1 if at == 0 else self.chance.randint(1, VERSION)}"

    def message(self, name: str, number: int) -> Iterator[str]:
        since = self.chance.choice([1, 1, 2, VERSION])
        yield "[[message]]"
        yield f'name = "{name}"'
        yield f"number = {number}"
        yield f'sender = "{self.chance.choice(SENDERS)}"'
        yield f'id = "{self.chance.choice(IDS)}"'
        yield f"since = {since}"
        newest = since
        for at in range(self.chance.randint(0, 7)):
            newest = min(VERSION, newest + self.chance.choice([0, 0, 0, 1]))
            yield from self.field(f"field_{at}", newest, newest > since)
        if self.chance.random() < 0.3:
            yield from ("[[message.field]]", 'name = "rest"', 'type = "tail"')
            yield f"max = {self.chance.randint(1, 9)}"
            yield f"since = {self.chance.randint(since, VERSION)}"

    def flags_of(self, name: str) -> Iterator[str]:
        size = self.chance.choice([8, 16, 32, 64])
        self.flags.append(name)
        yield "[[flags]]"
        yield f'name = "{name}"'
        yield f'type = "u{size}"'
        yield f"closed = {str(self.chance.random() < 0.7).lower()}"
        for bit in self.chance.sample(range(size), self.chance.randint(1, 5)):
            yield "[[flags.bit]]"
            yield f'name = "b{bit}"'
            yield f"bit = {bit}"
            yield f"since = {self.chance.randint(1, VERSION)}"

    def struct(self, name: str) -> Iterator[str]:
        has_zero = True
        yield "[[struct]]"
        yield f'name = "{name}"'
        for at in range(self.chance.randint(1, 4)):
            kind = self.fixed()
            has_zero &= self.structs.get(kind, kind not in self.enums)
            yield "[[struct.field]]"
            yield f'name = "field_{at}"'
            yield from self.rules(kind)
            if self.chance.random() < 0.3:
                yield f"count = {self.chance.randint(1, 4)}"
            elif kind in INTEGERS and self.chance.random() < 0.3:
                yield f"absent = {self.chance.randint(0, 100)}"
        self.structs[name] = has_zero

    def fixed(self) -> str:
        """Return the name of a type of fixed size."""
        declared = [self.chance.choice([*self.enums]), *self.flags, *self.structs]
        return self.chance.choice(
            [self.chance.choice([*INTEGERS]), "f32", "f64", "bool", *declared]
        )

    def rules(self, kind: str, name: str = "{}") -> Iterator[str]:
        """Return a type, or one that contains it, and a rule that it can have."""
        yield f'type = "{name.format(kind)}"'
        if kind in ("f32", "f64") and self.chance.random() < 0.5:
            yield "finite = true"

    def field(self, name: str, since: int, later: bool) -> Iterator[str]:
        yield "[[message.field]]"
        yield f'name = "{name}"'
        yield f"since = {since}"
        match self.chance.choice(["bytes", "text", "list<bytes>", "list", "array", *["fixed"] * 4]):
            case "bytes" | "text" as name:
                yield f'type = "{name}"'
                yield f"max = {self.chance.randint(1, 9)}"
                yield f"nul = {str(self.chance.random() < 0.5).lower()}"
            case "list<bytes>":
                item = self.chance.randint(1, 6)
                yield 'type = "list<bytes>"'
                yield f"max_items = {self.chance.randint(1, 4)}"
                yield f"max_item = {item}"
                yield f"max_total = {self.chance.randint(item, 24)}"
                yield f"nul = {str(self.chance.random() < 0.5).lower()}"
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
        if kind in INTEGERS and self.chance.random() < 0.2:
            yield f"equals = {self.chance.randint(0, 100)}"
            return
        if kind in INTEGERS and self.chance.random() < 0.2:
            yield f"absent = {self.chance.randint(0, 100)}"
        if not later:
            return
        if kind in INTEGERS:
            yield f"default = {self.chance.choice([0, 7, INTEGERS[kind].minimum])}"
        elif kind in ("f32", "f64"):
            yield "default = -0.5"
        elif kind == "bool":
            yield f"default = {str(self.chance.random() < 0.5).lower()}"
        elif self.enums.get(kind):
            yield 'default = "v0"'
