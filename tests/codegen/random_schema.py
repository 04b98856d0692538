"""Schemas that nobody has thought of: any types, small bounds, and a few versions."""

from __future__ import annotations

import random
from collections.abc import Iterator

from microvm_proto.types import INTEGERS

VERSION = 3
IDS = ("required", "none", "any")
SENDERS = ("left", "right", "both")


def text(seed: int) -> str:
    """A schema in TOML; its name has the seed, so that headers of several can be in one program."""
    return "\n".join(_Writer(random.Random(seed)).lines(f"random_{seed}")) + "\n"


class _Writer:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.enums: dict[str, bool] = {}
        """Which there are, and whether each is closed; all of them have a value `v0` for ever."""

    def lines(self, name: str) -> Iterator[str]:
        yield "[protocol]"
        yield f'name = "{name}"'
        yield f"version = {VERSION}"
        yield 'ends = ["left", "right"]'
        for number in range(self.chance.randint(1, 3)):
            yield from self.enum(f"enum_{number}")
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
            # TOML's integers are of 64 bits, with a sign.
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

    def field(self, name: str, since: int, later: bool) -> Iterator[str]:
        variable = ["bytes", "list<bytes>"]
        kinds = [self.chance.choice([*INTEGERS]), self.chance.choice([*self.enums]), *variable]
        kind = self.chance.choice(kinds)
        yield "[[message.field]]"
        yield f'name = "{name}"'
        yield f'type = "{kind}"'
        yield f"since = {since}"
        if kind in INTEGERS and self.chance.random() < 0.2:
            yield f"equals = {self.chance.randint(0, 100)}"
        elif kind in INTEGERS and later:
            yield f"default = {self.chance.choice([0, 7, INTEGERS[kind].minimum])}"
        elif later and self.enums.get(kind):
            yield 'default = "v0"'
        if kind == "bytes":
            yield f"max = {self.chance.randint(1, 9)}"
        if kind == "list<bytes>":
            item = self.chance.randint(1, 6)
            yield f"max_items = {self.chance.randint(1, 4)}"
            yield f"max_item = {item}"
            yield f"max_total = {self.chance.randint(item, 24)}"
        if kind in variable and self.chance.random() < 0.5:
            yield "nul = false"
