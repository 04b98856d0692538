"""Tests that the models have their properties, and that their checks find seeded faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from microvm_proto.conversation_rules import MessageOrder, SentMessage
from microvm_proto.follower import Follower
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

from ..report import SCHEMA
from .events import ModelEvent
from .faults import Fault, faults
from .spin import CHECKS, Check, Spin

pytestmark = pytest.mark.thorough

QUICK = (
    "the tables lack an error that crosses a shutdown",
    "the daemon answers a ping twice",
    "the daemon ignores credit for standard error",
    "a kill waits for credit",
    "a command starts although one without `beside` runs",
    "the daemon forgets whose turn it is when a command ends",
    "late messages of a tree are not ignored",
)
"""The faults that `make check` seeds; `make test-long` seeds all."""


@pytest.fixture(scope="module")
def schema() -> Schema:
    """Return the schema of sandboxd."""
    return read_schema(SCHEMA)


SLOW = ("kill", "terminate", "responses", "replies", "kill one")
"""The checks that only `make test-long` runs. Together, they take 36 seconds of one core."""


@pytest.fixture(scope="module")
def spin_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Check], Spin]:
    """Return a function that returns the folder of a check. Checks with the same options share it.

    So their program is compiled only once.
    """

    @cache
    def spin(source: Path, _: tuple[str, ...]) -> Spin:
        return Spin(read_schema(source), tmp_path_factory.mktemp("model"))

    return lambda check: spin(check.source, check.options)


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(each, id=each.name, marks=pytest.mark.long if each.name in SLOW else ())
        for each in CHECKS
    ],
)
def test_model_has_property(check: Check, spin_for: Callable[[Check], Spin]) -> None:
    spin = spin_for(check)
    result = spin.check(check)
    if result.fault:
        pytest.fail(str(spin.find(check)))
    assert result.states > (10_000 if check.schema == "files" else 50_000)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(each, id=each.name, marks=() if each.name in QUICK else pytest.mark.long)
        for each in faults()
    ],
)
def test_seeded_fault_is_found(fault: Fault, tmp_path: Path) -> None:
    result = fault.find(tmp_path)
    assert result.fault == fault.breaks, result
    assert result.events


def test_quick_faults_exist() -> None:
    assert {fault.name for fault in faults()} >= set(QUICK)


@pytest.mark.parametrize("fault", faults(), ids=lambda fault: fault.name)
def test_seeded_fault_applies(fault: Fault) -> None:
    source = fault.check.source.with_name(fault.file)
    assert source.read_text().count(fault.old) == 1


@pytest.mark.parametrize("part", ["PORT", "REQUESTS", "COMMANDS", "BESIDE", "TURNS"])
def test_random_run_is_accepted_by_the_follower(part: str, schema: Schema, tmp_path: Path) -> None:
    spin = Spin(schema, tmp_path)
    runs = [[*spin.simulate(part, seed, 5000)] for seed in range(10)]
    for run in runs:
        for side in schema.ends:
            assert [*rejected(schema, side, run)] == []
    happened = {(event.verb, event.message) for run in runs for event in run}
    assert len(happened) > 12


def rejected(schema: Schema, side: str, run: Iterable[ModelEvent]) -> Iterator[str]:
    """Yield the events of a side that the follower of conversations judges otherwise."""
    conditions = list(
        dict.fromkeys(each.name for one in schema.conversations for each in one.conditions)
    )
    nonce = 0

    def holds(name: str, message: SentMessage) -> bool:
        contents = message.fields["contents"]
        if name == "own_nonce":
            return side == "guest" or contents == nonce
        return message.name != "hello" and contents == conditions.index(name) + 1

    expected = {
        "sends": MessageOrder.IN_ORDER,
        "receives": MessageOrder.IN_ORDER,
        "ignores": MessageOrder.IGNORED,
    }
    senders = {message.name: message.sender for message in schema.messages}
    follower = Follower(schema, holds, side=side)
    for event in run:
        if side == "host" and (event.side, event.verb) == ("port", "closes"):
            follower = Follower(schema, holds, side=side)
        if event.side != side or event.verb not in expected or event.message not in senders:
            continue
        counted = dict.fromkeys(("amount", "stdout_credit", "stderr_credit"), event.amount)
        fields = {**counted, "data": bytes(event.amount), "contents": event.contents}
        message = SentMessage(senders[event.message], event.message, event.id, fields)
        judgement = follower.follow(message)
        if judgement.verdict is not expected[event.verb]:
            yield f"{event}: {judgement}"
        if event.message == "hello":
            nonce = event.contents
