"""Test that a real guest accepts every valid vector, and refuses the others as expected."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support import vectors
from tests.support.conformance import check_vectors
from tests.support.machine import RunningGuest

from microvm.images import Image
from microvm.wire import codec
from microvm.wire.session import Session

pytestmark = pytest.mark.thorough


@pytest.fixture
def machine(image: Image) -> Iterator[RunningGuest]:
    """A guest that has received no hello."""
    machine = RunningGuest(image)
    yield machine
    machine.close()


def test_the_guest_agrees_with_every_vector(machine: RunningGuest) -> None:
    known = vectors.load(vectors.COMMITTED)
    assert check_vectors(machine, known) > len(known) / 2


def test_shutdown_ends_the_machine(machine: RunningGuest) -> None:
    session = Session()
    machine.stream.settimeout(machine.deadline)

    def expect(kind: type[codec.Message]) -> None:
        while not isinstance(session.next_event(), kind):
            data = machine.stream.recv(1 << 16)
            assert data
            session.receive_data(data)

    machine.stream.sendall(session.hello())
    expect(codec.Ready)
    machine.stream.sendall(session.shutdown())
    expect(codec.Goodbye)
    assert machine.stream.recv(1) == b""
