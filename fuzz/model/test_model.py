"""Tests that the models have their properties, and that their checks find seeded faults."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby
from pathlib import Path

import pytest

from microvm_proto.conversation_rules import MessageOrder, SentMessage
from microvm_proto.follower import Follower
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

from ..report import SCHEMA
from .events import ModelEvent
from .faults import Fault, faults
from .spin import CHECKS, Check, SearchResult, Spin

QUICK = (
    "the tables lack an error that crosses a shutdown",
    "the daemon answers a ping twice",
    "the daemon ignores credit for standard error",
    "a kill waits for credit",
    "a command starts although one without `beside` runs",
    "the daemon forgets whose turn it is when a command ends",
    "late messages of a tree are not ignored",
)
"""The faults that `make test` seeds; `make test-long` seeds all."""


@pytest.fixture(scope="module")
def schema() -> Schema:
    """Return the schema of sandboxd."""
    return read_schema(SCHEMA)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, SearchResult]]:
    """Run all checks on two cores."""

    def run(checks: list[Check]) -> list[SearchResult]:
        spin = Spin(read_schema(checks[0].source), tmp_path_factory.mktemp("model"))
        return [spin.check(check) for check in checks]

    groups = [[*group] for _, group in groupby(CHECKS, lambda check: (check.source, check.options))]
    with ThreadPoolExecutor(2) as pool:
        found = chain.from_iterable(pool.map(run, groups))
        yield dict(zip((check.name for check in CHECKS), found, strict=True))


@pytest.mark.parametrize("name", [check.name for check in CHECKS])
def test_model_has_property(name: str, results: dict[str, SearchResult], tmp_path: Path) -> None:
    (check,) = (check for check in CHECKS if check.name == name)
    if results[name].fault:
        pytest.fail(str(Spin(read_schema(check.source), tmp_path).find(check)))
    assert results[name].states > (10_000 if check.schema == "files" else 50_000)


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


def test_follower_rejects_a_run_with_a_message_too_many(schema: Schema, tmp_path: Path) -> None:
    spin, pong = Spin(schema, tmp_path), ModelEvent("host", "receives", "pong")
    runs = ([*spin.simulate("REQUESTS", seed, 5000)] for seed in range(10))
    run = next(run for run in runs if pong in run)
    at = run.index(pong)
    assert [*rejected(schema, "host", [*run[:at], run[at], *run[at:]])] != []


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
