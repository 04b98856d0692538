"""Tests that docs/architecture.md matches the modules and their imports."""

from __future__ import annotations

import re
from itertools import permutations

from .modules import PAGE
from .test_layers import KNOWS


def test_parts_in_the_picture_lie_above_their_imports() -> None:
    boxes = re.findall(
        r'<rect id="(\w+)" class="\w+" x="(\d+)" y="(\d+)" width="(\d+)"',
        PAGE.with_suffix(".svg").read_text(),
    )
    drawn = {name: (int(x), int(x) + int(width), int(y)) for name, x, y, width in boxes}
    assert drawn.keys() == KNOWS.keys() - {"package"}, "each part has a box with its name as id"
    under: dict[str, set[str]] = {name: set() for name in drawn}
    for one, other in permutations(drawn, 2):
        left, right, y = drawn[one]
        others_left, others_right, others_y = drawn[other]
        if left < others_right and others_left < right and y < others_y:
            under[one].add(other)
    for name in drawn:
        assert below(name, under) == below(name, KNOWS), name


def below(name: str, under: dict[str, set[str]]) -> set[str]:
    """Return the parts below a part, directly or indirectly."""
    return under[name].union(*(below(each, under) for each in under[name]))
