"""The rule for the names of machines, and random names such as `calm-otter`."""

from __future__ import annotations

import random
from collections.abc import Iterator

NAME_RULE = (
    "a name has lower case letters, digits and `-_.`, begins with a letter or a digit, and is at "
    "most 64 characters long"
)
"""The rule for the name of a machine, for errors."""

_FIRST = (
    "amber bold brave brisk calm clear cool crisp deft eager fair fleet fond glad grand green keen "
    "kind light lively lucid merry mild neat noble plain proud quick quiet rapid ready sharp shy "
    "sly snug solid spry still sunny swift tidy vivid warm wary wise witty"
).split()
_SECOND = (
    "adder badger beaver bison bittern crane curlew deer dove eagle egret falcon ferret finch fox "
    "gannet goose hare hawk heron ibex jackdaw kestrel lark linnet lynx marten mole newt otter owl "
    "petrel plover quail raven robin seal shrew siskin sparrow stoat swan tern toad vole wren"
).split()


def random_names() -> Iterator[str]:
    """Yield random names without end: first two words, later two words and a number."""
    choose = random.SystemRandom().choice
    for _ in range(20):
        yield f"{choose(_FIRST)}-{choose(_SECOND)}"
    while True:
        yield f"{choose(_FIRST)}-{choose(_SECOND)}-{choose(range(1000))}"
