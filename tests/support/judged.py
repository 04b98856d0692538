"""Fixtures that search the model of the protocol for all conversations that tests record."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fuzz.model.traces import TraceModel
from fuzz.report import schema

from .recording import recordings


@pytest.fixture(scope="session")
def trace_model(tmp_path_factory: pytest.TempPathFactory) -> TraceModel:
    """The model of recorded conversations, which is compiled for the first one."""
    return TraceModel(schema(), tmp_path_factory.mktemp("traces"))


@pytest.fixture(scope="module", autouse=True)
def _judged(trace_model: TraceModel) -> Iterator[None]:
    """Fail the tests of a module if a conversation that they recorded is no run of the model."""
    with recordings() as found:
        yield
    result = trace_model.search(found)
    assert not result.rejected, "\n".join(result.rejected)
