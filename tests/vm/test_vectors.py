"""A real guest takes every valid vector, and refuses every other as the vector says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fuzz.target import Machine
from tests import vectors
from tests.conversation import hold_against

from microvm_image import Image


@pytest.fixture
def machine(image: Image) -> Iterator[Machine]:
    """Boot a guest that nobody has greeted."""
    machine = Machine(image)
    yield machine
    machine.close()


@pytest.mark.parametrize("longest", [None, 100], ids=["whole", "byte by byte"])
def test_the_guest_agrees_with_every_vector(machine: Machine, longest: int | None) -> None:
    known = vectors.load(vectors.COMMITTED)
    assert hold_against(machine, known, longest=longest) > len(known) / 2
