"""Fixtures that search the model of the protocol for all conversations that tests record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest
from fuzz.model.traces import TraceModel
from fuzz.report import schema

from .recording import Recording, recordings

Judge = Callable[[], None]
"""Type of the fixture `judge`."""


@pytest.fixture(scope="session")
def trace_model(tmp_path_factory: pytest.TempPathFactory) -> TraceModel:
    """The model of recorded conversations, which is compiled for the first one."""
    return TraceModel(schema(), tmp_path_factory.mktemp("traces"))


@pytest.fixture(scope="module", autouse=True)
def judge(trace_model: TraceModel) -> Iterator[Judge]:
    """Fail the tests of a module if a conversation that they recorded is no run of the model.

    Return a function that judges the conversations so far, and forgets them. A test that records
    thousands of conversations calls it when all of them have ended.
    """
    with recordings() as found:

        def judge() -> None:
            expect_runs(trace_model, found)
            found.clear()

        yield judge
    judge()


def expect_runs(model: TraceModel, recordings: Iterable[Recording]) -> None:
    """Check that recordings are runs of the model."""
    result = model.search(recordings)
    assert not result.rejected, "\n".join(result.rejected)
